"""The distillation loss: hard labels, and the teacher's softened distribution (equation 14)."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import log_softmax

from qdllm.specs import LossSpec


def distillation(
    student_SNC: Tensor, teacher_SNC: Tensor, labels_SN: Tensor, alpha_S: Tensor, spec: LossSpec
) -> Tensor:
    """(1 − α)·CE + α·(T²·KL + JS) for each student, averaged over its N examples.

    All logits are raw; both sides are divided by the temperature T inside the teacher's terms.
    `alpha_S` stands beside the spec so that students of one population may differ in it; the
    spec's own alpha is not read. Differentiable once, with respect to the student's logits.

    KL is KL(teacher ‖ student). JS is the Jensen–Shannon divergence of the same two distributions,
    at most ln 2. With `form="published"` they are what the published program computes: the
    student's logits pass a softmax before they are softened; JS passes the teacher's probabilities
    through one more, measures both sides from their mean, and averages over the classes as well.

    Returns: loss_S.
    """
    loss: Tensor = _Distillation.apply(student_SNC, teacher_SNC, labels_SN, alpha_S, spec)
    return loss


class _Distillation(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, student_SNC: Tensor, *others: Any) -> Tensor:
        loss_S, gradient_SNC = value_and_gradient(student_SNC, *others)
        context.save_for_backward(gradient_SNC)
        return loss_S

    @staticmethod
    @once_differentiable
    def backward(context: Any, upstream_S: Tensor) -> tuple[Tensor | None, ...]:
        (gradient_SNC,) = context.saved_tensors
        return gradient_SNC * upstream_S[:, None, None], None, None, None, None


def value_and_gradient(
    student_SNC: Tensor, teacher_SNC: Tensor, labels_SN: Tensor, alpha_S: Tensor, spec: LossSpec
) -> tuple[Tensor, Tensor]:
    """`distillation`'s loss_S, and each student's gradient_SNC of its own loss by its logits.

    Written out, because autograd takes three times as long on batches as small as the paper's.
    """
    with torch.no_grad():
        hard_SN, hard_gradient = _cross_entropy(student_SNC, labels_SN)
        soft_SN, soft_gradient = _divergence(student_SNC, teacher_SNC, spec)
        examples = labels_SN.shape[1]
        loss_S = torch.lerp(hard_SN.sum(1), soft_SN.sum(1), alpha_S) / examples
        gradient = torch.lerp(hard_gradient, soft_gradient, alpha_S[:, None, None]) / examples
    return loss_S, gradient


def _cross_entropy(student_SNC: Tensor, labels_SN: Tensor) -> tuple[Tensor, Tensor]:
    log_p, labels_SN1 = log_softmax(student_SNC, -1), labels_SN.unsqueeze(-1)
    value_SN = -log_p.gather(-1, labels_SN1).squeeze(-1)
    gradient = log_p.exp()
    gradient.scatter_add_(-1, labels_SN1, -torch.ones_like(gradient[..., :1]))
    return value_SN, gradient


def _divergence(student_SNC: Tensor, teacher_SNC: Tensor, spec: LossSpec) -> tuple[Tensor, Tensor]:
    """T²·KL + JS, or one of them, per example, and its gradient by the student's logits.

    `slope` is the derivative by the student's log-probabilities log_s; the chain rule through
    log_softmax takes it to the logits.
    """
    temperature, published = spec.temperature, spec.form == "published"
    once = log_softmax(student_SNC, -1).exp() if published else student_SNC
    log_both = log_softmax(torch.stack([once, teacher_SNC]) / temperature, -1)
    both = log_both.exp()
    (log_s, log_t), (s, t) = log_both, both
    values, slopes = [], []
    if "kl" in spec.teacher_terms:
        weighted = temperature**2 * t
        values.append(weighted * (log_t - log_s))
        slopes.append(-weighted)
    if "js" in spec.teacher_terms and published:
        log_t = log_softmax(t, -1)
        m, log_m = _mean(s, log_t.exp())
        apart = 2 * log_m - log_s - log_t
        halves = 2 * s.shape[-1]
        values.append(m * apart / halves)
        slopes.append((s * (apart + 2) / 2 - m) / halves)
    elif "js" in spec.teacher_terms:
        apart = log_both - _mean(s, t)[1]
        values.append((both * apart).sum(0) / 2)
        slopes.append(s * apart[0] / 2)
    slope = sum(slopes[1:], slopes[0])
    gradient = (slope - s * slope.sum(-1, keepdim=True)) / temperature
    if published:
        gradient = once * (gradient - (once * gradient).sum(-1, keepdim=True))
    return sum(values[1:], values[0]).sum(-1), gradient


def _mean(s: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """m = (s + t)/2 and log m, finite also where both underflow.

    Not logaddexp: its last digit depends on where in memory an element lies, and so on how many
    students stand beside it.
    """
    m = ((s + t) / 2).clamp(min=torch.finfo(s.dtype).tiny)
    return m, m.log()
