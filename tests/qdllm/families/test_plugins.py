"""A family, and a kind of result, of a package that is not ours: named by an entry point."""

import json
import os
import subprocess
import sys

import pytest
from checkout import ROOT

from qdllm import families
from qdllm.errors import ConfigError
from qdllm.plugins import named_once

FAMILY = """
from typing import ClassVar, Literal

from qdllm.families.family import Family
from qdllm.specs import TrialSpec


class MajoritySpec(TrialSpec):
    seeds: ClassVar[tuple[int, ...]] = (0,)
    family: Literal["majority"] = "majority"


class Majority(Family[MajoritySpec]):
    name, label, plural, kind = "majority", "majority class", "majority classes", "majority"
    told, spec, reads = {}, MajoritySpec, ()

    def parameters(self, spec, features, classes):
        return 1

    def work(self, spec):
        return (), 1.0

    def train(self, spec, train, validation, report): ...

    def restore(self, spec, features, classes, parameters_SP): ...


FAMILY = Majority()
"""
KIND = """
from jobs.kinds.kind import Kind

KINDS = (Kind(name="letters", label="letters"),)
"""
POINTS = """
[qdllm.families]
mine = theirs.family

[jobs.kinds]
mine = theirs.kind
"""
CODE = """
import json, sys
from jobs import kinds
from orchestrator import grid
from qdllm import families
specs = grid.specs(grid.override(grid.load("ablation"), ["axes={family: [quantum, majority]}"]))
print(json.dumps({
    "families": list(families.families()),
    "kinds": list(kinds.kinds()),
    "specs": [type(spec).__name__ for spec in specs],
    "maker": kinds.kind("majority").maker,
}))
"""


def test_an_installed_package_adds_families_and_kinds(tmp_path):
    for name, text in (
        ("theirs/__init__.py", ""),
        ("theirs/family.py", FAMILY),
        ("theirs/kind.py", KIND),
        ("theirs-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n"),
        ("theirs-1.0.dist-info/entry_points.txt", POINTS),
    ):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["families"] == [*families.families(), "majority"]
    assert {"students", "tanh", "linear", "majority", "letters"} <= set(found["kinds"])
    assert found["specs"] == ["StudentSpec", "MajoritySpec"]
    assert found["maker"] == "jobs.trial"


def test_two_packages_cannot_declare_the_same():
    twice = [*families.families().values(), families.family("tanh")]
    with pytest.raises(ConfigError, match="family 'tanh' is declared twice; remove one of the"):
        named_once("family", twice)
