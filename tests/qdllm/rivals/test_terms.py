"""Terms of rivals' losses, against closed forms, finite differences, and numpy."""

import math

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax
from torch.autograd import gradcheck

from qdllm.rivals import terms

GENERATOR = np.random.default_rng(0)
OURS_NC, THEIRS_NC = GENERATOR.normal(size=(2, 5, 4)) * 3
OURS, THEIRS = torch.from_numpy(OURS_NC), torch.from_numpy(THEIRS_NC)
LABELS = torch.tensor([0, 3, 1, 1, 2])


def gradient(term, temperature: float) -> np.ndarray:
    """By each text's own logits."""
    logits = OURS.clone().requires_grad_()
    return torch.autograd.grad(term(logits, THEIRS, temperature).sum(), logits)[0].numpy()


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_forward_kls_gradient_is_the_difference_of_the_distributions(temperature):
    q, p = softmax(OURS_NC / temperature, -1), softmax(THEIRS_NC / temperature, -1)
    np.testing.assert_allclose(gradient(terms.kl, temperature), temperature * (q - p), atol=1e-12)
    # Cross-entropy with the teacher differs by the teacher's own entropy.
    np.testing.assert_allclose(
        gradient(terms.soft_cross_entropy, temperature), temperature * (q - p), atol=1e-12
    )


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_reverse_kl_and_its_gradient_are_the_closed_forms(temperature):
    log_q, log_p = (log_softmax(z / temperature, -1) for z in (OURS_NC, THEIRS_NC))
    q = np.exp(log_q)
    divergence_N1 = (q * (log_q - log_p)).sum(-1, keepdims=True)
    found = terms.reverse_kl(OURS, THEIRS, temperature).numpy()
    np.testing.assert_allclose(found, temperature**2 * divergence_N1[:, 0], atol=1e-12)
    expected = temperature * q * (log_q - log_p - divergence_N1)
    np.testing.assert_allclose(gradient(terms.reverse_kl, temperature), expected, atol=1e-12)


@pytest.mark.parametrize("margin", [10.0, 1.0, -2.0])
def test_for_two_classes_reverse_kl_pulls_by_the_spread_times_the_margins_difference(margin):
    ours = torch.tensor([[0.0, margin]], dtype=torch.float64, requires_grad=True)
    theirs = torch.tensor([[0.0, -6.0]], dtype=torch.float64)
    (found,) = torch.autograd.grad(terms.reverse_kl(ours, theirs).sum(), ours)
    q = 1 / (1 + math.exp(-margin))
    assert found[0, 1].item() == pytest.approx(q * (1 - q) * (margin + 6), rel=1e-9)
    # Where a body is sure and wrong, forward KL pulls and reverse KL hardly does.
    if margin == 10:
        assert found[0, 1].item() == pytest.approx(0.0007, abs=5e-5)
        (forward,) = torch.autograd.grad(terms.kl(ours, theirs).sum(), ours)
        assert forward[0, 1].item() == pytest.approx(0.997, abs=1e-3)


@pytest.mark.parametrize(
    "term", [terms.kl, terms.reverse_kl, terms.jensen_shannon, terms.soft_cross_entropy]
)
def test_gradients_are_finite_differences(term):
    assert gradcheck(lambda logits: term(logits, THEIRS, 2.0), OURS.clone().requires_grad_())


def test_jensen_shannon_is_scipys_squared_distance():
    from scipy.spatial.distance import jensenshannon

    expected = [
        jensenshannon(softmax(a), softmax(b)) ** 2 for a, b in zip(OURS_NC, THEIRS_NC, strict=True)
    ]
    np.testing.assert_allclose(terms.jensen_shannon(OURS, THEIRS).numpy(), expected, atol=1e-12)


def test_nothing_is_averaged_over_classes():
    expected = -log_softmax(OURS_NC, -1)[np.arange(5), LABELS]
    np.testing.assert_allclose(terms.cross_entropy(OURS, LABELS).numpy(), expected, atol=1e-12)


def test_unit_vectors_are_apart_by_their_angle_alone():
    generator = np.random.default_rng(1)
    a, b = generator.normal(size=(2, 3, 7))
    cosine = (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)
    for scale in (1.0, 40.0):
        found = terms.unit_distance(torch.from_numpy(scale * a), torch.from_numpy(b))
        np.testing.assert_allclose(found.numpy(), 2 - 2 * cosine, atol=1e-12)


@pytest.mark.parametrize("junk", [0.0, 1e6])
def test_padding_is_nothing_that_is_followed(junk):
    generator = np.random.default_rng(2)
    a, b = generator.normal(size=(2, 2, 4, 3))
    mask = np.array([[1, 1, 0, 0], [1, 1, 1, 1]])
    a[0, 2:] += junk
    lengths = (2, 4)
    ours, theirs, masked = map(torch.from_numpy, (a, b, mask))
    rows = [(a[row, :n], b[row, :n]) for row, n in enumerate(lengths)]
    found = terms.squared_error(ours, theirs, masked).numpy()
    np.testing.assert_allclose(found, [((x - y) ** 2).mean() for x, y in rows])
    cosine = [
        (x * y).sum(-1) / np.linalg.norm(x, axis=-1) / np.linalg.norm(y, axis=-1) for x, y in rows
    ]
    found = terms.cosine_distance(ours, theirs, masked).numpy()
    np.testing.assert_allclose(found, [(1 - c).mean() for c in cosine])


def test_scores_are_compared_over_heads_and_pairs_of_a_texts_own_tokens():
    generator = np.random.default_rng(3)
    a, b = generator.normal(size=(2, 2, 3, 4, 4))
    a[0, :, 2:] = a[0, :, :, 2:] = np.inf
    mask = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1]])
    found = terms.score_error(torch.from_numpy(a), torch.from_numpy(b), mask).numpy()
    expected = [
        ((a[row, :, :n, :n] - b[row, :, :n, :n]) ** 2).mean() for row, n in ((0, 2), (1, 4))
    ]
    np.testing.assert_allclose(found, expected)


def test_standardised_states_have_mean_0_and_deviation_1_over_their_own_tokens():
    states_NTH = torch.from_numpy(GENERATOR.normal(size=(3, 4, 2)) * [1.0, 900.0] + [5.0, -40.0])
    mask_NT = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 1, 0]])
    own = terms.standardised(states_NTH, mask_NT)[mask_NT.bool()].numpy()
    np.testing.assert_allclose(own.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(own.std(0), 1, atol=1e-12)
    padded = states_NTH.masked_fill(mask_NT.unsqueeze(-1) == 0, 1e9)
    assert np.array_equal(terms.standardised(padded, mask_NT)[mask_NT.bool()].numpy(), own)
