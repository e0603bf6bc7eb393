PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin

.PHONY: setup tools demo submit doctor test lint bench constraints
.DEFAULT_GOAL := setup

setup: .venv/ready

# torch first: a CPU build that is found then is not replaced by what others ask for.
.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		"$$(grep '^torch==' constraints.txt)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --editable '.[dev]'
	touch $@

# What tests with a browser, a database or machines of their own need; they are skipped without.
tools:
	apt-get update -qq
	apt-get install -y -qq --no-install-recommends \
		chromium-headless-shell iproute2 openssh-server postgresql rsync > /dev/null

demo: setup
	$(BIN)/python -m orchestrator.sweep --grid ablation

# On a cluster, through the tunnel of `ray dashboard cluster.yaml`. The folder of a job is deleted
# after it, so what a sweep writes goes to the head's home.
JOB = RAY_AUTH_MODE=token $(BIN)/ray job submit --address http://127.0.0.1:8265 --working-dir . --
GRID ?= ablation

submit: setup
	$(JOB) python -m orchestrator.sweep --grid $(GRID) --address auto --home '~/.qdllm' $(ARGS)

doctor: setup
	$(JOB) python -m orchestrator.doctor --address auto --home '~/.qdllm' $(ARGS)

# Much of what takes long is waiting. A file's tests share what is costly to set up.
test: setup
	$(BIN)/python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: setup
	$(BIN)/python -m bench.engine

# Write down the versions that are installed, as the ones that were tested.
constraints: setup
	$(BIN)/python -m pip freeze --exclude-editable | sed 's/^\(torch==[^+]*\).*/\1/' > constraints.txt
