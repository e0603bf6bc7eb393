"""Linear layers, whoever made them, in the precision and by the library that suit them.

For float32 on a CPU PyTorch calls MKL, which leaves most of an AMD core idle: oneDNN is two to
three times as fast there on a body's layers. Both reckon in float32; they differ in round-off.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear
from torch.overrides import TorchFunctionMode


class Linear(TorchFunctionMode):
    """While the block runs, linear layers of float32 and their gradients multiply in `precision`.

    `bfloat16`: what is multiplied is rounded to eight bits, and so is each product once it is
    summed. All else stays in float32, parameters among it.
    """

    def __init__(self, precision: str = "float32") -> None:
        super().__init__()
        self.precision: torch.dtype = getattr(torch, precision)

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        given: tuple[Any, ...] = (),
        named: Mapping[str, Any] | None = None,
    ) -> Any:
        """What PyTorch asks before each of its functions."""
        if function is linear and not named and all(map(self._suits, given)):
            return _Linear.apply(self.precision, *given)
        return function(*given, **named or {})

    def _suits(self, tensor: Tensor | None) -> bool:
        return tensor is None or (
            tensor.dtype == torch.float32
            and (
                self.precision != torch.float32
                or (tensor.device.type == "cpu" and torch.backends.mkldnn.is_available())
            )
        )


class _Linear(torch.autograd.Function):
    """x_NI, weights_OI and maybe a bias_O → x · weightsᵀ + bias: (N, O); N may be several axes."""

    @staticmethod
    def forward(
        ctx: Any,
        precision: torch.dtype,
        x_NI: Tensor,
        weights_OI: Tensor,
        bias_O: Tensor | None = None,
    ) -> Tensor:
        x_NI, weights_OI = x_NI.to(precision), weights_OI.to(precision)
        ctx.save_for_backward(x_NI, weights_OI)
        return _product(x_NI, weights_OI, None if bias_O is None else bias_O.to(precision))

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> tuple[Tensor | None, ...]:
        (by_NO,), (x_NI, weights_OI) = given, ctx.saved_tensors
        by_x, by_weights, by_bias = (*ctx.needs_input_grad[1:], False)[:3]
        bias_O = by_NO.reshape(-1, by_NO.shape[-1]).sum(0) if by_bias else None
        by_NO = by_NO.to(x_NI)
        rows_NO, rows_NI = (each.reshape(-1, each.shape[-1]) for each in (by_NO, x_NI))
        return (
            None,
            _product(by_NO, weights_OI.t()) if by_x else None,
            _product(rows_NO.t(), rows_NI.t()) if by_weights else None,
            bias_O,
        )[: len(ctx.needs_input_grad)]


def _product(x_NI: Tensor, weights_OI: Tensor, bias_O: Tensor | None = None) -> Tensor:
    if x_NI.dtype == torch.float32:
        found: Tensor = torch.ops.mkldnn._linear_pointwise(x_NI, weights_OI, bias_O, "none", [], "")
        return found
    return linear(x_NI, weights_OI, bias_O).float()
