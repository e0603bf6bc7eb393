"""The distillation loss: hard labels, and the teacher's softened distribution (equation 14)."""

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from qdllm import loss_kernel
from qdllm.specs import LossSpec


def distillation(
    student_SNC: Tensor, teacher_SNC: Tensor, labels_SN: Tensor, alpha_S: Tensor, spec: LossSpec
) -> Tensor:
    """(1 − α)·CE + α·(T²·KL + JS) for each student, averaged over its N examples.

    All logits are raw; both sides are divided by the temperature T inside the teacher's terms.
    `alpha_S` stands beside the spec so that students of one population may differ in it; the
    spec's own alpha is not read.

    KL is KL(teacher ‖ student). JS is the Jensen–Shannon divergence of the same two distributions,
    at most ln 2. With `form="published"` they are what the published program computes: the
    student's logits pass a softmax before they are softened; JS passes the teacher's probabilities
    through one more, measures both sides from their mean, and averages over the classes as well.

    Returns: loss_S.
    """
    published = spec.form == "published"
    log_p = log_softmax(student_SNC, -1)
    hard_SN = -log_p.gather(-1, labels_SN.unsqueeze(-1)).squeeze(-1)
    once = log_p.exp() if published else student_SNC
    log_s = log_softmax(once / spec.temperature, -1)
    log_t = log_softmax(teacher_SNC / spec.temperature, -1)
    soft_SN = torch.zeros_like(hard_SN)
    if "kl" in spec.teacher_terms:
        soft_SN = soft_SN + spec.temperature**2 * _divergence(log_t, log_s)
    if "js" in spec.teacher_terms:
        if published:
            log_t = log_softmax(log_t.exp(), -1)
        mean = (log_s.exp() + log_t.exp()) / 2
        log_m = mean.clamp(min=torch.finfo(mean.dtype).tiny).log()
        if published:
            js_SN = _divergence(log_m, log_s) + _divergence(log_m, log_t)
            soft_SN = soft_SN + js_SN / (2 * student_SNC.shape[-1])
        else:
            soft_SN = soft_SN + (_divergence(log_s, log_m) + _divergence(log_t, log_m)) / 2
    return torch.lerp(hard_SN.mean(-1), soft_SN.mean(-1), alpha_S)


def value_and_gradient(
    student_SNC: Tensor, teacher_SNC: Tensor, labels_SN: Tensor, alpha_S: Tensor, spec: LossSpec
) -> tuple[Tensor, Tensor]:
    """`distillation`'s loss_S, and each student's gradient_SNC of its own loss by its logits.

    On a CPU both come from one compiled loop; a student's are the same to the bit whichever
    students stand beside it.
    """
    if student_SNC.device.type != "cpu":
        with torch.enable_grad():
            logits = student_SNC.detach().requires_grad_()
            loss_S = distillation(logits, teacher_SNC, labels_SN, alpha_S, spec)
            return loss_S.detach(), torch.autograd.grad(loss_S.sum(), logits)[0]
    logits = student_SNC.detach().contiguous()
    loss_S, gradient_SNC = torch.empty_like(alpha_S), torch.empty_like(logits)
    loss_kernel.value_and_gradient(
        logits.numpy(),
        teacher_SNC.contiguous().numpy(),
        labels_SN.contiguous().numpy(),
        alpha_S.numpy(),
        spec.temperature,
        "kl" in spec.teacher_terms,
        "js" in spec.teacher_terms,
        spec.form == "published",
        loss_S.numpy(),
        gradient_SNC.numpy(),
    )
    return loss_S, gradient_SNC


def _divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p ‖ q) over the last axis, from log-probabilities."""
    return (log_p.exp() * (log_p - log_q)).sum(-1)
