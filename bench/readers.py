"""`python -m bench.readers FILE STORE TEXTS COUNT`: processes that all read the same results.

First from Ray's object store, as trials do, then each from the store for itself. STORE holds the
results of `bench.storing` for the task in TEXTS; FILE gets what `Readers` says.
"""

import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil

from bench.storing import MADE_FROM, dataset
from jobs.inputs import gather
from jobs.store import Store
from orchestrator import cluster

SHARE = 0.01
"""Of a CPU for each process, so that one machine has room for all."""


class Way(NamedTuple):
    """What one way to read costs: wall seconds until all have read, and the median's memory."""

    seconds: float
    private: int
    """Bytes that the process has to itself."""
    part: int
    """Those, and its part of what several processes hold together."""


class Readers(NamedTuple):
    """What came of it."""

    processes: int
    bytes: int
    """Of the arrays that all read."""
    started: float
    """Seconds until all processes are there."""
    put: float
    """Seconds to put the arrays into Ray's object store."""
    shared: Way
    loaded: Way

    @classmethod
    def of(cls, file: Path) -> "Readers":
        """What `main` left in a file."""
        *single, shared, loaded = json.loads(file.read_text())
        return cls(*single, Way(*shared), Way(*loaded))


class Reader:
    """An actor that reads arrays, and holds them."""

    def __init__(self) -> None:
        self._arrays: Mapping[str, np.ndarray] = {}

    def forget(self) -> tuple[int, int]:
        """Let go of them, and tell the memory that is held without them."""
        self._arrays = {}
        return self.held()

    def held(self) -> tuple[int, int]:
        """Bytes as in Way."""
        memory = psutil.Process().memory_full_info()
        return memory.uss, memory.pss

    def share(self, arrays: Mapping[str, np.ndarray]) -> float:
        """Read those of Ray's object store."""
        self._arrays = arrays
        return _total(arrays)

    def load(self, store: str, texts: Path) -> float:
        """Load them, as a job does that runs without a sweep."""
        self._arrays = gather(Store(store), MADE_FROM, dataset(texts))
        return _total(self._arrays)


def main() -> None:
    file, store, texts, count = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])
    arrays = gather(Store(store), MADE_FROM, dataset(texts))
    with cluster.connect():
        import ray

        def ask(method: str, *arguments: Any) -> list[Any]:
            return ray.get([getattr(actor, method).remote(*arguments) for actor in actors])

        def read(method: str, *arguments: Any) -> Way:
            before = ask("forget")
            seconds, totals = _timed(lambda: ask(method, *arguments))
            assert len(set(totals)) == 1, "they have not read the same"
            grown = np.subtract(ask("held"), before)
            return Way(seconds, *np.median(grown, axis=0).astype(int).tolist())

        actors = [ray.remote(num_cpus=SHARE)(Reader).remote() for _ in range(count)]
        started, _ = _timed(lambda: ask("held"))
        put, there = _timed(lambda: ray.put(arrays))
        size = sum(array.nbytes for array in arrays.values())
        found = Readers(count, size, started, put, read("share", there), read("load", store, texts))
    file.write_text(json.dumps(found))


def _total(arrays: Mapping[str, np.ndarray]) -> float:
    return float(sum(array.sum() for array in arrays.values()))


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    answer = work()
    return time.perf_counter() - began, answer


if __name__ == "__main__":
    main()
