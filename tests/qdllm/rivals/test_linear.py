"""Linear layers of our own: the same function and gradients as PyTorch's."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import linear

from qdllm.rivals.linear import Linear


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(len(shape)))


@pytest.mark.parametrize("rows", [(5, 7), (6,), (1, 1), ()])
@pytest.mark.parametrize("biased", [True, False])
def test_products_and_gradients_are_pytorchs(rows, biased):
    given = [drawn(*rows, 12), drawn(3, 12), *[drawn(3)] * biased]
    for each in given:
        each.requires_grad_()
    by = drawn(*rows, 3)
    found = []
    for mode in (Linear(), torch.enable_grad()):
        with mode:
            value = linear(*given)
        found.append([value, *torch.autograd.grad(value, given, by)])
    assert type(found[0][0].grad_fn) is not type(found[1][0].grad_fn)
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_what_is_not_trained_has_no_gradient_and_other_numbers_are_left_to_pytorch():
    x, weights = drawn(4, 12).requires_grad_(), drawn(3, 12)
    with Linear():
        linear(x, weights).sum().backward()
        double = linear(x.double(), weights.double())
    torch.testing.assert_close(x.grad, weights.sum(0).expand(4, -1))
    assert weights.grad is None
    assert torch.equal(double, torch.nn.functional.linear(x.double(), weights.double()))


@pytest.mark.parametrize("rows", [(5, 7), (6,), (1, 1), ()])
@pytest.mark.parametrize("biased", [True, False])
def test_bfloat16_multiplies_what_is_rounded_and_gives_float32(rows, biased):
    given = [drawn(*rows, 96), drawn(64, 96), *[drawn(64)] * biased]
    for each in given:
        each.requires_grad_()
    by = drawn(*rows, 64)
    with Linear("bfloat16"):
        value = linear(*given)
    found = [value, *torch.autograd.grad(value, given, by)]
    rounded = [each.detach().bfloat16().double().requires_grad_() for each in given]
    exact = linear(*rounded)
    wanted = [exact, *torch.autograd.grad(exact, rounded[:2], by.bfloat16().double())]
    wanted += [by.double().reshape(-1, 64).sum(0)] * biased
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours.dtype == torch.float32
        # Each sum of products is rounded to eight bits.
        torch.testing.assert_close(ours.double(), theirs, rtol=2**-8, atol=1e-4)
    assert not torch.equal(found[0].double(), exact)
