"""The store's contract: whole results or a clear error, whatever happens to the files."""

import json
import multiprocessing
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest

from jobs.store import Store
from qdllm.errors import ConfigError, StoreError

KIND, NAME = "features", "0123456789abcdef"
TENSORS = {"train": np.arange(12, dtype=np.float32).reshape(4, 3), "test": np.ones((2, 3))}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "a store"))


def publish(store: Store, offset: float = 0.0):
    return store.publish(
        KIND,
        NAME,
        tensors={name: array + offset for name, array in TENSORS.items()},
        spec={"model": "minilm"},
        made_from={"task": "abc"},
        summary={"width": 3},
        seconds=1.5,
    )


def folder(store: Store) -> Path:
    return Path(unquote(store.uri.removeprefix("file://"))) / KIND / NAME


def test_what_is_published_is_loaded(store):
    assert not store.has(KIND, NAME)
    written = publish(store)
    record, tensors = store.load(KIND, NAME)
    assert record == written
    assert record.spec == {"model": "minilm"}
    assert store.fingerprints(KIND) == {NAME}
    assert store.has(KIND, NAME)
    for name, array in TENSORS.items():
        np.testing.assert_array_equal(tensors[name], array)
        assert tensors[name].dtype == array.dtype


def test_the_second_of_two_writers_gets_the_first_ones_record_and_leaves_no_trace(store):
    first = publish(store)
    assert publish(store, offset=1.0) == first
    assert sorted(path.name for path in folder(store).iterdir()) == sorted(
        [first.data.name, "record.json"]
    )
    np.testing.assert_array_equal(store.load(KIND, NAME)[1]["train"], TENSORS["train"])


def race(uri: str, offset: float) -> None:
    publish(Store(uri), offset)


def test_sixteen_writers_at_once_end_in_one_whole_result(store):
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=race, args=(store.uri, float(n))) for n in range(16)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(120)
    assert [writer.exitcode for writer in writers] == [0] * 16
    record, tensors = store.load(KIND, NAME)
    assert {path.name for path in folder(store).iterdir()} == {record.data.name, "record.json"}
    offset = tensors["train"][0, 0]
    np.testing.assert_array_equal(tensors["train"], TENSORS["train"] + offset)


def test_data_without_a_record_is_no_result_and_does_not_stop_a_new_one(store):
    publish(store)
    (folder(store) / "record.json").unlink()
    assert not store.has(KIND, NAME)
    assert store.fingerprints(KIND) == frozenset()
    with pytest.raises(StoreError, match=f"there is no {KIND}/{NAME}"):
        store.load(KIND, NAME)
    publish(store)
    assert store.has(KIND, NAME)


def damage_flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_flip, "does not match its digest"),
        (lambda path: path.write_bytes(path.read_bytes()[:-4]), r"has \d+ bytes, the record says"),
        (lambda path: path.unlink(), "its data file is missing"),
    ],
)
def test_damaged_data_is_an_error_that_says_what_to_do(store, damage, message):
    record = publish(store)
    damage(folder(store) / record.data.name)
    with pytest.raises(StoreError, match=message) as caught:
        store.load(KIND, NAME)
    assert "Delete that folder" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 999}, "it has schema 999"),
        ({"fingerprint": "f" * 16}, "its record speaks of"),
        ({"data": None}, "its record is unreadable"),
    ],
)
def test_a_foreign_record_is_an_error(store, change, message):
    publish(store)
    path = folder(store) / "record.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(StoreError, match=message):
        store.record(KIND, NAME)


def test_a_refused_write_is_a_store_error_and_leaves_what_was_there(store):
    first = publish(store)
    blocked = folder(store).parent / ("e" * 16)
    blocked.write_text("a file where a folder must go")
    with pytest.raises(StoreError, match="cannot write"):
        store.publish(
            KIND, "e" * 16, tensors=TENSORS, spec={}, made_from={}, summary={}, seconds=0.0
        )
    assert store.load(KIND, NAME)[0] == first


def test_an_unknown_scheme_names_the_known_ones():
    with pytest.raises(ConfigError, match=r"'ftp://x/y'.*file://, s3://, gs://"):
        Store("ftp://x/y")


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot make the store's folder"):
        Store(str(tmp_path / "file" / "store"))
