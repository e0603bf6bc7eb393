"""What the README promises exists: its commands, its tree, its names."""

import re
import shlex
from pathlib import Path

import pytest

from orchestrator.sweep import parser
from qdllm import models

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"python -m orchestrator\.sweep (--grid [^`\n]*)", README)


def test_there_are_commands():
    assert len(COMMANDS) > 5


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_understood(command):
    options = parser().parse_args(shlex.split(command))
    from orchestrator import grid

    grid.specs(grid.override(grid.load(options.grid), options.set))


def test_every_make_target_exists():
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    promised = set(re.findall(r"^    make (\w+)", README, flags=re.MULTILINE))
    assert promised
    assert promised <= set(targets)


def tree() -> tuple[set[str], set[str]]:
    """Files that the README's tree names, and those that exist, by path."""
    section = README.split("## The tree")[1].split("\n## ")[0]
    folder, named = "", set()
    for line in section.splitlines():
        if top := re.match(r"    (\w+)/ ", line):
            folder = top[1]
        elif folder:
            named |= {f"{folder}/{name}" for name in re.findall(r"\b(\w+\.py)\b", line)}
    real = {
        str(path.relative_to(ROOT))
        for top in ("qdllm", "jobs", "orchestrator")
        for path in (ROOT / top).glob("*.py")
    }
    return named, real


def test_the_tree_is_true():
    named, real = tree()
    assert named <= real
    untold = {"__init__.py", "errors.py", "command.py", "fingerprints.py"}
    assert {path for path in real - named if Path(path).name not in untold} == set()


def test_the_models_it_names_are_known():
    named = re.search(r"one of the paper's teachers \(([^)]*)\)", README)
    assert named
    assert set(re.findall(r"`([^`]+)`", named[1])) == set(models.KNOWN) - {"minilm"}
