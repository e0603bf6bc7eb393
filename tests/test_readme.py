"""What the README promises exists: its commands, its tree, its names."""

import re
import shlex
from pathlib import Path

import pytest
from checkout import ROOT

from orchestrator.sweep import parser
from qdllm import models

README = (ROOT / "README.md").read_text(encoding="utf-8")
PACKAGES = ("qdllm", "jobs", "orchestrator")
UNTOLD = ("qdllm/engine/", "orchestrator/report/figures/")
"""Folders whose own `__init__.py` says what lies in them."""
COMMAND = re.compile(r"python -m orchestrator\.sweep (--grid (?:\\\n|[^`\n])*)")
STAND_INS = (
    (r"\\\n", ""),
    (r"--set circuit\.file=\S+", ""),
    (r"\w+\.qasm", "published"),
    ("=all-mpnet-base-v2", "=minilm"),
)
"""For what is the reader's own: a circuit, a folder with a model."""
COMMANDS = [
    command
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    for command in COMMAND.findall(page.read_text(encoding="utf-8"))
    if "…" not in command
]


def test_there_are_commands():
    assert len(COMMANDS) > 30


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_understood(command):
    for written, stand_in in STAND_INS:
        command = re.sub(written, stand_in, command)
    options = parser().parse_args(shlex.split(command))
    from orchestrator import grid

    grid.specs(grid.override(grid.load(options.grid), options.set))


def test_every_make_target_exists():
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    promised = set(re.findall(r"^    make (\w+)", README, flags=re.MULTILINE))
    assert promised
    assert promised <= set(targets)


def tree() -> tuple[set[str], set[str]]:
    """Files that the README's tree names, and those that exist, by package, wing and name."""
    section = README.split("## The tree")[1].split("\n## ")[0]
    package, wing, named = "", "", set()
    for line in section.splitlines():
        if top := re.match(r"    (\w+)/ ", line):
            package, wing = top[1], ""
        elif inner := re.match(r"      (\w+)/ ", line):
            wing = inner[1]
        elif re.match(r"      \w", line):
            wing = ""
        if package in PACKAGES:
            within = f"{package}/{wing}" if wing else package
            named |= {f"{within}/{name}" for name in re.findall(r"\b(\w+\.py)\b", line)}
    real = {
        str(path.relative_to(ROOT))
        for top in PACKAGES
        for pattern in ("*.py", "*/*.py")
        for path in (ROOT / top).glob(pattern)
    }
    return named, real


def test_the_tree_is_true():
    named, real = tree()
    assert named <= real
    untold = {"__init__.py", "__main__.py", "errors.py", "command.py", "fingerprints.py"}
    told = {path for path in real if not path.startswith(UNTOLD)}
    assert {path for path in told - named if Path(path).name not in untold} == set()


def test_the_models_it_names_are_known():
    named = re.search(r"one of the paper's teachers \(([^)]*)\)", README)
    assert named
    assert set(re.findall(r"`([^`]+)`", named[1])) == set(models.KNOWN) - {"minilm"}
