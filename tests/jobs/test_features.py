import json
import subprocess
import sys

import numpy as np
import pytest
from tiny_models import save, texts_of

from jobs import features, kinds
from jobs.kinds.features import FEATURES
from jobs.store import Store
from qdllm.encoder import encode
from qdllm.errors import ConfigError
from qdllm.specs import EncoderSpec, TaskSpec, TeacherSpec
from qdllm.texts import data
from qdllm.tfidf import Tfidf


@pytest.fixture
def task(tmp_path):
    path = tmp_path / "texts.jsonl"
    texts = sorted(set(texts_of(60)))
    rows = [{"text": text, "label": f"class {row % 3}"} for row, text in enumerate(texts)]
    path.write_text("\n".join(map(json.dumps, rows)))
    return TaskSpec(name="tiny", data=str(path))


@pytest.fixture
def encoder(tmp_path):
    return EncoderSpec(model=save("bert", tmp_path / "bert"), hidden_layers="all", max_length=16)


def test_every_split_is_encoded_in_its_order_and_only_once(task, encoder, tmp_path):
    store, events = Store(str(tmp_path / "store")), []
    dataset = data.load(task)
    job = kinds.named("features", encoder, task, dataset.digest)
    features.run(job, dataset, store, lambda *event: events.append(event))
    record, splits = store.load(FEATURES.name, job.fingerprint)
    assert set(splits) == {"train", "validation", "test", "places"}
    assert splits.pop("places").tolist() == dataset.places_N.tolist()
    for name, features_NH in splits.items():
        assert features_NH.dtype == np.float32
        expected_NH = encode(encoder, getattr(dataset, name).texts)
        np.testing.assert_allclose(features_NH, expected_NH, atol=1e-5)
    assert record.summary["rows"] == dataset.rows
    assert record.summary["width"] == 48
    assert events[-1] == ("features", len(dataset.texts), len(dataset.texts), "")

    features.run(job, data.load(task), store, lambda *event: events.append("again"))
    assert events[-1] != "again"
    assert store.record(FEATURES.name, job.fingerprint) == record


@pytest.mark.parametrize("splits", [{"seed": 1}, {"split": (0.5, 0.3, 0.2)}])
def test_other_splits_of_the_same_texts_are_encoded_once(task, encoder, tmp_path, splits):
    store, told = Store(str(tmp_path / "store")), []
    for each in (task, task.model_copy(update=splits)):
        dataset = data.load(each)
        job = kinds.named("features", encoder, each, dataset.digest)
        features.run(job, dataset, store, lambda *event: told.append(event))
        _, tensors = store.load(FEATURES.name, job.fingerprint)
        for name, expected_NH in dataset.by_split(encode(encoder, dataset.texts)).items():
            assert np.array_equal(tensors[name], expected_NH), "to the bit, taken over or not"
    records = [store.record(FEATURES.name, one) for one in store.fingerprints(FEATURES.name)]
    assert len(records) == 2
    assert len({record.summary["encoding_us"] for record in records}) == 1, "of who encoded them"
    assert records[0].summary["encoding_us"] > 0
    assert told[-1][1:3] == (len(dataset.texts),) * 2
    assert len(told) == 2, "the second one encodes nothing"
    other = encoder.model_copy(update={"pooling": "max"})
    features.run(
        kinds.named("features", other, task, dataset.digest),
        data.load(task),
        store,
        lambda *event: told.append(event),
    )
    assert len(told) == 4, "another pooling is another encoder"


def test_what_is_fitted_is_fitted_to_each_training_split_and_kept(task, tmp_path):
    store, encoder = Store(str(tmp_path / "store")), EncoderSpec(model="tfidf", components=8)
    for each in (task, task.model_copy(update={"seed": 1})):
        dataset = data.load(each)
        job = kinds.named("features", encoder, each, dataset.digest)
        features.run(job, dataset, store)
        record, tensors = store.load(FEATURES.name, job.fingerprint)
        expected_NH = Tfidf.fit(dataset.train.texts, 8)(dataset.test.texts)
        assert tensors["test"].tobytes() == expected_NH.tobytes()
        assert Tfidf(tensors)(dataset.test.texts).tobytes() == expected_NH.tobytes()
        assert record.summary["width"] == 8


def test_fingerprints_follow_all_that_decides_a_number(task, encoder, tmp_path):
    def keys(split_seed: int = 0, texts: str = "a", **settings) -> tuple[str, str]:
        split = task.model_copy(update={"seed": split_seed})
        teacher = TeacherSpec(model=encoder.model, max_length=encoder.max_length)
        chosen = encoder.model_copy(update=settings)
        return (
            kinds.named("features", chosen, split, texts).fingerprint,
            kinds.named("soft-labels", teacher, split, texts).fingerprint,
        )

    before = keys()
    assert keys() == before
    changed = [keys(split_seed=1), keys(texts="b")]
    weights = tmp_path / "bert" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
    changed.append(keys())
    for feature_key, label_key in changed:
        assert feature_key != before[0]
        assert label_key != before[1]
    assert keys(hidden_layers=(1,))[0] != keys()[0]


def test_the_command_publishes_and_prints_the_fingerprint(task, encoder, tmp_path):
    description = {
        "task": task.model_dump(),
        "encoder": encoder.model_dump(),
        "store": str(tmp_path / "store"),
    }
    path = tmp_path / "job.json"
    path.write_text(json.dumps(description))
    line = [sys.executable, "-m", "jobs.features", str(path)]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert Store(str(tmp_path / "store")).record(FEATURES.name, done.stdout.strip())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"cannot read .*job\.json' as JSON: .*No such file"),
        ("{", r"cannot read .*job\.json' as JSON: "),
        ("[]", "must hold one JSON object with task, encoder, store"),
        ("{}", r"store is missing"),
        ('{"stor": "x"}', r"unknown key 'stor'; did you mean 'store'\?"),
    ],
)
def test_a_description_that_cannot_be_used_is_refused(tmp_path, content, message):
    path = tmp_path / "job.json"
    if content is not None:
        path.write_text(content)
    from jobs.command import read

    with pytest.raises(ConfigError, match=message):
        read(features.FeaturesRequest, path)
