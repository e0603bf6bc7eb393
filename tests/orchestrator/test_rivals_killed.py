"""A rival whose process is killed in training: the same command ends with the same bits."""

import json
import shutil
import signal
import subprocess
import sys

import driven
import pytest
import readings
from checkout import ROOT
from commands import here
from driven import ALONE, Sweep

pytestmark = pytest.mark.slow

GRID = """
base:
  family: lsfls
  encoder: {{model: {model}, max_length: 16}}
  body: {{layers: [0, 1]}}
  few: {{labelled: 12, rounds: 1, share: 0.5}}
  tuning: {{epochs: 2, batch_size: 16, lr: 0.03}}
seeds: 2
"""
KEPT = """
import os, signal
from jobs.kept import Kept
from qdllm.rivals import loop
from orchestrator.sweep import main
loop.KEEP_SECONDS, save, times = 0.0, Kept.save, []
def saved(*given):
    save(*given)
    times.append(given)
    if len(times) == {last}:
        os.kill(os.getpid(), signal.SIGKILL)
Kept.save = saved
main({arguments!r})
"""
"""Keeps training after every step, and dies by `kill -9` after so many of them."""


def test_a_killed_rival_goes_on_and_ends_with_the_same_bits(tmp_path):
    """In the second seed's second training, on labels of its own."""
    grid = tmp_path / "rival.yaml"
    grid.write_text(GRID.format(model=readings.tiny()))
    killed = Sweep(grid, driven.texts(tmp_path), tmp_path / "home")
    done = subprocess.run(
        [sys.executable, "-c", KEPT.format(last=22, arguments=[*killed.arguments, *ALONE])],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stdout + done.stderr
    (name,) = killed.store.fingerprints("checkpoints")
    kept = killed.store.record("checkpoints", name)
    curves = kept.summary["curves"]
    assert [len(curves), len(curves[1]), kept.summary["step"]] == [2, 1, 5]
    assert not killed.results("lsfls")
    undisturbed = killed.copy(tmp_path / "other")
    shutil.rmtree(undisturbed.home / "store" / "checkpoints")
    job = tmp_path / "job.json"
    job.write_text(json.dumps({"trial": kept.spec, "store": undisturbed.store.uri}))
    assert here("jobs.trial", [str(job)]).strip().endswith(name)
    killed.here(*ALONE)
    assert killed.results("lsfls") == undisturbed.results("lsfls")
    assert not killed.store.files("checkpoints")
