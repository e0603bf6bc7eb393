"""Trials of a node share one copy of the features: memory does not grow with their number."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from jobs.store import Store
from orchestrator.grid import Grid
from orchestrator.plan import Trial
from qdllm.families.quantum import StudentSpec

TRIALS = 4
SHAPES = {"train": (131_072, 1024), "validation": (64, 1024), "test": (64, 1024)}
"""Half a GB of features to train on: more than a worker takes for itself, torch and all."""
SIZE = 4 * 131_072 * 1024
EVERY = 0.3
"""Seconds between two looks at the workers."""


def trial(number: int) -> Trial:
    spec = StudentSpec.parse(
        {
            "circuit": {"qubits": 2, "layers": 1},
            "loss": {"alpha": number / TRIALS},
            "fit": {"epochs": 3, "batch_size": 2048},
            "seeds": [0],
        }
    )
    return Trial("students", f"{number:016}", spec, {}, False)


def private() -> list[int]:
    """Bytes that each process that runs a trial has allocated, whatever it maps of Ray's store."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if process.name().startswith("ray::ImplicitFunc"):
                status = Path(f"/proc/{process.pid}/status").read_text()
                found.append(1024 * int(status.partition("RssAnon:")[2].split()[0]))
        except (psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError, IndexError):
            continue  # it has just ended
    return found


def watched(folder: Path) -> list[tuple[float, list[int]]]:
    """Run all trials at once; returns the time and private memory of each look at the workers."""
    from orchestrator import cluster

    generator = np.random.default_rng(0)
    arrays = {}
    for split, shape in SHAPES.items():
        arrays[f"{split}.features"] = generator.random(shape, dtype=np.float32)
        arrays[f"{split}.logits"] = generator.random((shape[0], 3), dtype=np.float32)
        arrays[f"{split}.labels"] = generator.integers(3, size=shape[0])
    looks: list[tuple[float, list[int]]] = []
    failures: list[str] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(EVERY):
            looks.append((time.time(), private()))

    # All that Ray gets to know of this machine's CPUs.
    os.sched_getaffinity = lambda _: set(range(TRIALS))
    with cluster.connect():
        from orchestrator.tune import tuner
        from orchestrator.tune.group import Group

        group = Group(
            Grid(name="memory"),
            {trial(0).sources: arrays},
            Store(str(folder / "store")),
            ended=lambda trial, last: failures.extend(filter(None, [last.get("failed")])),
            failed=lambda trial, reason: failures.append(reason),
        )
        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            tuner.run_list(group, [trial(number) for number in range(TRIALS)])
        finally:
            over.set()
            watcher.join()
    assert not failures, failures
    return looks


@pytest.mark.slow
def test_trials_at_once_share_the_features(tmp_path):
    # In a process of its own, since Ray reads its settings once, when it is imported.
    command = [sys.executable, __file__, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    looks = json.loads(done.stdout.splitlines()[-1])
    store = Store(str(tmp_path / "store"))
    records = [store.load("students", trial(number).fingerprint)[0] for number in range(TRIALS)]
    for record in records:
        ended = record.created
        assert any(ended - record.seconds < at < ended for at, _ in looks), "none saw it train"
    assert max(len(found) for _, found in looks) > 1, "the trials ran one after another"
    peak = max(max(found, default=0) for _, found in looks)
    assert peak < SIZE, "a copy of its own would alone take that"


if __name__ == "__main__":
    print(json.dumps(watched(Path(sys.argv[1]))))
