"""How much of the texts is cut off, against the tokenizer that the models themselves use."""

import subprocess
import sys

import pytest
from transformers import AutoTokenizer

from qdllm.models import Model, resolve
from qdllm.texts.lengths import SAMPLE, cut

TEXTS = [" ".join(f"word{n}" for n in range(words)) for words in (1, 5, 20, 40, 60, 100)]


@pytest.fixture(scope="module")
def minilm():
    return resolve("minilm")


@pytest.mark.parametrize("max_length", [4, 16, 128, 400])
def test_it_counts_as_the_models_tokenizer_does(minilm, max_length):
    tokenizer = AutoTokenizer.from_pretrained(minilm.path_or_id)
    whole = [len(tokenizer(text)["input_ids"]) for text in TEXTS]
    long = [tokens for tokens in whole if tokens > max_length]
    found = cut(TEXTS, minilm, max_length)
    assert (found.texts, found.of, found.reckoned, found.most) == (len(long), 6, False, 512)
    lost = sum(tokens - max_length for tokens in long) / sum(long) if long else 0
    assert found.lost == pytest.approx(lost, rel=0.01)


def test_many_texts_are_sampled_and_a_long_one_is_reckoned_from_its_beginning(minilm):
    many = cut([f"{text} {n}" for n in range(2 * SAMPLE) for text in TEXTS], minilm, 128)
    share = cut(TEXTS, minilm, 128).texts / len(TEXTS)
    assert many.reckoned
    assert many.texts / many.of == pytest.approx(share, abs=0.04)
    book = cut(["a tale of two cities " * 200_000], minilm, 128)
    assert book.texts == 1
    assert book.lost == pytest.approx(1 - 128 / 1_000_002, abs=1e-4)


def test_without_a_tokenizer_words_are_counted(tmp_path):
    found = cut(TEXTS, Model("x", str(tmp_path), None, "0"), 30)
    assert (found.texts, found.reckoned, found.most) == (3, True, None)
    (tmp_path / "tokenizer.json").write_text("{}")
    (tmp_path / "config.json").write_text("[]")
    assert cut(TEXTS, Model("x", str(tmp_path), None, "0"), 30) == found


def test_short_texts_cost_no_tokenizer():
    code = (
        "import sys; from qdllm.models import resolve; from qdllm.texts.lengths import cut\n"
        "assert cut(['short'] * 9, resolve('minilm'), 128).texts == 0\n"
        "print(sorted({'torch', 'transformers', 'tokenizers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
