import math

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from tiny_models import FAMILIES, HIDDEN, save, texts_of
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer

from qdllm import teacher
from qdllm.batches import batches
from qdllm.encoder import pad, tokenize
from qdllm.errors import ConfigError, TeacherError
from qdllm.models import LORA_TARGETS
from qdllm.specs import TeacherSpec

TEXTS = texts_of(23)
CLASSES = 3


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {name: save(name, tmp_path_factory.mktemp(name)) for name in FAMILIES}


def spec_of(folder: str, **settings) -> TeacherSpec:
    return TeacherSpec(model=folder, rank=2, lora_alpha=6, max_length=16, **settings)


def build(folder: str, **settings):
    tokenizer, model = teacher.build(spec_of(folder, **settings), CLASSES)
    return tokenizer, model.eval()


def randomise(model: torch.nn.Module) -> None:
    generator = torch.Generator().manual_seed(5)
    for parameter in teacher.trainable(model).values():
        torch.nn.init.normal_(parameter, std=0.3, generator=generator)


@pytest.mark.parametrize("family", FAMILIES)
def test_lora_and_the_head_are_all_that_trains(folders, family):
    _, model = build(folders[family])
    base = AutoModel.from_pretrained(folders[family])
    layers = {
        name: module
        for name, module in base.named_modules()
        if isinstance(module, torch.nn.Linear) and name.split(".")[-1] in LORA_TARGETS[family]
    }
    blocks = [name for name in layers if "pooler" not in name]
    assert len(blocks) == 2 * {"bert": 6, "bloom": 4, "llama": 7, "opt": 6}[family]
    expected = sum(2 * (layers[name].in_features + layers[name].out_features) for name in blocks)
    sizes = {name: value.numel() for name, value in teacher.trainable(model).items()}
    assert sizes.pop("head.weight") == CLASSES * HIDDEN
    assert sizes.pop("head.bias") == CLASSES
    assert sum(sizes.values()) == expected
    assert all("lora_" in name for name in sizes)


@pytest.mark.parametrize("family", ["bloom", "llama", "opt"])
def test_decoders_agree_with_transformers_own_classifier(folders, family):
    """LoRA starts as nothing, so a new teacher is the plain model with a linear head."""
    tokenizer, model = build(folders[family])
    plain = AutoModelForSequenceClassification.from_pretrained(
        folders[family], num_labels=CLASSES, pad_token_id=tokenizer.pad_token_id
    ).eval()
    with torch.no_grad():
        plain.score.weight.copy_(model.head.weight)
        batch = pad(tokenize(tokenizer, TEXTS, 16), tokenizer.pad_token_id)
        expected_NC = plain(**batch).logits
    logits_NC = teacher.logits(model, tokenizer, TEXTS, 16)
    np.testing.assert_allclose(logits_NC, expected_NC, rtol=1e-4, atol=1e-5)


def test_encoders_are_pooled_by_the_mean(folders):
    tokenizer, model = build(folders["bert"])
    base = AutoModel.from_pretrained(folders["bert"]).eval()
    for text, logits_C in zip(TEXTS, teacher.logits(model, tokenizer, TEXTS, 16), strict=True):
        with torch.no_grad():
            tokens = AutoTokenizer.from_pretrained(folders["bert"])(text, return_tensors="pt")
            states_TH = base(input_ids=tokens["input_ids"]).last_hidden_state[0]
            expected_C = model.head(states_TH.mean(0))
        np.testing.assert_allclose(logits_C, expected_C, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_lora_adds_a_scaled_product_to_each_weight(folders, family):
    """Equation 2: W + (alpha / rank) B A, written into the plain model, gives the same logits."""
    tokenizer, model = build(folders[family])
    randomise(model)
    values = {name: value.detach() for name, value in teacher.trainable(model).items()}
    base = AutoModel.from_pretrained(folders[family]).eval()
    plain = teacher.Classifier(base, CLASSES, torch.float32).eval()
    weights = dict(base.named_parameters())
    with torch.no_grad():
        plain.head.weight.copy_(values["head.weight"])
        plain.head.bias.copy_(values["head.bias"])
        for name in values:
            if "lora_A" in name:
                layer = name.removeprefix("transformer.").partition(".lora_A")[0]
                product = values[name.replace("lora_A", "lora_B")] @ values[name]
                weights[f"{layer}.weight"] += 6 / 2 * product
    expected_NC = teacher.logits(plain, tokenizer, TEXTS, 16)
    logits_NC = teacher.logits(model, tokenizer, TEXTS, 16)
    np.testing.assert_allclose(logits_NC, expected_NC, rtol=1e-3, atol=1e-3)
    assert np.ptp(logits_NC, axis=0).min() > 0.1


def by_parameters_names(model: teacher.Classifier) -> dict[str, torch.Tensor]:
    """An adapter as stores of the version before hold it."""
    return {name: value.detach().clone() for name, value in teacher.trainable(model).items()}


@pytest.mark.parametrize("adapter_of", [teacher.adapter_of, by_parameters_names])
@pytest.mark.parametrize("family", FAMILIES)
def test_what_was_saved_gives_the_same_logits_in_a_fresh_model(
    folders, family, adapter_of, tmp_path
):
    tokenizer, model = build(folders[family])
    randomise(model)
    save_file(adapter_of(model), tmp_path / "adapter.safetensors")
    adapter = load_file(tmp_path / "adapter.safetensors")
    _, fresh = teacher.reload(spec_of(folders[family]), CLASSES, adapter)
    live_NC, fresh_NC = (teacher.logits(each, tokenizer, TEXTS, 16) for each in (model, fresh))
    assert np.array_equal(live_NC, fresh_NC)


# transformers has renamed what peft asks a model.
@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated")
@pytest.mark.parametrize("family", FAMILIES)
def test_what_was_saved_is_an_adapter_of_pefts(folders, family, tmp_path):
    tokenizer, model = build(folders[family])
    randomise(model)
    adapter = teacher.adapter_of(model)
    save_file(adapter, tmp_path / "adapter_model.safetensors")
    teacher.lora_config(spec_of(folders[family]), family).save_pretrained(tmp_path)
    base = AutoModel.from_pretrained(folders[family])
    if family == "bert":
        base.pooler = None
    theirs = teacher.Classifier(
        PeftModel.from_pretrained(base, tmp_path), CLASSES, torch.float32
    ).eval()
    theirs.head.load_state_dict({name: adapter[f"head.{name}"] for name in ("weight", "bias")})
    live_NC, their_NC = (teacher.logits(each, tokenizer, TEXTS, 16) for each in (model, theirs))
    assert np.array_equal(live_NC, their_NC)
    assert np.ptp(live_NC, axis=0).min() > 0.1


def test_an_adapter_of_another_shape_is_refused(folders):
    _, model = build(folders["bert"])
    adapter = teacher.adapter_of(model)
    other = spec_of(folders["bert"]).model_copy(update={"rank": 3})
    with pytest.raises(TeacherError, match=r"24 tensors differ, the first is 'base_model\.model\."):
        teacher.reload(other, CLASSES, adapter)
    with pytest.raises(TeacherError, match=r"24 tensors differ, the first is 'base_model\.model\."):
        teacher.reload(other, CLASSES, by_parameters_names(model))


def test_an_adapter_with_other_names_is_refused(folders):
    """peft itself passes over names that it does not know, and over those that are not there."""
    _, model = build(folders["bert"])
    adapter = teacher.adapter_of(model)
    bias = adapter.pop("head.bias")
    with pytest.raises(TeacherError, match=r"'head\.bias': None was given, \(3,\) is needed"):
        teacher.reload(spec_of(folders["bert"]), CLASSES, adapter)
    adapter |= {"head.bias": bias, "base_model.model.extra.lora_A.weight": bias}
    with pytest.raises(TeacherError, match=r"extra\.lora_A\.weight': \(3,\) was given, None is"):
        teacher.reload(spec_of(folders["bert"]), CLASSES, adapter)


def test_initial_values_come_from_the_spec_alone(folders):
    def values(seed: int) -> torch.Tensor:
        _, model = build(folders["bert"], seed=seed)
        return torch.cat([value.detach().flatten() for value in teacher.trainable(model).values()])

    torch.manual_seed(1)
    first = values(0)
    torch.manual_seed(2)
    assert torch.equal(first, values(0))
    assert not torch.equal(first, values(1))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("batch_size", [1, 5])
def test_a_text_keeps_its_logits_whatever_stands_beside_it(folders, family, batch_size):
    tokenizer, model = build(folders[family])
    randomise(model)
    whole_NC = teacher.logits(model, tokenizer, TEXTS, 16)
    order = np.random.default_rng(0).permutation(len(TEXTS))
    shuffled_NC = teacher.logits(
        model, tokenizer, [TEXTS[row] for row in order], 16, batch_size=batch_size
    )
    assert whole_NC.dtype == np.float32
    np.testing.assert_allclose(shuffled_NC, whole_NC[order], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_it_learns(folders, family, precision):
    tokenizer, model = build(folders[family], precision=precision, dropout=0)
    batch = pad(tokenize(tokenizer, TEXTS[:9], 16), tokenizer.pad_token_id)
    labels_N = torch.arange(9) % CLASSES
    optimizer = torch.optim.AdamW(teacher.trainable(model).values(), lr=0.02)
    model.train()
    for _ in range(80):
        torch.nn.functional.cross_entropy(model(**batch), labels_N).backward()
        optimizer.step()
        optimizer.zero_grad()
    predicted = teacher.logits(model.eval(), tokenizer, TEXTS[:9], 16).argmax(1)
    assert (predicted == labels_N.numpy()).mean() > 0.85


def test_only_loras_own_dropout_is_left(folders):
    _, model = build(folders["opt"], dropout=0.25)
    rates = {
        "lora" if "lora_dropout" in name else "base": module.p
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Dropout)
    }
    assert rates["lora"] == 0.25
    assert rates.get("base", 0.0) == 0.0
    assert model.transformer.config.attention_dropout == 0.0


def test_a_tokenizer_without_an_end_is_refused(folders, tmp_path):
    path = save("llama", tmp_path)
    settings = tmp_path / "tokenizer_config.json"
    settings.write_text(settings.read_text().replace('"eos_token": "[SEP]",', ""))
    with pytest.raises(ConfigError, match="neither a padding nor an end token"):
        build(path)


def test_batches_hold_every_row_once_and_waste_little(folders):
    lengths = np.random.default_rng(0).integers(5, 128, 1000)
    cut = batches(lengths, 32, np.random.default_rng(1))
    assert sorted(np.concatenate(cut)) == list(range(1000))
    assert sorted(map(len, cut)) == [8] + [32] * 31
    assert sum(len(rows) * lengths[rows].max() for rows in cut) < 1.1 * lengths.sum()


def test_batches_are_the_generators(folders):
    lengths = [1, 2, 3] * 50
    first, again = (batches(lengths, 8, np.random.default_rng(3)) for _ in range(2))
    other = batches(lengths, 8, np.random.default_rng(4))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.33])
def test_the_learning_rate_rises_then_falls(warmup):
    spec = TeacherSpec(lr=0.5, warmup=warmup)
    rates = [teacher.learning_rate(spec, step, 100) for step in range(100)]
    peak = math.ceil(warmup * 100)
    assert rates[peak] == max(rates)
    assert rates[peak] == pytest.approx(0.5, rel=0.02)
    assert rates[:peak] == sorted(rates[:peak])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert min(rates) > 0
    assert rates[-1] < 0.01
