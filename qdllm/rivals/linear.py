"""Linear layers by oneDNN, which uses all of a CPU, whoever made it.

For float32 PyTorch calls MKL, which leaves most of an AMD core idle: oneDNN is two to three times
as fast there on a body's layers. Both reckon in float32; they differ in round-off.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear
from torch.overrides import TorchFunctionMode


class Linear(TorchFunctionMode):
    """While the block runs, oneDNN computes linear layers of float32 on a CPU, and gradients."""

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        given: tuple[Any, ...] = (),
        named: Mapping[str, Any] | None = None,
    ) -> Any:
        """What PyTorch asks before each of its functions."""
        if function is linear and not named and all(map(_suits, given)):
            return _Linear.apply(*given)
        return function(*given, **named or {})


def _suits(tensor: Tensor | None) -> bool:
    return tensor is None or (
        tensor.device.type == "cpu"
        and tensor.dtype == torch.float32
        and torch.backends.mkldnn.is_available()
    )


class _Linear(torch.autograd.Function):
    """x_NI, weights_OI and maybe a bias_O → x · weightsᵀ + bias: (N, O); N may be several axes."""

    @staticmethod
    def forward(ctx: Any, x_NI: Tensor, weights_OI: Tensor, bias_O: Tensor | None = None) -> Tensor:
        ctx.save_for_backward(x_NI, weights_OI)
        return _product(x_NI, weights_OI, bias_O)

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> tuple[Tensor | None, ...]:
        (by_NO,), (x_NI, weights_OI) = given, ctx.saved_tensors
        by_x, by_weights, by_bias = (*ctx.needs_input_grad, False)[:3]
        rows_NO, rows_NI = (each.reshape(-1, each.shape[-1]) for each in (by_NO, x_NI))
        return (
            _product(by_NO, weights_OI.t(), None) if by_x else None,
            _product(rows_NO.t(), rows_NI.t(), None) if by_weights else None,
            rows_NO.sum(0) if by_bias else None,
        )[: len(ctx.needs_input_grad)]


def _product(x_NI: Tensor, weights_OI: Tensor, bias_O: Tensor | None) -> Tensor:
    found: Tensor = torch.ops.mkldnn._linear_pointwise(x_NI, weights_OI, bias_O, "none", [], "")
    return found
