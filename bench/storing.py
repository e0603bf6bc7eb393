"""What results of many rows cost in a store: seconds and memory, each in a process of its own."""

import csv
import multiprocessing
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bench.tracked import trial
from jobs.inputs import gather
from jobs.store import Store
from jobs.store.record import read as parsed
from jobs.store.record import write
from orchestrator.plan import Trial
from qdllm.families.quantum import FAMILY, StudentSpec
from qdllm.specs import TaskSpec
from qdllm.texts import data
from qdllm.texts.data import Dataset

NAME = "0123456789abcdef"
"""The fingerprint of everything that is made up here."""
MADE_FROM = {"features": NAME, "soft_labels": NAME}
TEXT = "text number {} of a made-up task, as long as a short message or the title of a paper is"
STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
"""Where Linux tells a process its highest memory, and where it is told to forget it."""


class Cost(NamedTuple):
    """Of one operation; `peak`: bytes of memory beyond those that it began with."""

    seconds: float
    peak: int


def publish(uri: str, kind: str, count: int, width: int) -> Cost:
    """Publish that many made-up rows, split 6:2:2."""
    return _alone(_publish, uri, kind, count, width, "")


def load(uri: str, kind: str) -> Cost:
    """Load what `publish` has published."""
    return _alone(_load, uri, kind)


def read(file: Path, count: int) -> Cost:
    """Write that many texts to a CSV file, and read them as a task."""
    with file.open("w", newline="") as lines:
        table = csv.writer(lines)
        table.writerow(("text", "label"))
        table.writerows((TEXT.format(index), "ab"[index % 2]) for index in range(count))
    return _alone(_read, file)


def gathered(uri: str, file: Path, width: int) -> Cost:
    """Publish features and soft labels of a file's texts, and gather them."""
    texts = dataset(file)
    for kind, columns in (("features", width), ("soft-labels", len(texts.classes))):
        _alone(_publish, uri, kind, len(texts.texts), columns, texts.rows)
    return _alone(_gather, uri, file)


def records(count: int) -> Cost:
    """Hold so many finished trials, as a sweep's end does to rank them."""
    return _alone(_records, count)


def _publish(uri: str, kind: str, count: int, width: int, rows: str) -> Cost:
    array = np.random.default_rng(0).random((count, width), dtype=np.float32)
    cuts = [count * 6 // 10, count * 8 // 10]
    tensors = dict(zip(data.SPLITS, np.split(array, cuts), strict=True))
    return _cost(
        lambda: Store(uri).publish(
            kind, NAME, tensors=tensors, spec={}, made_from={}, summary={"rows": rows}, seconds=0.0
        )
    )


def _load(uri: str, kind: str) -> Cost:
    return _cost(lambda: Store(uri).load(kind, NAME))


def _read(file: Path) -> Cost:
    return _cost(lambda: dataset(file))


def _gather(uri: str, file: Path) -> Cost:
    texts = dataset(file)
    return _cost(lambda: gather(Store(uri), MADE_FROM, texts))


def _records(count: int) -> Cost:
    texts = [write(trial(number)[0].record) for number in range(count)]

    def held() -> list[Trial]:
        found = [parsed(text, "store", FAMILY.kind, f"{n:016x}") for n, text in enumerate(texts)]
        return [
            Trial(FAMILY.kind, one.fingerprint, StudentSpec.parse(one.spec), one.made_from, True)
            for one in found
        ]

    return _cost(held)


def dataset(file: Path) -> Dataset:
    """The task that `read` has written."""
    return data.load(TaskSpec(name="scale", data=str(file)))


def _cost(work: Callable[[], Any]) -> Cost:
    RESET.write_text("5")
    before, began = _memory("VmRSS"), time.perf_counter()
    work()
    return Cost(time.perf_counter() - began, _memory("VmHWM") - before)


def _memory(field: str) -> int:
    found = re.search(rf"{field}:\s+(\d+) kB", STATUS.read_text())
    assert found, "Linux tells it"
    return 1024 * int(found[1])


def _alone(work: Callable[..., Cost], *arguments: Any) -> Cost:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, arguments)
