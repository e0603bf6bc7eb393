"""How long the plan of a large grid takes, while the store holds nothing of it, and all of it."""

import resource
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import NamedTuple

import yaml

from jobs import kinds
from jobs.store import Store
from orchestrator import grid
from orchestrator.grid import Grid
from orchestrator.plan import plan
from qdllm.texts import data
from qdllm.texts.data import Dataset

REPEATS = 5


class Seconds(NamedTuple):
    """CPU seconds of the two steps, and of the whole `--dry-run`, with its wall time."""

    specs: float
    plan: float
    command: float
    wall: float


def planning(home: Path, definition: Grid) -> dict[str, Seconds]:
    """Medians over a few rounds, by how much of the grid is held."""
    specs, store = grid.specs(definition), Store(str(home / "store"))
    dataset = data.load(specs[0].task)
    results = {"nothing held": _median(home, definition, dataset)}
    for job in plan(specs, dataset, store).jobs:
        if kinds.kind(job.kind).holds == "trial":
            # A plan asks for names alone, so it does not matter what the files say.
            store.put(f"{job.kind}/{job.fingerprint}/data.safetensors", "")
            store.put(f"{job.kind}/{job.fingerprint}/record.json", "")
    return results | {"all trials held": _median(home, definition, dataset)}


def arguments(home: Path, definition: Grid) -> list[str]:
    """What the command is given for a grid."""
    file = home / f"{definition.name}.yaml"
    file.write_text(yaml.safe_dump(definition.model_dump(mode="json", exclude_unset=True)))
    return ["--grid", str(file), "--home", str(home)]


def command(module: str, *words: str) -> None:
    """Run `python -m module`. Ends the program if that fails."""
    done = subprocess.run(
        [sys.executable, "-m", module, *words], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{module} ended with status {done.returncode}: {done.stderr[-2000:]}")


def _median(home: Path, definition: Grid, dataset: Dataset) -> Seconds:
    rounds = [_once(home, definition, dataset) for _ in range(REPEATS)]
    return Seconds(*map(median, zip(*rounds, strict=True)))


def _once(home: Path, definition: Grid, dataset: Dataset) -> Seconds:
    began = time.process_time()
    specs = grid.specs(definition)
    parsed = time.process_time()
    plan(specs, dataset, Store(str(home / "store")))
    planned = time.process_time()
    before, started = _children(), time.perf_counter()
    command("orchestrator.sweep", *arguments(home, definition), "--dry-run")
    wall = time.perf_counter() - started
    return Seconds(parsed - began, planned - parsed, _children() - before, wall)


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
