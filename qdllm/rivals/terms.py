"""Terms of rivals' losses: a value for each example, for whoever averages.

Nothing is averaged over classes or over width, as torch's `mean` would do: weights mean the same
whatever those are. TinyBERT's two squared errors are means, as its authors have them. Temperatures
divide both sides' logits, and a term is scaled by the temperature's square, so that its gradient
keeps its size. Legend: N examples, C classes, T tokens, H width.
"""

from math import log

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy as torch_cross_entropy
from torch.nn.functional import log_softmax, normalize


def cross_entropy(logits_NC: Tensor, labels_N: Tensor) -> Tensor:
    """−log q of the label: (N,)."""
    return torch_cross_entropy(logits_NC, labels_N, reduction="none")


def soft_cross_entropy(logits_NC: Tensor, teacher_NC: Tensor, temperature: float = 1.0) -> Tensor:
    """−Σ p log q · T² over the classes (TinyBERT's prediction term, at T = 1): (N,)."""
    log_q, log_p = _softened(logits_NC, teacher_NC, temperature)
    return -(temperature**2) * (log_p.exp() * log_q).sum(-1)


def kl(logits_NC: Tensor, teacher_NC: Tensor, temperature: float = 1.0) -> Tensor:
    """T² · KL(p ‖ q), p the teacher's. Its gradient by a logit is T · (q − p): (N,)."""
    log_q, log_p = _softened(logits_NC, teacher_NC, temperature)
    return temperature**2 * (log_p.exp() * (log_p - log_q)).sum(-1)


def reverse_kl(logits_NC: Tensor, teacher_NC: Tensor, temperature: float = 1.0) -> Tensor:
    """T² · KL(q ‖ p), MiniLLM's, whose expectation over C classes is exact: (N,).

    With J = KL(q ‖ p), its gradient by logit k is T · q_k · (log(q_k / p_k) − J).
    """
    log_q, log_p = _softened(logits_NC, teacher_NC, temperature)
    return temperature**2 * (log_q.exp() * (log_q - log_p)).sum(-1)


def jensen_shannon(logits_NC: Tensor, teacher_NC: Tensor, temperature: float = 1.0) -> Tensor:
    """(KL(p ‖ m) + KL(q ‖ m)) / 2 about their mean m, at most ln 2, without T²: (N,)."""
    log_q, log_p = _softened(logits_NC, teacher_NC, temperature)
    log_m = torch.logaddexp(log_q, log_p) - log(2)
    both = (log_p.exp() * (log_p - log_m) + log_q.exp() * (log_q - log_m)) / 2
    return both.sum(-1)


def unit_distance(states_NH: Tensor, teacher_NH: Tensor) -> Tensor:
    """‖ŝ − t̂‖² of unit vectors, 2 − 2cos (PKD's equation 7, for one pair of states): (N,)."""
    return (normalize(states_NH, dim=-1) - normalize(teacher_NH, dim=-1)).square().sum(-1)


def cosine_distance(states_NTH: Tensor, teacher_NTH: Tensor, mask_NT: Tensor) -> Tensor:
    """1 − cos of each token's states, averaged over a text's own tokens (DistilBERT's): (N,)."""
    cosine_NT = torch.cosine_similarity(states_NTH, teacher_NTH, dim=-1)
    return _over_tokens(1 - cosine_NT, mask_NT)


def squared_error(states_NTH: Tensor, teacher_NTH: Tensor, mask_NT: Tensor) -> Tensor:
    """The mean squared difference over a text's own tokens and the width: (N,)."""
    return _over_tokens((states_NTH - teacher_NTH).square().mean(-1), mask_NT)


def score_error(scores_NATT: Tensor, teacher_NATT: Tensor, mask_NT: Tensor) -> Tensor:
    """The same of attention scores before their softmax, over heads A and pairs of a text's own
    tokens (TinyBERT's equation 7): (N,)."""
    pairs_NTT = mask_NT.unsqueeze(-1) * mask_NT.unsqueeze(-2)
    error_NTT = (scores_NATT - teacher_NATT).square().mean(1)
    # What a padded pair scores may be infinite.
    error_NTT = error_NTT.masked_fill(pairs_NTT == 0, 0)
    return error_NTT.sum((-1, -2)) / pairs_NTT.sum((-1, -2)).clamp(min=1)


def standardised(states_NTH: Tensor, mask_NT: Tensor) -> Tensor:
    """Each coordinate with mean 0 and deviation 1 over a batch's own tokens."""
    weights_NT1 = (mask_NT.to(states_NTH) / mask_NT.sum()).unsqueeze(-1)
    apart_NTH = states_NTH - (weights_NT1 * states_NTH).sum((0, 1))
    return apart_NTH / (weights_NT1 * apart_NTH.square()).sum((0, 1)).sqrt().clamp(min=1e-6)


def _softened(logits_NC: Tensor, teacher_NC: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    return log_softmax(logits_NC / temperature, -1), log_softmax(teacher_NC / temperature, -1)


def _over_tokens(values_NT: Tensor, mask_NT: Tensor) -> Tensor:
    return (values_NT * mask_NT).sum(-1) / mask_NT.sum(-1).clamp(min=1)
