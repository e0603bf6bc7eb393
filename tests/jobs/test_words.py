import json

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_union
from tiny_models import texts_of

from jobs import kinds, words
from jobs.kinds.words import WORDS, WordsSpec
from jobs.store import Store
from qdllm.specs import TaskSpec
from qdllm.texts import data
from qdllm.words import STRENGTHS, fit


@pytest.fixture
def dataset(tmp_path):
    rng = np.random.default_rng(0)
    texts = sorted(set(texts_of(120)))
    marks = ["goal", "match", "share", "market"]
    rows = [
        # Half of the texts tell their class, the others leave it to chance.
        {"text": f"{text} {marks[2 * (row % 2) + rng.integers(2)]}" if row % 4 < 2 else text,
         "label": f"class {row % 2}"}
        for row, text in enumerate(texts)
    ]  # fmt: skip
    path = tmp_path / "texts.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return data.load(TaskSpec(name="marked", data=str(path)))


def test_it_is_scikits_logistic_regression_with_the_strength_that_validates_best(dataset):
    union = make_union(
        TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True, dtype=np.float32),
        TfidfVectorizer(
            analyzer="char_wb", ngram_range=(2, 5), min_df=2, sublinear_tf=True, dtype=np.float32
        ),
    )
    train_NT = union.fit_transform(dataset.train.texts)
    validation_NT = union.transform(dataset.validation.texts)
    models = [
        LogisticRegression(C=strength, max_iter=300).fit(train_NT, dataset.train.labels_N)
        for strength in STRENGTHS
    ]
    scores = [model.score(validation_NT, dataset.validation.labels_N) for model in models]
    best = int(np.argmax(scores))
    fitted = fit(dataset.train, dataset.validation)
    assert fitted.strength == STRENGTHS[best]
    assert fitted.parameters == train_NT.shape[1] + 1
    logits_NC = fitted(dataset.test.texts)
    expected_N = models[best].decision_function(union.transform(dataset.test.texts))
    np.testing.assert_allclose(logits_NC[:, 1] - logits_NC[:, 0], expected_N, atol=1e-5)


def test_its_record_says_what_it_reaches_and_it_is_made_once(dataset, tmp_path):
    store, told = Store(str(tmp_path / "store")), []
    job = kinds.named(WORDS.name, WordsSpec(), TaskSpec(), dataset.digest)
    words.run(job, dataset, store, lambda *event: told.append(event))
    words.run(job, dataset, store, lambda *event: told.append(event))
    assert len(told) == 1
    record = store.record(WORDS.name, job.fingerprint)
    fitted = fit(dataset.train, dataset.validation)
    right_N = fitted(dataset.test.texts).argmax(1) == dataset.test.labels_N
    (standing,) = WORDS.standing(record)
    assert standing.metrics["test.accuracy"] == pytest.approx(right_N.mean())
    assert standing.metrics["val.accuracy"] > 0.6
    assert standing.parameters == fitted.parameters


def test_texts_without_a_word_in_common_are_one_class_like_the_other(dataset):
    rows = [f"{chr(0x4E00 + row)}" for row in range(12)]
    alone = data.Split(tuple(rows), np.arange(12) % 2)
    fitted = fit(alone, alone)
    assert fitted.parameters == 0
    assert not fitted(["any text"]).any()
