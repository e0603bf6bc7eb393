"""Several tasks in one command."""

import re

import driven
import pytest
from driven import ALONE, BASE, Sweep

from orchestrator.steps import lock


@pytest.mark.slow
def test_what_ends_one_task_ends_no_other(tmp_path):
    """Another driver has the first of two splits."""
    grid = tmp_path / "splits.yaml"
    grid.write_text(f"{BASE}axes: {{task.seed: [0, 1]}}\n")
    sweep = Sweep(grid, driven.texts(tmp_path), tmp_path / "home")
    small = (*ALONE, "--set", "fit.epochs=2", "--set", "teacher.epochs=1")
    first, other = re.findall(r"^sweep (\w+)", sweep.here(*small, "--dry-run"), re.MULTILINE)
    with lock.held(sweep.store, first):
        told = sweep.here(*small, status=1)
    assert "qdllm-splits-notes ends here, and the others go on: " in told
    assert "registered as models:/qdllm-splits-notes-split1@champion" in told
    assert told.splitlines()[-1].startswith("error: qdllm-splits-notes: ")
    assert sweep.store.fingerprints("sweeps") == {other}
    assert "registered as models:/qdllm-splits-notes@champion" in sweep.here(*small)
