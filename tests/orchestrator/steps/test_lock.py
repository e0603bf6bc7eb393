"""One driver per sweep: who may take it over, and when."""

import json
import multiprocessing
import os
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from multiprocessing.synchronize import Event

import pytest
from waiting import DEADLINE, until

from jobs.store import Store
from orchestrator.steps import lock
from qdllm.errors import ConfigError, StoreError

NAME = "5" * 16
HOLDER = f"locks/{NAME}/holder.json"


def holder(store: Store) -> dict:
    text = store.get(HOLDER)
    assert text
    return json.loads(text)


def elsewhere(store: Store, seen: float) -> None:
    """A holder on another machine that was last heard of so many seconds ago."""
    plain = {"host": "another", "pid": os.getpid(), "started": 0.0, "token": "0" * 16}
    store.put(HOLDER, json.dumps(plain | {"seen": time.time() - seen}))


def take(store: Store) -> None:
    with lock.held(store, NAME):
        assert holder(store)["pid"] == os.getpid()


def hold(uri: str, ready: Event) -> None:
    with lock.held(Store(uri), NAME):
        ready.set()
        time.sleep(600)


def test_it_is_held_for_as_long_as_the_block_runs(store):
    take(store)
    assert store.get(HOLDER) is None
    take(store)


def test_a_second_driver_hears_who_holds_it_and_how_to_take_over(store):
    with lock.held(store, NAME):
        with pytest.raises(ConfigError) as refusal, lock.held(store, NAME):
            pass
        assert holder(store)["pid"] == os.getpid(), "the first one lost it"
    for part in (NAME, f"process {os.getpid()} on {socket.gethostname()}", "takes over"):
        assert part in str(refusal.value)


def test_a_lock_whose_answer_was_lost_is_ones_own(tmp_path):
    """As where the server is killed when it has written, and the client tries once more."""

    class Lost(Store):
        def put(self, path: str, text: str, only_if_absent: bool = False) -> bool:
            super().put(path, text, only_if_absent)
            return super().put(path, text, only_if_absent)

    take(Lost(str(tmp_path)))


def test_a_result_that_another_makes_is_waited_for(store):
    first, told = ExitStack(), list[str]()
    first.enter_context(lock.held(store, NAME))

    def busy(other: str) -> None:
        assert holder(store)["token"] == token
        told.append(other)
        if len(told) == 2:
            first.close()

    token = holder(store)["token"]
    with lock.held(store, NAME, busy):
        assert holder(store)["token"] != token
    assert len(told) == 2
    assert f"process {os.getpid()} on {socket.gethostname()}, last heard of" in told[0]
    assert store.get(HOLDER) is None


def test_folders_come_and_go_under_many_sweeps(tmp_path):
    """A disk's folder of locks is deleted when it is empty, while others write into it."""
    store = Store(str(tmp_path))

    def sweep(number: int) -> None:
        for _ in range(200):
            with lock.held(store, f"{number:016x}"):
                pass

    with ThreadPoolExecutor(6) as several:
        for done in [several.submit(sweep, number) for number in range(6)]:
            done.result()
    assert list(tmp_path.iterdir()) == []


def test_another_sweep_is_not_held(store):
    with lock.held(store, NAME), lock.held(store, "6" * 16):
        pass


def test_a_holder_elsewhere_is_dead_when_it_has_been_silent_for_long(store):
    elsewhere(store, seen=lock.SILENCE - 5)
    with pytest.raises(ConfigError, match=r"on another, last heard of 11\d s ago"):
        take(store)
    elsewhere(store, seen=lock.SILENCE + 1)
    take(store)


DAMAGE = [
    "",
    "null",
    "[]",
    "not JSON",
    '"text"',
    "{}",
    '{"seen": 1}',
    "[" * 100_000,
    '{"host": "another", "pid": -1, "started": 0, "token": "", "seen": 0}',
    '{"host": "another", "pid": 1e30, "started": 0, "token": "", "seen": 0}',
    '{"host": "another", "pid": 1, "started": 0, "token": "", "seen": 9e10}',
    '{"host": 1, "pid": 1, "started": "x", "token": null, "seen": true}',
    '{"host": "' + "x" * 5000 + '", "pid": 1, "started": 0, "token": "", "seen": 0}',
    '{"host": "a", "host": "b", "pid": 1, "started": 0, "token": "", "seen": 0}',
]


@pytest.mark.parametrize("written", DAMAGE, ids=range(len(DAMAGE)))
def test_a_lock_of_others_is_respected_until_it_is_old(store, monkeypatch, written):
    store.put(HOLDER, written)
    with pytest.raises(
        ConfigError, match=r"holder.json, written \d s ago, is no lock of"
    ) as caught:
        take(store)
    assert len(str(caught.value)) < 2000
    monkeypatch.setattr(Store, "written", lambda *_: time.time() - lock.SILENCE - 1)
    take(store)
    assert store.get(HOLDER) is None


def test_bytes_that_are_no_text_are_a_lock_of_others(tmp_path):
    store = Store(str(tmp_path))
    store.put(HOLDER, "x")
    (tmp_path / HOLDER).write_bytes(b"\xff\0")
    with pytest.raises(ConfigError, match="is no lock of"):
        take(store)


def test_a_lock_that_can_be_no_file_is_told(tmp_path):
    store = Store(str(tmp_path))
    (tmp_path / HOLDER / "x").mkdir(parents=True)
    with pytest.raises(StoreError):
        take(store)


def test_damage_while_it_is_held_ends_nothing(store, monkeypatch):
    monkeypatch.setattr(lock, "BEAT", 0.05)
    with lock.held(store, NAME):
        store.put(HOLDER, "[")
        time.sleep(0.3)
    assert store.get(HOLDER) == "["


def test_whoever_holds_it_is_heard_of_again_and_again(store, monkeypatch):
    monkeypatch.setattr(lock, "BEAT", 0.05)
    with lock.held(store, NAME):
        first = holder(store)["seen"]
        until(lambda: holder(store)["seen"] > first)


def test_a_holder_that_has_lost_it_leaves_the_new_one_alone(store, monkeypatch):
    monkeypatch.setattr(lock, "BEAT", 0.05)
    with lock.held(store, NAME):
        elsewhere(store, seen=0)
        time.sleep(0.5)
        assert holder(store)["host"] == "another"
    assert holder(store)["host"] == "another"


def test_a_holder_that_was_killed_here_is_dead_at_once(tmp_path):
    store, context = Store(str(tmp_path)), multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=hold, args=(store.uri, ready))
    process.start()
    assert ready.wait(DEADLINE)
    with pytest.raises(ConfigError, match=f"held by process {process.pid}"):
        take(store)
    process.kill()
    process.join()
    take(store)


def test_a_number_that_another_process_has_come_by_is_not_the_holder(store):
    plain = {"host": socket.gethostname(), "pid": os.getpid(), "started": 1.0, "token": "0" * 16}
    store.put(HOLDER, json.dumps(plain | {"seen": time.time()}))
    take(store)
