"""The house's rules, held by reading the imports."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from checkout import ROOT

LAYERS = ("qdllm", "jobs", "orchestrator")
HOMES = {
    "ray": {
        "orchestrator/tune/searcher.py",
        "orchestrator/cluster/capacity.py",
        "orchestrator/cluster/work.py",
        "orchestrator/cluster/nodes.py",
        "orchestrator/tune/tuner.py",
        "orchestrator/spot.py",
        "jobs/teacher.py",
    },
    "mlflow": {
        "orchestrator/tracking/backend.py",
        "orchestrator/tracking/models.py",
        "orchestrator/tracking/runs.py",
        "orchestrator/tracking/serving.py",
    },
    "deepspeed": {"jobs/teacher.py", "jobs/fine_tune.py"},
    "transformers": {"qdllm/teacher.py", "qdllm/encoder.py"},
    "peft": {"qdllm/teacher.py"},
    "mindquantum": {"qdllm/mindquantum.py"},
    "sklearn": {"qdllm/probes.py"},
    "obstore": {"jobs/store/results.py"},
    "optuna": {"orchestrator/tune/sampler.py"},
    "matplotlib": {
        f"orchestrator/report/figures/{name}.py"
        for name in ("axes", "canvas", "marks", "overall", "students")
    },
    "jinja2": {"orchestrator/report/page.py"},
}
"""Each outside library has one home; serving.py is what MLflow itself runs."""


def sources(layer: str) -> list[Path]:
    return sorted((ROOT / layer).rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            assert node.module is not None
            yield node.module


@pytest.mark.parametrize("layer", LAYERS)
def test_imports_run_one_way(layer):
    above = LAYERS[LAYERS.index(layer) + 1 :]
    for path in sources(layer):
        for module in imports(path):
            assert module.partition(".")[0] not in above, f"{path} imports {module}"


@pytest.mark.parametrize("library", HOMES)
def test_each_library_has_one_home(library):
    users = {
        str(path.relative_to(ROOT))
        for layer in LAYERS
        for path in sources(layer)
        if any(module.partition(".")[0] == library for module in imports(path))
    }
    assert users <= HOMES[library]


def test_the_science_prints_nothing_and_knows_no_scheduler():
    for path in sources("qdllm"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
        printed = [call for call in calls if isinstance(call, ast.Name) and call.id == "print"]
        assert not printed, f"{path} prints"


def modules_after(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter holds after running the code."""
    program = f"import sys\n{code}\nprint(*sorted({{m.partition('.')[0] for m in sys.modules}}))"
    output = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    return set(output.splitlines()[-1].split())


HEAVY = {"torch", "ray", "mlflow", "transformers", "deepspeed", "numba", "mindquantum"}


def test_importing_the_package_is_cheap():
    assert not modules_after("import qdllm") & HEAVY


def test_help_imports_neither_torch_nor_ray():
    code = "from orchestrator.sweep import main\ntry: main(['--help'])\nexcept SystemExit: pass"
    assert not modules_after(code) & HEAVY


@pytest.mark.parametrize("command", ["doctor", "spot"])
def test_nor_does_the_help_of(command):
    code = (
        f"from orchestrator.{command} import main\ntry: main(['--help'])\nexcept SystemExit: pass"
    )
    assert not modules_after(code) & HEAVY


def test_a_dry_run_imports_neither_torch_nor_ray(tmp_path):
    arguments = ["--grid", "ablation", "--dry-run", "--home", str(tmp_path)]
    code = f"from orchestrator.sweep import main\nassert main({arguments!r}) == 0"
    assert not modules_after(code) & HEAVY


def test_the_flags_are_these():
    from orchestrator.sweep import parser

    flags = {flag for action in parser()._actions for flag in action.option_strings}
    assert flags == {
        "-h",
        "--help",
        "--grid",
        "--task",
        "--data",
        "--teacher",
        "--home",
        "--store",
        "--tracking",
        "--address",
        "--trials",
        "--set",
        "--dry-run",
    }
