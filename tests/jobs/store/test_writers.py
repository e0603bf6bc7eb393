"""Writers that race, are killed, or are refused: one whole result, and nothing lost."""

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stored import KIND, NAME, OTHER, TENSORS, names, publish
from waiting import DEADLINE

from jobs.store import Store
from qdllm.errors import StoreError


def race(uri: str, offset: float, start, environment: dict[str, str]) -> None:
    os.environ.update(environment)
    store = Store(uri)
    start.wait(DEADLINE)
    publish(store, offset)


@contextmanager
def writers(store: Store, offsets: list[float], beside: int = 0) -> Iterator[tuple[list, Any]]:
    """Processes that publish the same thing at once, when `beside` others wait with them."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["jobs.store", "pytest"])
    start = context.Barrier(len(offsets) + beside)
    settings = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    processes = [
        context.Process(target=race, args=(store.uri, offset, start, settings))
        for offset in offsets
    ]
    for process in processes:
        process.start()
    yield processes, start
    for process in processes:
        process.join(DEADLINE)
    assert [process.exitcode for process in processes] == [0] * len(offsets)


def test_sixteen_writers_at_once_end_in_one_whole_result(store, backend):
    # Of four writers with the same bytes three or all lose, and each wants to clean up.
    with writers(store, [float(n % 4) for n in range(16)]):
        pass
    record, tensors = store.load(KIND, NAME)
    assert names(backend) == {record.data.name, "record.json"}
    offset = tensors["train"][0, 0]
    np.testing.assert_array_equal(tensors["train"], TENSORS["train"] + offset)


def test_a_reader_beside_writers_sees_nothing_or_a_whole_result(store):
    with writers(store, [0.0, 1.0, 2.0, 3.0], beside=1) as (processes, start):
        start.wait(DEADLINE)
        while any(process.is_alive() for process in processes):
            if store.has(KIND, NAME):
                store.load(KIND, NAME)
    store.load(KIND, NAME)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    if subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("this system lets not even root mount a small disk")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("room", [0, 1], ids=["for nothing", "for the data alone"])
def test_a_full_disk_leaves_what_was_there_and_no_record(small_disk, room):
    store = Store(str(small_disk / "store"))
    first = publish(store)
    page = os.statvfs(small_disk).f_bsize
    ballast = small_disk / "ballast"
    free = os.statvfs(small_disk).f_bavail - room
    ballast.write_bytes(bytes(free * page))
    assert os.statvfs(small_disk).f_bavail == room
    with pytest.raises(StoreError, match=f"cannot write .*{OTHER}.*No space left on device"):
        publish(store, name=OTHER)
    assert store.load(KIND, NAME)[0].data == first.data
    assert not store.has(KIND, OTHER)
    assert store.fingerprints(KIND) == {NAME}
    ballast.unlink()
    publish(store, name=OTHER)
    store.load(KIND, OTHER)


LIMITED = """
import resource, signal, sys
import numpy as np
from jobs.store import Store
from qdllm.errors import StoreError

uri, numbers, limit, action = sys.argv[1:]
store, tensors = Store(uri), {"train": np.zeros(int(numbers))}
signal.signal(signal.SIGXFSZ, getattr(signal, action))
resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
try:
    store.publish(
        "features", "e" * 16, tensors=tensors, spec={}, made_from={}, summary={}, seconds=0.0
    )
except StoreError as error:
    print(error)
"""
"""Publishes where no file may grow beyond a limit: the writer gets an error there, or dies."""


@pytest.mark.parametrize("dies", [False, True], ids=["refused", "killed"])
@pytest.mark.parametrize(
    ("numbers", "limit"),
    [(8_192, 40_000), (2_000_000, 40_000), (8, 300)],
    ids=["in the data", "in one of its parts", "in the record"],
)
def test_a_write_that_stops_midway_leaves_what_was_there_and_no_record(
    tmp_path, numbers, limit, dies
):
    store = Store(str(tmp_path))
    first = publish(store)
    arguments = [store.uri, str(numbers), str(limit), "SIG_DFL" if dies else "SIG_IGN"]
    done = subprocess.run([sys.executable, "-c", LIMITED, *arguments], capture_output=True)
    told = done.stdout.decode()
    if dies:
        assert done.returncode == -signal.SIGXFSZ
    else:
        assert told.startswith(f"cannot write {store.uri}/{KIND}/{OTHER}: ")
        assert "File too large" in told
    left = [file for file in store.files() if NAME not in file.path]
    assert len(left) == (limit == 300) + dies, "a whole data file, and one half written"
    assert store.fingerprints(KIND) == {NAME}
    assert not store.has(KIND, OTHER)
    assert store.load(KIND, NAME)[0].data == first.data
    publish(store, name=OTHER)
    store.delete(left)
    assert len(store.files()) == 4
    store.load(KIND, OTHER)


def test_a_refused_write_is_a_store_error_and_leaves_what_was_there(tmp_path):
    store = Store(str(tmp_path))
    first = publish(store)
    (tmp_path / KIND / OTHER).write_text("a file where a folder must go")
    with pytest.raises(StoreError, match="cannot write"):
        publish(store, name=OTHER)
    assert store.load(KIND, NAME)[0].data == first.data
