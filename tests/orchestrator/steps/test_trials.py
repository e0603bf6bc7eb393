"""Which trials run together."""

import driven
import pytest
import readings
from driven import ALONE, Sweep

from orchestrator.execution.inprocess import InProcess
from qdllm import families

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
    sweep.here(*ALONE)
    assert groups == [["quantum", "tanh"], ["hard", "kl", "distilbert"], ["linear"]]
    for family in ("hard", "kl", "distilbert"):
        assert sweep.results(family)
