import io
import json
import random
from pathlib import Path

import huggingface_hub.constants
import numpy as np
import pytest
import safetensors.torch
import torch
from malicious import Malicious
from tiny_models import FAMILIES, HIDDEN, LAYERS, POSITIONS, save, texts_of
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import AutoModel, AutoTokenizer, PreTrainedTokenizerFast

from qdllm.encoder import Encoder, beginning, encode, tokenize
from qdllm.errors import ConfigError
from qdllm.models import resolve
from qdllm.specs import EncoderSpec

TEXTS = texts_of(23)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {name: save(name, tmp_path_factory.mktemp(name)) for name in FAMILIES}


@torch.no_grad()
def hidden_states(path: str, text: str) -> tuple[torch.Tensor, ...]:
    """All hidden states of one text, straight from transformers."""
    tokens = AutoTokenizer.from_pretrained(path)(text, return_tensors="pt")
    model = AutoModel.from_pretrained(path).eval()
    return model(input_ids=tokens["input_ids"], output_hidden_states=True).hidden_states


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("hidden_layers", "read"),
    [((-1,), [2]), ((0,), [0]), ((1,), [1]), ((2, 1), [2, 1]), ("all", [0, 1, 2])],
)
def test_features_are_the_transformers_own(folders, family, hidden_layers, read):
    spec = EncoderSpec(model=folders[family], hidden_layers=hidden_layers, max_length=16)
    features_NH = encode(spec, TEXTS[:6])
    assert features_NH.dtype == np.float32
    assert features_NH.shape == (6, HIDDEN * len(read)) == (6, spec.features())
    for text, features_H in zip(TEXTS[:6], features_NH, strict=True):
        states = hidden_states(folders[family], text)
        expected = torch.cat([states[layer][0].mean(0) for layer in read])
        np.testing.assert_allclose(features_H, expected, rtol=1e-4, atol=1e-5)


def test_first_pooling_reads_the_first_token(folders):
    spec = EncoderSpec(model=folders["bert"], pooling="first", max_length=16)
    expected = [hidden_states(folders["bert"], text)[-1][0, 0].numpy() for text in TEXTS[:4]]
    np.testing.assert_allclose(encode(spec, TEXTS[:4]), expected, rtol=1e-4, atol=1e-5)


def test_several_poolings_stand_side_by_side_each_with_all_layers(folders):
    spec = EncoderSpec(
        model=folders["bert"], hidden_layers=(1, 2), pooling=("max", "mean"), max_length=16
    )
    features_NH = encode(spec, TEXTS[:5])
    assert features_NH.shape[1] == spec.features()
    for text, features_H in zip(TEXTS[:5], features_NH, strict=True):
        states = hidden_states(folders["bert"], text)
        read = [states[1][0], states[2][0]]
        expected = [state.amax(0) for state in read] + [state.mean(0) for state in read]
        np.testing.assert_allclose(features_H, torch.cat(expected), rtol=1e-4, atol=1e-5)


def test_minilm_agrees_with_transformers():
    texts = ["The market fell.", "A much longer text about a match that nobody won, in the rain."]
    path = resolve("minilm").path_or_id
    expected = [hidden_states(path, text)[3][0].mean(0).numpy() for text in texts]
    features_NH = encode(EncoderSpec(hidden_layers=(3,)), texts)
    np.testing.assert_allclose(features_NH, expected, atol=2e-6)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_a_text_keeps_its_features_whatever_stands_beside_it(folders, family, batch_size):
    encoder = Encoder(EncoderSpec(model=folders[family], max_length=16))
    features_NH = encoder(TEXTS, batch_size=7)
    order = np.random.default_rng(0).permutation(len(TEXTS))
    shuffled_NH = encoder([TEXTS[row] for row in order], batch_size=batch_size)
    bound = 1e-5 * np.abs(features_NH).max()
    np.testing.assert_allclose(shuffled_NH, features_NH[order], rtol=0, atol=bound)


def test_the_same_texts_have_the_same_bits_in_any_order(folders):
    encoder = Encoder(EncoderSpec(model=folders["bert"], max_length=16))
    order = np.random.default_rng(1).permutation(len(TEXTS))
    shuffled_NH = encoder([TEXTS[row] for row in order], batch_size=7)
    assert np.array_equal(encoder(TEXTS, batch_size=7)[order], shuffled_NH)


@pytest.mark.parametrize("family", FAMILIES)
def test_no_texts_and_empty_texts(folders, family):
    encoder = Encoder(EncoderSpec(model=folders[family], max_length=16))
    assert encoder([]).shape == (0, encoder.width)
    assert np.isfinite(encoder(["", "the market"])).all()


def test_long_texts_are_cut(folders):
    encoder = Encoder(EncoderSpec(model=folders["llama"], max_length=8))
    long = " ".join(["market"] * 40)
    assert np.array_equal(encoder([long]), encoder([" ".join(["market"] * 8)]))


def test_progress_counts_texts(folders):
    seen = []
    encoder = Encoder(EncoderSpec(model=folders["bert"], max_length=16))
    encoder(TEXTS, batch_size=10, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(10, 23), (20, 23), (23, 23)]


def test_loading_is_silent(folders, capfd):
    Encoder(EncoderSpec(model=folders["bert"], max_length=16))
    Encoder(EncoderSpec())
    assert capfd.readouterr() == ("", "")


def test_a_hidden_layer_out_of_range_is_told_how_many_there_are(folders):
    spec = EncoderSpec(model=folders["bert"], hidden_layers=(LAYERS + 1,), max_length=16)
    with pytest.raises(ConfigError, match=rf"hidden layer {LAYERS + 1} .* it has {LAYERS + 1}"):
        Encoder(spec)


def test_more_tokens_than_positions_are_refused(folders):
    spec = EncoderSpec(model=folders["bert"], max_length=POSITIONS + 1)
    with pytest.raises(ConfigError, match=f"max_length {POSITIONS + 1} exceeds the {POSITIONS}"):
        Encoder(spec)


def test_incomplete_weights_are_refused(tmp_path):
    path = save("bert", tmp_path)
    weights = safetensors.torch.load_file(tmp_path / "model.safetensors")
    del weights["encoder.layer.1.output.dense.weight"]
    safetensors.torch.save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ConfigError, match=r"lack encoder\.layer\.1\.output\.dense\.weight"):
        Encoder(EncoderSpec(model=path, max_length=16))


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_damaged_files_are_refused(tmp_path, name):
    path = save("bert", tmp_path)
    (tmp_path / name).write_text("{ nonsense")
    with pytest.raises(ConfigError, match="cannot be loaded"):
        Encoder(EncoderSpec(model=path, max_length=16))


def test_weights_of_another_shape_are_refused(tmp_path):
    path = save("bert", tmp_path)
    weights = safetensors.torch.load_file(tmp_path / "model.safetensors")
    weights["embeddings.word_embeddings.weight"] = torch.zeros(7, HIDDEN)
    safetensors.torch.save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ConfigError, match="its weights lack the shapes of its config"):
        Encoder(EncoderSpec(model=path, max_length=16))


def test_a_model_whose_tokenizer_was_left_behind_is_refused(tmp_path):
    """transformers makes up one of five words, to which all texts of a length are one."""
    path = save("bert", tmp_path)
    for file in tmp_path.glob("*token*"):
        file.unlink()
    with pytest.raises(ConfigError, match=r"its tokenizer knows no words; put its files"):
        Encoder(EncoderSpec(model=path, max_length=16))


def test_a_padding_token_that_the_tokenizer_alone_knows_is_never_read(tmp_path):
    path, texts = save("bert", tmp_path), texts_of(9)
    expected = Encoder(EncoderSpec(model=path, max_length=16))(texts)
    tokenizer = AutoTokenizer.from_pretrained(path)
    tokenizer.add_special_tokens({"pad_token": "<nothing>"})
    tokenizer.save_pretrained(path)
    np.testing.assert_allclose(
        Encoder(EncoderSpec(model=path, max_length=16))(texts), expected, atol=1e-5
    )
    tokenizer.eos_token = None
    tokenizer.save_pretrained(path)
    with pytest.raises(ConfigError, match="its tokenizer's padding token is number"):
        Encoder(EncoderSpec(model=path, max_length=16))


CODE = """
from pathlib import Path
from transformers import BertConfig, BertModel

Path({target!r}).touch()


class Config(BertConfig):
    model_type = "theirs"


class Model(BertModel):
    config_class = Config
"""


def asks(folder: Path, name: str, **changes) -> None:
    """Change keys of a model folder's JSON file."""
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def unknown_type(folder: Path, target: Path) -> None:
    """A model of a type that only its own code knows."""
    asks(
        folder,
        "config.json",
        model_type="theirs",
        auto_map={"AutoConfig": "theirs.Config", "AutoModel": "theirs.Model"},
    )
    (folder / "theirs.py").write_text(CODE.format(target=str(target)))


def hub_kernel(folder: Path, target: Path) -> None:
    """A config that has transformers fetch code for attention from the hub."""
    asks(folder, "config.json", attn_implementation="kernels-community/flash-attn2")


def pickled_weights(folder: Path, target: Path) -> None:
    """Weights that run code when they are unpickled."""
    (folder / "model.safetensors").unlink()
    torch.save({"embeddings.weight": Malicious(target)}, folder / "pytorch_model.bin")


@pytest.mark.parametrize(
    ("attack", "message"),
    [
        (unknown_type, "custom code .* No code of a model's is run: give one that transformers"),
        (hub_kernel, "asks for the kernel kernels-community/flash-attn2 No code of a model's"),
        (pickled_weights, "its weights hold more than tensors, which could be code"),
    ],
)
def test_no_code_of_a_models_own_is_run_whoever_says_yes(tmp_path, monkeypatch, attack, message):
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n" * 9))
    folder, target = tmp_path / "model", tmp_path / "it ran"
    save("bert", folder)
    attack(folder, target)
    weights = "torch" if attack is pickled_weights else "safetensors"
    with pytest.raises(ConfigError, match=message):
        Encoder(EncoderSpec(model=str(folder), weights=weights, max_length=16))
    assert not target.exists()


def test_a_hub_model_without_a_network_names_the_ways_out(monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    name = f"nobody/nothing@{'0' * 40}"
    with pytest.raises(ConfigError, match=rf"'{name}' cannot be loaded: .*'minilm'"):
        Encoder(EncoderSpec(model=name))


def tokenizers_of_many_kinds() -> dict[str, PreTrainedTokenizerFast]:
    """The packaged model's, and some that cut texts into pieces as the paper's models do."""
    corpus = ["the market fell, and the match wasn't lost", "安い 物 été", "a\n\nb   c  1234"]

    def bpe(before, normalizer=None) -> PreTrainedTokenizerFast:
        made = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
        made.pre_tokenizer = before
        if normalizer:
            made.normalizer = normalizer
        letters = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=400, initial_alphabet=letters, special_tokens=["<unk>", "</s>"]
        )
        made.train_from_iterator(corpus, trainer)
        return PreTrainedTokenizerFast(tokenizer_object=made, eos_token="</s>", pad_token="</s>")

    split = Regex(r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+|\s*[\r\n]+|\s+(?!\S)|\s+| ?\p{L}+")
    return {
        "minilm": AutoTokenizer.from_pretrained(resolve("minilm").path_or_id),
        "opt": bpe(pre_tokenizers.ByteLevel(add_prefix_space=False)),
        "bloom": bpe(pre_tokenizers.ByteLevel(add_prefix_space=False), normalizers.NFC()),
        "llama3": bpe(
            pre_tokenizers.Sequence(
                [
                    pre_tokenizers.Split(split, "isolated"),
                    pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
                ]
            )
        ),
        "llama2": bpe(pre_tokenizers.Metaspace(split=False)),
    }


PIECES = (
    *"ab 1!'安é\n\t",
    "  ",
    "\u0301",
    "\u200d",
    "\x1c",
    "the ",
    "market",
    "wasn't",
    "🙂",
    "a" * 99,
)


@pytest.mark.parametrize("kind", ["minilm", "opt", "bloom", "llama3", "llama2"])
def test_a_long_text_is_cut_before_it_is_tokenized_and_no_token_changes(kind):
    tokenizer, draw = tokenizers_of_many_kinds()[kind], random.Random(7)
    cut = 0
    for length in (3, 7, 16):
        for _ in range(200):
            few = draw.sample(PIECES, draw.randint(1, len(PIECES)))
            text = "".join(draw.choices(few, k=draw.randint(1, 600)))
            (expected,) = tokenizer([text], truncation=True, max_length=length)["input_ids"]
            assert tokenize(tokenizer, [text], length) == [expected or [tokenizer.pad_token_id]]
            cut += len(beginning(tokenizer, text, length)) < len(text)
    assert cut > 100 or kind == "llama2"


def test_a_book_costs_what_a_page_does():
    tokenizer = AutoTokenizer.from_pretrained(resolve("minilm").path_or_id)
    for page in ("the home side won after extra time ", "安い物は高い", "!"):
        book = page * (10**6 // len(page))
        assert len(beginning(tokenizer, book, 128)) < 10_000
