"""A kind of result from somebody's own package, taken in without a line of ours."""

import os
import re
import subprocess
import sys
from pathlib import Path

import driven
import pytest
from checkout import ROOT
from driven import BASE, ONE_BY_ONE, Sweep

from jobs.store import Store

pytestmark = pytest.mark.slow

KIND = '''
from jobs.kinds import Kind
from jobs.kinds.kind import Standing
from qdllm.spec import Spec


class MajoritySpec(Spec):
    """The largest class of the training split, named for every text."""


MAJORITY = Kind(
    name="majority",
    label="majority classes",
    spec=MajoritySpec,
    of_texts=True,
    maker="their_maker",
    phase=lambda spec: "majority",
    note=lambda spec: "counted",
    load=lambda spec: ((), 1.0),
    beside=lambda students: [MajoritySpec()],
    told={"class": "summary/class", "test": "metrics/test.accuracy"},
    standing=lambda record: [
        Standing(f"always {record.summary['class']}", record.summary["metrics"], 0, {})
    ],
    line=lambda record: f"the majority class is {record.summary['class']}",
    kept="used",
)
KINDS = (MAJORITY,)
'''
MAKER = """
import numpy as np


def run(job, dataset, store, progress):
    counts = np.bincount(dataset.train.labels_N)
    progress("majority", 1, 1, "")
    share = {
        f"{name}.accuracy": float((part.labels_N == counts.argmax()).mean())
        for name, part in (("val", dataset.validation), ("test", dataset.test))
    }
    store.publish(
        job.kind,
        job.fingerprint,
        tensors={"counts": counts},
        spec=job.spec.model_dump(mode="json"),
        made_from=job.made_from,
        summary={"metrics": share, "class": dataset.classes[counts.argmax()]},
        seconds=0.5,
    )
"""
GRID = f"{BASE}axes: {{circuit.layers: [1]}}\n"


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Path:
    """A folder that holds an installed package of somebody's own."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "their_kind.py").write_text(KIND)
    (folder / "their_maker.py").write_text(MAKER)
    (folder / "theirs-1.dist-info").mkdir()
    (folder / "theirs-1.dist-info" / "METADATA").write_text("Name: theirs\nVersion: 1\n")
    points = folder / "theirs-1.dist-info" / "entry_points.txt"
    points.write_text("[jobs.kinds]\nmajority = their_kind\n")
    return folder


@pytest.fixture(scope="module")
def swept(package, tmp_path_factory) -> tuple[Sweep, str]:
    """A sweep on Ray with the package at hand; features and teacher are there already."""
    once = driven.undisturbed(tmp_path_factory)[0]
    folder = tmp_path_factory.mktemp("with a kind")
    (folder / "one.yaml").write_text(GRID)
    home = once.copy(folder / "a home").home
    sweep = Sweep(folder / "one.yaml", once.texts, home)
    return sweep, sweep.run(*ONE_BY_ONE, PYTHONPATH=str(package))


def command(package: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(package)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_it_is_planned_made_on_ray_and_told(swept):
    sweep, printed = swept
    assert re.search(r"majority classes +│ +0 │ +1 │ a node's CPUs", printed)
    assert re.search(r"\nmajority .*counted\n", printed)
    assert "the majority class is kitchen" in printed
    (name,) = sweep.store.fingerprints("majority")
    assert sweep.store.record("majority", name).summary["metrics"]["test.accuracy"] == 0.5


def test_it_is_estimated_by_what_took_others_of_its_kind(swept, package):
    sweep, _ = swept
    other = ("--set", "task.seed=1", "--dry-run")
    assert re.search(
        r"majority classes +│ +0 │ +1 │ a node's CPUs +│ ≈ 0.5 s",
        sweep.run(*other, PYTHONPATH=str(package)),
    )


def test_it_is_reported_beside_the_champion(swept, package):
    sweep, _ = swept
    printed = command(
        package, "orchestrator.report", f"one-{sweep.texts.stem}", "--home", str(sweep.home)
    )
    assert "the majority class is kitchen" in printed
    (page,) = (sweep.home / "reports").glob("one-*.html")
    told = page.read_text(encoding="utf-8")
    assert re.search(r"always kitchen</th>\s*<td>0.5000</td>\s*<td>0.5000</td>", told)
    assert '<th scope="row">majority classes</th>' in told


def test_it_is_listed_verified_and_collected(swept, package):
    sweep, _ = swept
    store = ("--store", str(sweep.home / "store"))
    (name,) = sweep.store.fingerprints("majority")
    listed = command(package, "jobs.store", "ls", *store, "--kind", "majority")
    assert re.search(rf"majority +{name} .* class kitchen, test 0.5", listed)
    assert "0 damaged" in command(package, "jobs.store", "verify", *store)
    assert f"majority/{name}" in command(package, "jobs.store", "gc", "--keep-used", *store)
    assert Store(str(sweep.home / "store")).fingerprints("majority") == frozenset()
