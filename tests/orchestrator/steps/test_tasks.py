"""Several tasks in one command."""

import re

import driven
import pytest
from driven import ALONE, BASE, Sweep

from orchestrator.steps import lock, sources
from qdllm.errors import TeacherError


@pytest.fixture
def sweep(tmp_path) -> Sweep:
    """A grid on two splits."""
    grid = tmp_path / "splits.yaml"
    grid.write_text(f"{BASE}axes: {{task.seed: [0, 1]}}\n")
    return Sweep(grid, driven.texts(tmp_path), tmp_path / "home")


SMALL = (*ALONE, "--set", "fit.epochs=2", "--set", "teacher.epochs=1")


@pytest.mark.slow
def test_what_ends_one_task_ends_no_other(sweep, monkeypatch):
    """The first of two teachers does not earn its students."""

    def first_falls_short(this, record, floor):
        if this.plan.task.seed == 0:
            raise TeacherError("it knows nothing")

    with monkeypatch.context() as patch:
        patch.setattr(sources, "_earn", first_falls_short)
        told = sweep.here(*SMALL, status=1)
    assert "qdllm-splits-notes ends here, and the others go on: it knows nothing" in told
    assert "registered as models:/qdllm-splits-notes-split1@champion" in told
    assert told.splitlines()[-1] == "error: qdllm-splits-notes: it knows nothing"
    ended = dict(sweep.runs())
    assert {status for (_, name), (status, _) in ended.items() if name == "sweep"} == {
        "FINISHED",
        "FAILED",
    }
    assert "registered as models:/qdllm-splits-notes@champion" in sweep.here(*SMALL)


def test_what_is_in_the_way_of_all_is_told_once(sweep):
    first, _ = re.findall(r"^ *sweep (\w+)", sweep.here(*SMALL, "--dry-run"), re.MULTILINE)
    with lock.held(sweep.store, first):
        told = sweep.here(*SMALL, status=2)
    assert "the others go on" not in told
    assert not sweep.store.fingerprints("sweeps")
