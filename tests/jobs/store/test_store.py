"""The store's contract: whole results or a clear error, whatever happens to the files."""

import json
import pickle

import numpy as np
import obstore
import pytest
from conftest import KEYS
from stored import KIND, NAME, OTHER, TENSORS, flip, names, publish, read, write

from jobs.inputs import gather
from jobs.store import Store, record
from jobs.store.record import DamagedError, VersionError
from qdllm.errors import StoreError
from qdllm.spec import SCHEMA
from qdllm.specs import TaskSpec
from qdllm.texts import data
from qdllm.texts.data import SPLITS


def test_what_is_published_is_loaded(store, backend):
    assert not store.has(KIND, NAME)
    assert store.fingerprints(KIND) == frozenset()
    written = publish(store)
    record, tensors = store.load(KIND, NAME)
    assert record == written
    assert record == store.record(KIND, NAME)
    assert record.spec == {"model": "minilm"}
    assert store.fingerprints(KIND) == {NAME}
    assert store.has(KIND, NAME)
    assert names(backend) == {"record.json", record.data.name}
    for name, array in TENSORS.items():
        np.testing.assert_array_equal(tensors[name], array)
        assert (tensors[name].dtype, tensors[name].shape) == (array.dtype, array.shape)


def test_a_result_of_many_parts_is_loaded(store):
    array_NH = np.random.default_rng(0).random((4000, 500))  # 16 MB, sent in parts of 5 MB
    store.publish(
        KIND, NAME, tensors={"train": array_NH}, spec={}, made_from={}, summary={}, seconds=0.0
    )
    np.testing.assert_array_equal(store.load(KIND, NAME)[1]["train"], array_NH)


def test_what_is_not_finite_is_null_in_a_summary(store):
    summary = {"f1": float("nan")}
    store.publish(KIND, NAME, tensors={}, spec={}, made_from={}, summary=summary, seconds=0.0)
    assert store.load(KIND, NAME)[0].summary == {"f1": None}


def test_a_store_goes_to_another_process_without_keys(store):
    publish(store)
    sent = pickle.dumps(store)
    assert not any(key.encode() in sent for key in KEYS.values())
    assert pickle.loads(sent).has(KIND, NAME)


def test_the_second_of_two_writers_gets_the_first_ones_record_and_leaves_no_trace(store, backend):
    first = publish(store)
    assert publish(store, offset=1.0) == first
    assert publish(store) == first
    assert names(backend) == {first.data.name, "record.json"}
    np.testing.assert_array_equal(store.load(KIND, NAME)[1]["train"], TENSORS["train"])


def test_data_without_a_record_is_no_result_and_does_not_stop_a_new_one(store, backend):
    publish(store)
    obstore.delete(backend, f"{KIND}/{NAME}/record.json")
    assert not store.has(KIND, NAME)
    assert store.fingerprints(KIND) == frozenset()
    with pytest.raises(StoreError, match=f"there is no {KIND}/{NAME}"):
        store.load(KIND, NAME)
    publish(store)
    store.load(KIND, NAME)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (flip, "its data file does not match its digest"),
        (lambda data: flip(data, 0), "its data file does not match its digest"),
        (lambda data: data[:-4], r"its data file has \d+ bytes, the record says"),
        (lambda data: b"", r"its data file has 0 bytes, the record says"),
        (None, "its data file is missing"),
    ],
    ids=["last bit", "first bit", "truncated", "empty", "missing"],
)
def test_damaged_data_is_an_error_that_says_what_to_do(store, backend, damage, message):
    name = publish(store).data.name
    if damage:
        write(backend, name, damage(read(backend, name)))
    else:
        obstore.delete(backend, f"{KIND}/{NAME}/{name}")
    with pytest.raises(DamagedError, match=message) as caught:
        store.load(KIND, NAME)
    assert "python -m jobs.store verify --remove --store" in str(caught.value)
    assert pickle.loads(pickle.dumps(caught.value)).problem == caught.value.problem


def refit(text: bytes, **change) -> bytes:
    """A record with other fields, and the digest that belongs to them."""
    fields = json.loads(text) | change
    del fields["sha256"]
    return json.dumps(fields | {"sha256": record._digest(fields)}).encode()


def elsewhere(text: bytes) -> dict:
    """The data of a record as if it lay in another result's folder."""
    return json.loads(text)["data"] | {"name": "../../students/1/2.safetensors"}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text.replace(b'"width": 3', b'"width": 2'), "does not match its digest"),
        (lambda text: text[:-9], "its record is unreadable"),
        (lambda text: b"", "its record is unreadable"),
        (lambda text: b"[]", "its record is unreadable"),
        (lambda text: b"null", "its record is unreadable"),
        (lambda text: b"\xff" + text, "its record is unreadable"),
        (lambda text: refit(text, data=None), "its record is unreadable"),
        (lambda text: refit(text, data=elsewhere(text)), "its record is unreadable"),
        (lambda text: refit(text, fingerprint="f" * 16), f"its record speaks of {KIND}/ffff"),
        (lambda text: refit(text, kind="students"), f"its record speaks of students/{NAME}"),
    ],
    ids=[
        "number",
        "cut",
        "empty",
        "list",
        "null",
        "bytes",
        "field",
        "elsewhere",
        "fingerprint",
        "kind",
    ],
)
def test_a_damaged_or_foreign_record_is_an_error_and_never_a_wrong_number(
    store, backend, damage, message
):
    publish(store)
    write(backend, "record.json", damage(read(backend, "record.json")))
    for ask_for in (store.record, store.has, store.load, lambda *key: publish(store, offset=1.0)):
        with pytest.raises(DamagedError, match=message):
            ask_for(KIND, NAME)
    assert store.fingerprints(KIND) == {NAME}, "a sweep meets the error, and computes nothing over"


def test_every_flipped_bit_of_a_record_is_seen(tmp_path):
    store = Store(str(tmp_path))
    publish(store)
    path = tmp_path / KIND / NAME / "record.json"
    text = path.read_bytes()
    seen = 0
    for at in range(len(text)):
        path.write_bytes(flip(text, at))
        try:
            same = store.record(KIND, NAME)
        except DamagedError:
            seen += 1
        else:  # such as another white space
            assert same == record.read(text, store.uri, KIND, NAME)
    assert seen > len(text) / 2


def replace(store: Store, width: int) -> record.Record:
    parts = {"spec": {}, "made_from": {}, "summary": {"width": width}, "seconds": 1.0}
    return store.replace(KIND, NAME, tensors={"train": np.full((2, width), 1.0)}, **parts)


def test_what_is_no_result_yet_is_replaced_and_one_of_it_is_kept(store, backend):
    replace(store, 2)
    second = replace(store, 3)
    assert store.load(KIND, NAME)[1]["train"].shape == (2, 3)
    assert names(backend) == {"record.json", second.data.name}
    write(backend, "record.json", flip(read(backend, "record.json"), 40))
    assert replace(store, 4) == store.record(KIND, NAME)
    assert replace(store, 4).data == store.record(KIND, NAME).data
    assert store.load(KIND, NAME)[1]["train"].shape == (2, 4)


def test_a_record_of_another_version_is_told_from_a_damaged_one(store, backend):
    publish(store)
    write(backend, "record.json", refit(read(backend, "record.json"), schema_version=SCHEMA + 1))
    for ask_for in (store.record, store.load):
        with pytest.raises(VersionError, match=f"has schema {SCHEMA + 1}, this one {SCHEMA}"):
            ask_for(KIND, NAME)


def test_deleting_takes_the_record_first(store, backend, monkeypatch):
    publish(store)
    publish(store, name=OTHER)
    seen = []

    def delete(_, paths):
        seen.append([path.split("/")[-1] for path in paths])

    with monkeypatch.context() as patch:
        patch.setattr("jobs.store.results.obstore.delete", delete)
        store.delete(store.files())
    assert seen[0] == ["record.json", "record.json"]
    assert len(seen) == 2
    store.delete([file for file in store.files() if NAME in file.path])
    assert not store.has(KIND, NAME)
    assert store.fingerprints(KIND) == {OTHER}
    store.delete(store.files())
    assert names(backend, "") == set()


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("features", {"rows": "f" * 64}, "was made from other texts, or another order of them"),
        ("soft-labels", {"rows": None}, "was made from other texts, or another order of them"),
        ("features", {"train": np.zeros((3, 2))}, r"arrays of the shapes \[\(3, 2\), .* splits of"),
        ("soft-labels", {"test": np.zeros(9)}, r"arrays of the shapes .* splits of"),
        ("soft-labels", {"validation": None}, r"arrays of the shapes .* splits of"),
    ],
    ids=["other texts", "no texts", "length", "dimension", "missing"],
)
def test_rows_that_are_not_the_datasets_are_refused(store, kind, change, message):
    dataset = data.load(TaskSpec())
    rows = {split: np.zeros((size, 2)) for split, size in zip(SPLITS, dataset.sizes, strict=True)}
    for each in ("features", "soft-labels"):
        found = rows | {"rows": dataset.rows} | (change if each == kind else {})
        store.publish(
            each,
            NAME,
            tensors={split: found[split] for split in SPLITS if found[split] is not None},
            spec={},
            made_from={},
            summary={"rows": found["rows"]},
            seconds=0.0,
        )
    with pytest.raises(StoreError, match=message) as caught:
        gather(store, {"features": NAME, "soft_labels": NAME}, dataset)
    assert f"delete {store.uri}/{kind}/{NAME}/record.json" in str(caught.value)
