"""What a store is asked: by a sweep of trials, by the same sweep again, and for a list of names."""

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import NamedTuple

from bench.loopback import Log, Request
from bench.planning import arguments, command
from bench.sweep import warm
from jobs import kinds
from jobs.kinds.features import FEATURES
from jobs.kinds.teachers import SOFT_LABELS
from jobs.store import Store
from orchestrator.grid import Grid
from qdllm.families.quantum import FAMILY

SHORT = {"circuit": {"qubits": 6, "layers": 1}, "fit": {"epochs": 2, "batch_size": 64}}
"""What all trials share: little work."""
WRITERS = 8
"""Threads that make up names."""


class Asked(NamedTuple):
    """Requests of one kind: of the median trial, and what the whole sweep asks beyond those."""

    trial: float
    sweep: float


class Listed(NamedTuple):
    """Seconds to list results, and the requests that it took where a server counts them."""

    seconds: float
    requests: int


def sweeps(
    home: Path, uri: str, trials: int, log: Log
) -> tuple[dict[str, Asked], dict[str, Asked]]:
    """Requests of the real command on so many trials, and of the same command when all are held."""
    values = [round(0.001 * (1 + index), 6) for index in range(trials)]
    definition = Grid(name="asked", base=SHORT, axes={"fit.lr": values})
    warm(home, definition)
    source, store = Store(str(home / "store")), Store(uri)
    for kind in (FEATURES.name, SOFT_LABELS.name):
        for name in source.fingerprints(kind):
            record, tensors = source.load(kind, name)
            store.publish(
                kind,
                name,
                tensors=tensors,
                spec=record.spec,
                made_from=record.made_from,
                summary=record.summary,
                seconds=0.0,
            )
    log.new()
    found = []
    for _ in range(2):
        command("orchestrator.sweep", *arguments(home, definition), "--store", uri)
        found.append(divided(log.new()))
    return found[0], found[1]


def divided(found: Counter[Request]) -> dict[str, Asked]:
    """Requests by method: a trial's own, and the others. References are trials too."""
    made = {name for name, kind in kinds.kinds().items() if kind.holds == "trial"}
    trials = {request[1:] for request in found if request.kind in made and request.name}
    asked = {}
    for method in sorted({request.method for request in found}):
        every = sum(count for request, count in found.items() if request.method == method)
        # The median, since the sweep's end reads its best trials once more.
        own = median([found[Request(method, *trial)] for trial in trials] or [0])
        asked[method] = Asked(own, every - own * len(trials))
    return asked


def listed(uri: str, count: int, log: Log | None = None) -> Listed:
    """Make up so many students more, and list all that there are."""
    store = Store(uri)

    def make(index: int) -> None:
        # A listing reads names alone, so it does not matter what the files say.
        for file in ("data.safetensors", "record.json"):
            store.put(f"{FAMILY.kind}/{index:016x}/{file}", "")

    with ThreadPoolExecutor(WRITERS) as writers:
        list(writers.map(make, range(count)))
    if log:
        log.new()
    began = time.perf_counter()
    found = store.fingerprints(FAMILY.kind)
    seconds = time.perf_counter() - began
    assert len(found) >= count, "a listing lacks names"
    return Listed(seconds, log.new().total() if log else 0)
