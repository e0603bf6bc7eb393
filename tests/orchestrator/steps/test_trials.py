"""Which trials run together."""

import re

import driven
import pytest
import readings
from driven import ALONE, Sweep

from jobs import features, teacher_states
from orchestrator.execution.inprocess import InProcess
from orchestrator.plan.history import result_of
from orchestrator.report import champion
from qdllm import families
from qdllm.errors import ConfigError, JobError, TeacherError

GRID = """
base:
  circuit: {{qubits: 4, layers: 1}}
  encoder: {{model: {model}, max_length: 16, hidden_layers: [1]}}
  teacher: {{model: {model}, max_length: 16, rank: 2, epochs: 1}}
  body: {{layers: [1]}}
  tuning: {{epochs: 1}}
  fit: {{epochs: 1}}
axes:
  family: [hard, quantum, kl, tanh, distilbert]
seeds: 1
teacher_floor: 0
"""


@pytest.mark.slow
def test_what_takes_long_runs_side_by_side_whatever_it_reads(tmp_path, monkeypatch):
    """So that no node waits for a trial on another; the others by what they read."""
    grid, groups, run_list = tmp_path / "mixed.yaml", [], InProcess.run_list
    grid.write_text(GRID.format(model=readings.tiny()))

    def heard(self, group, trials):
        groups.append([families.of(trial.spec).name for trial in trials])
        assert group.arrays.keys() == {trial.sources for trial in trials}
        run_list(self, group, trials)

    monkeypatch.setattr(InProcess, "run_list", heard)
    sweep = Sweep(grid, driven.texts(tmp_path), tmp_path / "home")
    printed = sweep.here(*ALONE)
    for told in ("students .* 2 trials", "long trials .* 3 trials"):
        assert re.search(f"^{told}$", printed, re.MULTILINE), told
    assert groups == [["quantum", "tanh"], ["hard", "kl", "distilbert"], ["linear"]]
    for family in ("hard", "kl", "distilbert"):
        assert sweep.results(family)
    store = sweep.store
    (name,), (adapter,) = map(store.fingerprints, ("distilbert", "adapters"))
    taught = store.record("distilbert", name)
    lineage = champion.lineage(store, result_of(taught), "texts")
    assert lineage["qdllm.adapter"] == adapter
    assert lineage["qdllm.soft_labels"] == taught.made_from["soft_labels"]
    told = sweep.here(
        *ALONE, "--set", "family=[quantum, hard, kl]", "--set", "fit.lr=1e30", status=1
    )
    assert "no trial of the families that it may be of has finished" in told
    assert "families, each by its best trial in validation" in told, "what has ended is shown"
    assert len(list((sweep.home / "reports").glob("*.html"))) == 2

    for failing in (TeacherError("its states say something else"), JobError("no memory, thrice")):

        def refused(*_, failing=failing):
            raise failing

        monkeypatch.setattr(teacher_states, "run", refused)
        asked = ("--set", "family=[hard, pkd]", "--set", "terms.pairs=[[1, 2]]")
        told = sweep.here(*ALONE, *asked, status=1)
        assert f"teacher's states cannot be had: {failing}" in told
        assert "@champion" in told, "those that need none are there"
        assert not sweep.results("pkd")

    def without(*_):
        raise ConfigError("there is no such encoder")

    monkeypatch.setattr(features, "run", without)
    asked = ("--set", "family=[quantum, hard]", "--set", "encoder.pooling=max")
    told = sweep.here(*ALONE, *asked, "--set", "teacher.rank=3", status=1)
    assert "features cannot be had: there is no such encoder" in told
    assert len(sweep.store.fingerprints("soft-labels")) == 1, "nobody was left to learn from others"
