"""Losses that rivals make of their terms, by hand: which weights, rows, states and temperatures."""

from typing import Any, NamedTuple

import numpy as np
import pytest
import readings
import tiny_models
import torch

from qdllm import families, teacher
from qdllm.rivals.course import Batch, Course

CLASSES, ROWS, SEED = 3, 15, 4
TEACHER = torch.randn(ROWS, CLASSES, generator=torch.Generator().manual_seed(8))
"""Logits, each row's its own."""
PICKED = torch.tensor([11, 2, 7, 5])
"""Of the training split, in an order of a batch's own."""


class Made(NamedTuple):
    """A family's course, a batch of it, and what its body says of that, in numpy."""

    spec: Any
    course: Course
    batch: Batch
    logits_NC: np.ndarray
    states: list[np.ndarray]
    mask_NT: np.ndarray
    more: dict[str, torch.Tensor]


def made(name: str, uneven: float = 1.0, **own: Any) -> Made:
    """`uneven`: by how much one coordinate of the teacher's stored states is larger."""
    family = families.family(name)
    settings = readings.settings(family)
    for group, values in own.items():
        settings[group] = settings.get(group, {}) | values if isinstance(values, dict) else values
    spec = family.spec.parse(settings)
    train = readings.separable(family, spec, CLASSES, ROWS, 0)._replace(logits_NC=TEACHER)
    if train.more and "states" in train.more:
        train.more["states"][:, ::5] *= uneven
    net = family.beginning(spec, CLASSES)(SEED).eval()
    course = family.teaching(spec, train, CLASSES)(net, SEED)
    ids_NT = train.features_NH[PICKED]
    mask_NT = (ids_NT >= 0).long()
    batch = Batch(ids_NT.clamp(min=0), mask_NT, train.labels_N[PICKED], PICKED)
    with torch.no_grad():
        said = net(batch.ids_NT, mask_NT)
    states = [state.numpy().astype(float) for state in said.states]
    logits_NC = said.logits_NC.numpy().astype(float)
    return Made(spec, course, batch, logits_NC, states, mask_NT.numpy(), dict(train.more or {}))


def found(one: Made, stage: int = 0) -> np.ndarray:
    with torch.no_grad():
        return one.course.stages[stage].loss(one.batch).numpy()


def log_softmax(logits_NC: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    exact = logits_NC / temperature
    return exact - np.log(np.exp(exact).sum(1, keepdims=True))


def hard(one: Made) -> np.ndarray:
    return -log_softmax(one.logits_NC)[np.arange(len(PICKED)), one.batch.labels_N]


def soft(one: Made, temperature: float) -> tuple[np.ndarray, np.ndarray]:
    """log q, log p of the batch's own rows."""
    taught_NC = TEACHER[PICKED].numpy().astype(float)
    return log_softmax(one.logits_NC, temperature), log_softmax(taught_NC, temperature)


def kl(one: Made, temperature: float) -> np.ndarray:
    log_q, log_p = soft(one, temperature)
    return temperature**2 * (np.exp(log_p) * (log_p - log_q)).sum(1)


def mean(values_NTX: np.ndarray, mask_NT: np.ndarray) -> np.ndarray:
    """Over a text's own tokens."""
    rows = zip(values_NTX, mask_NT, strict=True)
    return np.stack([values_TX[mask_T > 0].mean(0) for values_TX, mask_T in rows])


def unit(values_NH: np.ndarray) -> np.ndarray:
    return values_NH / np.linalg.norm(values_NH, axis=-1, keepdims=True)


def teachers(one: Made) -> Any:
    """The transformer of the adapter that the trial reads."""
    adapter = {name.removeprefix("adapter."): tensor for name, tensor in one.more.items()}
    return teacher.reload(one.spec.teacher, CLASSES, adapter)[1].transformer


def test_kl():
    one = made("kl", temperature=3.0)
    np.testing.assert_allclose(found(one), kl(one, 3.0), rtol=1e-4)


def test_minillms_two_stages():
    one = made("minillm", terms={"reverse_kl": 0.7, "hard": 0.2, "temperature": 1.5})
    np.testing.assert_allclose(found(one, 0), hard(one), rtol=1e-4)
    log_q, log_p = soft(one, 1.5)
    reverse = 1.5**2 * (np.exp(log_q) * (log_q - log_p)).sum(1)
    np.testing.assert_allclose(found(one, 1), 0.7 * reverse + 0.2 * hard(one), rtol=1e-4)


def test_pkd():
    terms = {"alpha": 0.3, "temperature": 4.0, "states": 1.7, "pairs": [[1, 2], [0, 0]]}
    one = made("pkd", terms=terms)
    assert one.spec.teacher_layers == (0, 2)
    wanted = 0.7 * hard(one) + 0.3 * kl(one, 4.0)
    theirs = np.split(one.more["states"][PICKED].numpy().astype(float), 2, axis=1)
    for own, their in ((1, theirs[1]), (0, theirs[0])):
        pooled = unit(mean(one.states[own], one.mask_NT))
        wanted += 1.7 * ((pooled - unit(their)) ** 2).sum(1)
    np.testing.assert_allclose(found(one), wanted, rtol=1e-4)


def test_distilbert():
    one = made("distilbert", terms={"kl": 0.4, "hard": 1.1, "cosine": 2.3, "temperature": 1.7})
    with torch.no_grad():
        said = teachers(one)(input_ids=one.batch.ids_NT, attention_mask=one.batch.mask_NT)
    theirs = unit(said.last_hidden_state.numpy().astype(float))
    cosine = (unit(one.states[-1]) * theirs).sum(-1)
    wanted = 0.4 * kl(one, 1.7) + 1.1 * hard(one) + 2.3 * mean(1 - cosine, one.mask_NT)
    np.testing.assert_allclose(found(one), wanted, rtol=1e-4)


def scores(transformer: Any, ids_NT: torch.Tensor, mask_NT: torch.Tensor, layer: int) -> np.ndarray:
    """QKᵀ/√d of a layer, from its weights and what stands before it: (N, A, T, T)."""
    attention = transformer.encoder.layer[layer].attention.self
    with torch.no_grad():
        said = transformer(input_ids=ids_NT, attention_mask=mask_NT, output_hidden_states=True)
        before = said.hidden_states[layer]
        heads = transformer.config.num_attention_heads
        query, key = (
            part(before).numpy().astype(float).reshape(*before.shape[:2], heads, -1)
            for part in (attention.query, attention.key)
        )
    return np.einsum("ntad,nsad->nats", query, key) / query.shape[-1] ** 0.5


@pytest.mark.parametrize("attention", [0.0, 3.0])
def test_tinyberts_two_stages(attention):
    """A body of one layer follows the teacher's embeddings and its last state, of two."""
    weights = {"embeddings": 0.5, "hidden": 2.0, "attention": attention}
    one = made("tinybert", terms=weights | {"prediction": 0.7, "hard": 0.3})
    ids_NT, mask_NT, valid_NT = one.batch.ids_NT, one.batch.mask_NT, one.mask_NT > 0
    theirs = teachers(one)
    with torch.no_grad():
        said = theirs(input_ids=ids_NT, attention_mask=mask_NT, output_hidden_states=True)
    map_ = one.course.aside[0]
    weight, bias = map_.weight.detach().numpy(), map_.bias.detach().numpy()
    wanted = np.zeros(len(PICKED))
    for part, own, layer in ((0.5, 0, 0), (2.0, 1, 2)):
        target = said.hidden_states[layer].numpy().astype(float)
        tokens = target[valid_NT]
        target = (target - tokens.mean(0)) / tokens.std(0)
        error = ((one.states[own] @ weight.T + bias - target) ** 2).mean(-1)
        wanted += part * mean(error, one.mask_NT)
    apart = scores(one.course.net.transformer, ids_NT, mask_NT, 0) - scores(
        theirs, ids_NT, mask_NT, 1
    )
    for row, valid_T in enumerate(valid_NT):
        wanted[row] += attention * (apart[row][:, valid_T][:, :, valid_T] ** 2).mean()
    np.testing.assert_allclose(found(one, 0), wanted, rtol=1e-3)
    log_q, log_p = soft(one, 1.0)
    wanted = 0.7 * -(np.exp(log_p) * log_q).sum(1) + 0.3 * hard(one)
    np.testing.assert_allclose(found(one, 1), wanted, rtol=1e-4)


@pytest.fixture(scope="module")
def stranger(tmp_path_factory) -> dict[str, Any]:
    """A teacher of another model."""
    folder = tiny_models.save("bloom", tmp_path_factory.mktemp("bloom"))
    return {"model": folder, "max_length": 16, "rank": 2}


def standard(one: Made) -> list[np.ndarray]:
    """A stranger's stored states of the batch, layer by layer, each coordinate standardised over
    the training texts."""
    parts = np.split(one.more["states"].numpy().astype(float), len(one.spec.teacher_layers), 1)
    return [((part - part.mean(0)) / part.std(0))[PICKED] for part in parts]


def mapped(one: Made, number: int, state: int) -> np.ndarray:
    """A body's pooled state by a map that is thrown away."""
    map_ = one.course.aside[number]
    weight, bias = map_.weight.detach().numpy(), map_.bias.detach().numpy()
    return mean(one.states[state], one.mask_NT) @ weight.T + bias


def test_pkd_under_another_teacher(stranger):
    terms = {"alpha": 0.0, "states": 1.7, "pairs": [[1, 2], [0, 0]]}
    one = made("pkd", uneven=1000.0, teacher=stranger, terms=terms)
    theirs = standard(one)
    wanted = hard(one)
    for number, (own, layer) in enumerate(((1, theirs[1]), (0, theirs[0]))):
        wanted += 1.7 * ((unit(mapped(one, number, own)) - unit(layer)) ** 2).sum(1)
    np.testing.assert_allclose(found(one), wanted, rtol=1e-4)


def test_distilbert_under_another_teacher(stranger):
    terms = {"kl": 0.0, "hard": 1.0, "cosine": 2.3}
    one = made("distilbert", uneven=1000.0, teacher=stranger, terms=terms)
    cosine = (unit(mapped(one, 0, -1)) * unit(standard(one)[0])).sum(1)
    np.testing.assert_allclose(found(one), hard(one) + 2.3 * (1 - cosine), rtol=1e-4)


def test_tinybert_under_another_teacher(stranger):
    """A body of one layer follows the embeddings and the last state, of two; no attention."""
    one = made("tinybert", uneven=1000.0, teacher=stranger, terms={"embeddings": 0.5, "hidden": 2})
    first, last = standard(one)
    wanted = 0.5 * ((mapped(one, 0, 0) - first) ** 2).mean(1)
    wanted += 2 * ((mapped(one, 0, 1) - last) ** 2).mean(1)
    np.testing.assert_allclose(found(one, 0), wanted, rtol=1e-4)
