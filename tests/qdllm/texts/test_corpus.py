"""The sample corpora: always the same, readable, balanced, and neither trivial nor hopeless."""

import hashlib
import os
import re
import subprocess
import sys
import unicodedata

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from qdllm.errors import ConfigError
from qdllm.spec import canonical
from qdllm.specs import TaskSpec
from qdllm.texts import corpus, grammar
from qdllm.texts.data import load

NAMES = sorted(corpus.CLASSES)
DIGESTS = {
    "sample-emotion": "dbdb1dad55dd29d6b28fd0d37e80f21347f12dd1a68fea235591c44ff320929a",
    "sample-hiding": "40b55aa1d5fcccfbbd5dc520c73cb372d2ee4d36ac3f990b2824262348db1aff",
    "sample-thematic": "4a24eeff112ad5d39a6822d8073b784417f29b3503fc6959c4e29fc0d3ddd255",
}
PRINT_DIGESTS = """
import hashlib
from qdllm.texts.corpus import CLASSES, generate
from qdllm.spec import canonical
for name in sorted(CLASSES):
    print(name, hashlib.sha256(canonical(generate(name)).encode()).hexdigest())
"""


def digest(name: str, seed: int = 0) -> str:
    return hashlib.sha256(canonical(corpus.generate(name, seed)).encode()).hexdigest()


@pytest.mark.parametrize("name", NAMES)
def test_texts_are_pinned(name):
    assert digest(name) == DIGESTS[name]
    assert digest(name, seed=1) != DIGESTS[name]


def test_another_process_and_hash_seed_give_the_same_texts():
    done = subprocess.run(
        [sys.executable, "-c", PRINT_DIGESTS],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONHASHSEED": "7"},
    )
    assert dict(line.split() for line in done.stdout.splitlines()) == DIGESTS


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", NAMES)
def test_corpora_are_balanced_and_repeat_hardly_anything(name, seed):
    classes, texts, labels = corpus.generate(name, seed)
    assert len(texts) == len(labels) == corpus.SIZE
    assert np.bincount(labels).tolist() == [corpus.SIZE // len(classes)] * len(classes)
    same = {" ".join(unicodedata.normalize("NFC", text).split()).lower() for text in texts}
    assert len(texts) - len(same) < 0.02 * len(texts)


@pytest.mark.parametrize("name", ["sample-emotion", "sample-thematic"])
def test_texts_read_as_sentences(name):
    _, texts, _ = corpus.generate(name)
    for text in texts:
        assert re.fullmatch(r"[A-Z].*[a-z0-9]\.", text), text
        assert not re.search(r"[{}:|]|  | [,.]|,,|\. [a-z]|\b[Aa] [aeiou]|\b(\w+) \1\b", text), text


@pytest.mark.parametrize("name", ["EMOTION", "THEMATIC", "CHATTER"])
def test_every_slot_of_the_grammar_has_a_rule_for_every_class(name):
    rules = getattr(grammar, name)
    task = "sample-thematic" if name == "THEMATIC" else "sample-emotion"
    for options in rules.values():
        for slot in re.findall(r"{(.*?)}", options):
            role, _, rule = slot.rpartition(":")
            assert role in ("", "own", "other", "any")
            for symbol in [f"{label}:{rule}" for label in corpus.CLASSES[task]] if role else [rule]:
                assert symbol in rules


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [("sample-emotion", 0.7, 0.93), ("sample-hiding", 0.6, 0.9), ("sample-thematic", 0.65, 0.93)],
)
def test_word_counts_alone_classify_above_chance_and_below_perfection(name, least, most):
    dataset = load(TaskSpec(name=name))
    words = make_pipeline(TfidfVectorizer(), LogisticRegression(C=10, max_iter=1000))
    words.fit(dataset.train.texts, dataset.train.labels_N)
    held_out = dataset.validation.texts + dataset.test.texts
    labels_N = np.concatenate([dataset.validation.labels_N, dataset.test.labels_N])
    assert least < words.score(held_out, labels_N) < most


def test_unknown_names_get_the_nearest():
    with pytest.raises(ConfigError, match="'sample-emotoin'; did you mean 'sample-emotion'"):
        corpus.generate("sample-emotoin")


# Steganography

MESSAGES = [f"{a} {b} {c}" for a in "pqrst" for b in "uvwxy" for c in "kmn" if a != "p" or b != "u"]


def bits_of(model: corpus.Model, text: str) -> list[int]:
    """What a receiver who has the model reads out of a stego text."""
    bits: list[int] = []
    context: tuple[str, ...] = ()
    for word in [*text.split(), corpus.END]:
        candidates = model[context]
        index = [candidate for candidate, _ in candidates].index(word)
        width = corpus.bits_carried(candidates)
        bits += [index >> place & 1 for place in reversed(range(width))]
        context = (*context, word)[-corpus.ORDER :]
    return bits


def test_hidden_bits_can_be_read_back():
    model = corpus.ngrams(MESSAGES)
    rng = np.random.Generator(np.random.PCG64(0))
    hidden = rng.integers(0, 2, 1000).tolist()
    stream = iter(hidden)
    choose = corpus.coded(stream)
    read = [bit for _ in range(100) for bit in bits_of(model, corpus.write(model, choose, 24))]
    assert len(read) >= 300
    assert read == hidden[: len(read)]
    assert len(list(stream)) == len(hidden) - len(read)


def test_cover_texts_follow_the_models_probabilities():
    draws = [0, 0.59, 0.6, 0.89, 0.9, 0.999]
    choose = corpus.sampled(iter(draws))
    candidates = [("often", 6), ("sometimes", 3), ("rarely", 1)]
    assert [choose(candidates) for _ in draws] == ["often"] * 2 + ["sometimes"] * 2 + ["rarely"] * 2


def test_ngrams_count_what_follows_and_order_ties_by_word():
    model = corpus.ngrams(["a b", "a c", "a c d"])
    assert model == {
        (): [("a", 3)],
        ("a",): [("c", 2), ("b", 1)],
        ("a", "b"): [("", 1)],
        ("a", "c"): [("", 1), ("d", 1)],
        ("c", "d"): [("", 1)],
    }


@pytest.mark.parametrize(("words", "bits"), [(1, 0), (2, 1), (3, 1), (4, 2), (8, 3), (100, 3)])
def test_a_choice_carries_as_many_bits_as_it_has_words_for(words, bits):
    assert corpus.bits_carried([(str(n), 1) for n in range(words)]) == bits
