"""The engine: ⟨Z⟩ of every qubit and all gradients, for S students × N examples at once.

Legend: S students, N examples, Q qubits, W weights.
"""

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from qdllm.circuits.gates import gates, weight_count, weight_names
from qdllm.engine import cpu, tensors
from qdllm.engine.fusion import Program, compile_gates
from qdllm.errors import ConfigError
from qdllm.specs import CircuitSpec


def expectations(spec: CircuitSpec, angles: Tensor, weights: Tensor) -> Tensor:
    """⟨Z_q⟩ of every qubit after the circuit, for every example (the paper's student, Fig. 2).

    `angles`, in radians, are (N, Q) for one student or (S, N, Q) for S of them; `weights`, in
    radians and in the order of `weight_names(spec)`, are (W,) or (S, W). The result, each number
    in [−1, 1], has the shape of `angles`. It is differentiable once, in angles and weights.

    Float32 or float64, both tensors alike. On a CPU one thread works; a student's numbers are the
    same to the bit from run to run and whichever students run beside it, and an example's
    expectations and angle gradients whichever examples do. Other devices use torch operations.

    Raises ConfigError for shapes, precisions or devices that do not fit, for no students or no
    examples, and for values that are not finite; the last names the first example affected.
    """
    check(spec, angles, weights)
    if torch.is_grad_enabled() and (angles.requires_grad or weights.requires_grad):
        return _Expectations.apply(spec, angles, weights)
    results_SNQ, _ = _forward(spec, *_stacked(angles, weights), keep=False)
    return results_SNQ if angles.ndim == 3 else results_SNQ[0]


@lru_cache
def program_of(spec: CircuitSpec) -> Program:
    """The circuit in fused steps."""
    return compile_gates(gates(spec), spec.qubits)


class _Expectations(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, spec: CircuitSpec, angles: Tensor, weights: Tensor) -> Tensor:
        angles_SNQ, weights_SW = _stacked(angles, weights)
        results_SNQ, ctx.saved = _forward(spec, angles_SNQ, weights_SW, keep=True)
        ctx.program, ctx.stacked = program_of(spec), angles.ndim == 3
        ctx.save_for_backward(angles_SNQ, weights_SW)
        return results_SNQ if ctx.stacked else results_SNQ[0]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grads: Tensor) -> tuple[None, Tensor, Tensor]:
        angles_SNQ, weights_SW = ctx.saved_tensors
        grads_SNQ = (grads if ctx.stacked else grads[None]).contiguous()
        angle_grads, weight_grads, bad = _engine(angles_SNQ).backward(
            ctx.program, ctx.saved, angles_SNQ, weights_SW, grads_SNQ
        )
        if bad >= 0:
            student, example = divmod(bad, angles_SNQ.shape[1])
            raise ConfigError(
                f"the loss's gradient in the expectations of student {student}, example {example} "
                f"is {_listed(grads_SNQ[student, example])}, but every number must be finite and "
                "small enough to multiply; look for a division by zero or an overflow in the loss"
            )
        if ctx.stacked:
            return None, angle_grads, weight_grads
        return None, angle_grads[0], weight_grads[0]


def _stacked(angles: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Contiguous (S, N, Q) and (S, W); within autograd.Function, where indexing costs little."""
    if angles.ndim == 2:
        angles, weights = angles[None], weights[None]
    return angles.contiguous(), weights.contiguous()


def _engine(tensor: Tensor) -> Any:
    return cpu if tensor.device.type == "cpu" else tensors


def _forward(
    spec: CircuitSpec, angles_SNQ: Tensor, weights_SW: Tensor, keep: bool
) -> tuple[Tensor, Any]:
    engine = _engine(angles_SNQ)
    results, saved, bad = engine.forward(program_of(spec), angles_SNQ, weights_SW, keep)
    if bad >= 0:
        raise ConfigError(_not_finite(spec, angles_SNQ, weights_SW, bad))
    return results, saved


def check(spec: CircuitSpec, angles: Tensor, weights: Tensor) -> None:
    """Raise ConfigError unless shapes, precisions and devices are what `expectations` takes."""
    count = weight_count(spec)
    fits = (
        (angles.ndim, weights.ndim) in ((2, 1), (3, 2))
        and angles.shape[-1] == spec.qubits
        and weights.shape[-1] == count
        and angles.shape[:-2] == weights.shape[:-1]
    )
    if not fits:
        raise ConfigError(
            f"angles {tuple(angles.shape)} with weights {tuple(weights.shape)} were given, but "
            f"{spec.ansatz!r} on {spec.qubits} qubits with {spec.layers} layers takes "
            f"(N, {spec.qubits}) with ({count},), or (S, N, {spec.qubits}) with (S, {count})"
        )
    if not angles.numel():
        raise ConfigError(
            f"angles {tuple(angles.shape)} hold nothing; give at least one student and one example"
        )
    if angles.dtype != weights.dtype or angles.dtype not in (torch.float32, torch.float64):
        raise ConfigError(
            f"angles are {angles.dtype} and weights {weights.dtype}, but both must be "
            "torch.float32 or both torch.float64; convert one with .to()"
        )
    if angles.device != weights.device:
        raise ConfigError(
            f"angles are on {angles.device} and weights on {weights.device}; move one with .to()"
        )
    if angles.device.type not in ("cpu", "cuda"):
        raise ConfigError(
            f"angles are on {angles.device}, but the engine runs on cpu and cuda; move them there"
        )


def _not_finite(spec: CircuitSpec, angles_SNQ: Tensor, weights_SW: Tensor, bad: int) -> str:
    student, example = divmod(bad, angles_SNQ.shape[1])
    wrong = (~weights_SW[student].isfinite()).nonzero().flatten()
    if len(wrong):
        name = weight_names(spec)[int(wrong[0])]
        what = f"weight {name} of student {student} is {weights_SW[student, wrong[0]].item()}"
    else:
        what = f"angles of student {student}, example {example} are " + _listed(
            angles_SNQ[student, example]
        )
    return f"{what}, but every number must be finite"


def _listed(values: Tensor) -> str:
    return "[" + ", ".join(f"{value:.4g}" for value in values.tolist()) + "]"
