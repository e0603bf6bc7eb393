"""The loss against torch's own terms, its gradient against autograd and finite differences."""

import itertools
from math import log

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, log_softmax, softmax

from qdllm.loss import distillation, value_and_gradient
from qdllm.specs import LossSpec

BOTH = list(itertools.product(["kl+js", "kl", "js"], ["exact", "published"]))


@pytest.fixture
def batch() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Three students, five examples, four classes: student, teacher, labels, alpha."""
    generator = torch.Generator().manual_seed(1)
    student = torch.randn(3, 5, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    teacher = 3 * torch.randn(3, 5, 4, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 4, (3, 5), generator=generator)
    return student, teacher, labels, torch.tensor([0.0, 0.4, 1.0], dtype=torch.float64)


def reference(student: Tensor, teacher: Tensor, labels: Tensor, spec: LossSpec) -> Tensor:
    """One student's loss, in torch's own functions, straight from equation 14."""
    T = spec.temperature
    if spec.form == "exact":
        p, q = softmax(student / T, -1), softmax(teacher / T, -1)
        kl = kl_div(p.log(), q, reduction="batchmean")
        m = (p + q) / 2
        js = (
            kl_div(m.log(), p, reduction="batchmean") + kl_div(m.log(), q, reduction="batchmean")
        ) / 2
    else:
        p, q = log_softmax(softmax(student, -1) / T, -1), softmax(teacher / T, -1)
        kl = kl_div(p, q, reduction="batchmean")
        m = (softmax(p, -1) + softmax(q, -1)) / 2
        from_m = kl_div(log_softmax(p, -1), m, reduction="sum")
        from_m = from_m + kl_div(log_softmax(q, -1), m, reduction="sum")
        js = from_m / (2 * m.numel())
    soft = ("kl" in spec.teacher_terms) * T**2 * kl + ("js" in spec.teacher_terms) * js
    return (1 - spec.alpha) * cross_entropy(student, labels) + spec.alpha * soft


@pytest.mark.parametrize(("terms", "form"), BOTH)
@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_value_and_gradient_equal_autograd_on_torchs_own_terms(batch, terms, form, temperature):
    student, teacher, labels, alpha = batch
    spec = LossSpec(temperature=temperature, teacher_terms=terms, form=form)
    loss = distillation(student, teacher, labels, alpha, spec)
    (gradient,) = torch.autograd.grad((loss * torch.tensor([1.0, -2.0, 3.0])).sum(), student)
    expected = torch.stack(
        [
            reference(student[i], teacher[i], labels[i], spec.model_copy(update={"alpha": a}))
            for i, a in enumerate(alpha.tolist())
        ]
    )
    (by_autograd,) = torch.autograd.grad((expected * torch.tensor([1.0, -2.0, 3.0])).sum(), student)
    torch.testing.assert_close(loss, expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(gradient, by_autograd, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(("terms", "form"), BOTH)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_compiled_loop_is_the_differentiable_loss(batch, terms, form, dtype):
    student, teacher, labels, alpha = (
        tensor.to(dtype) if tensor.is_floating_point() else tensor for tensor in batch
    )
    spec = LossSpec(temperature=1.5, teacher_terms=terms, form=form)
    logits = student.detach().requires_grad_()
    expected = distillation(logits, teacher, labels, alpha, spec)
    (by_autograd,) = torch.autograd.grad(expected.sum(), logits)
    loss, gradient = value_and_gradient(logits, teacher, labels, alpha, spec)
    exact = 1e-5 if dtype == torch.float32 else 1e-11
    torch.testing.assert_close(loss, expected.detach(), rtol=exact, atol=exact)
    torch.testing.assert_close(gradient, by_autograd, rtol=exact, atol=exact)


@pytest.mark.parametrize(("terms", "form"), BOTH)
def test_gradient_equals_finite_differences(batch, terms, form):
    student, teacher, labels, alpha = batch
    spec = LossSpec(teacher_terms=terms, form=form)
    assert torch.autograd.gradcheck(
        lambda logits: distillation(logits, teacher, labels, alpha, spec), student
    )


def test_divergences_vanish_where_student_and_teacher_agree(batch):
    _, teacher, labels, _ = batch
    ones = torch.ones(3, dtype=torch.float64)
    loss = distillation(teacher, teacher, labels, ones, LossSpec())
    torch.testing.assert_close(loss, torch.zeros(3, dtype=torch.float64), rtol=0, atol=1e-12)


def test_jensen_shannon_reaches_ln_2_and_stays_finite_for_opposite_certainties():
    student = torch.tensor([[[1000.0, -1000.0]]])
    loss, gradient = value_and_gradient(
        student, -student, torch.tensor([[0]]), torch.ones(1), LossSpec(teacher_terms="js")
    )
    assert loss.item() == pytest.approx(log(2))
    assert torch.isfinite(gradient).all()


def test_a_student_does_not_see_the_others(batch):
    student, teacher, labels, alpha = (
        tensor.detach().float() if tensor.is_floating_point() else tensor for tensor in batch
    )
    together = value_and_gradient(student, teacher, labels, alpha, LossSpec())
    for i in range(3):
        own = slice(i, i + 1)
        alone = value_and_gradient(student[own], teacher[own], labels[own], alpha[own], LossSpec())
        assert alone[0].item() == together[0][i].item()
        assert torch.equal(alone[1][0], together[1][i])
