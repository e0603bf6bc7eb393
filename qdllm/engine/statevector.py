"""The engine: expectations and all gradients, for S students × N examples at once.

Legend: S students, N examples, A input angles, M observables, W weights. By default A and M are the
number of qubits.
"""

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from qdllm.circuits.circuit import (
    angle_count,
    gates,
    observables,
    told,
    weight_count,
    weight_names,
)
from qdllm.circuits.spec import CircuitSpec
from qdllm.engine import cpu, tensors
from qdllm.engine.fusion import Program, compile_gates
from qdllm.errors import ConfigError


def expectations(spec: CircuitSpec, angles: Tensor, weights: Tensor) -> Tensor:
    """Every observable's expectation after the circuit, for every example (the paper's student,
    Fig. 2, where they are ⟨Z⟩ of every qubit).

    `angles`, in radians, are (N, A) for one student or (S, N, A) for S of them; `weights`, in
    radians and in the order of `weight_names(spec)`, are (W,) or (S, W). The result, each number
    in [−1, 1], is (N, M) or (S, N, M). It is differentiable once, in angles and weights.

    Float32 or float64, both tensors alike. On a CPU one thread works; a student's numbers are the
    same to the bit from run to run and whichever students run beside it, and an example's
    expectations and angle gradients whichever examples do. Other devices use torch operations.

    Raises ConfigError for shapes, precisions or devices that do not fit, for no students or no
    examples, and for values that are not finite; the last names the first example affected.
    """
    check(spec, angles, weights)
    if torch.is_grad_enabled() and (angles.requires_grad or weights.requires_grad):
        return _Expectations.apply(spec, program_of(spec), angles, weights)
    results_SNM, _ = _forward(spec, program_of(spec), *_stacked(angles, weights), keep=False)
    return results_SNM if angles.ndim == 3 else results_SNM[0]


def run(program: Program, angles_SNA: Tensor, weights_SW: Tensor) -> Tensor:
    """The same of a circuit that is compiled already, (S, N, M): differentiable once.

    Raises ConfigError for values that are not finite; shapes and precisions are the caller's care.
    """
    found: Tensor = _Expectations.apply(None, program, angles_SNA, weights_SW)
    return found


@lru_cache
def program_of(spec: CircuitSpec) -> Program:
    """The circuit in fused steps."""
    return compile_gates(gates(spec), spec.qubits, observables(spec))


class _Expectations(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, spec: CircuitSpec | None, program: Program, angles: Tensor, weights: Tensor
    ) -> Tensor:
        angles_SNA, weights_SW = _stacked(angles, weights)
        results_SNM, ctx.saved = _forward(spec, program, angles_SNA, weights_SW, keep=True)
        ctx.program, ctx.stacked = program, angles.ndim == 3
        ctx.save_for_backward(angles_SNA, weights_SW)
        return results_SNM if ctx.stacked else results_SNM[0]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grads: Tensor) -> tuple[None, None, Tensor, Tensor]:
        angles_SNA, weights_SW = ctx.saved_tensors
        grads_SNM = (grads if ctx.stacked else grads[None]).contiguous()
        angle_grads, weight_grads, bad = _engine(angles_SNA).backward(
            ctx.program, ctx.saved, angles_SNA, weights_SW, grads_SNM
        )
        if bad >= 0:
            student, example = divmod(bad, angles_SNA.shape[1])
            raise ConfigError(
                f"the loss's gradient in the expectations of student {student}, example {example} "
                f"is {_listed(grads_SNM[student, example])}, but every number must be finite and "
                "small enough to multiply; look for a division by zero or an overflow in the loss"
            )
        if ctx.stacked:
            return None, None, angle_grads, weight_grads
        return None, None, angle_grads[0], weight_grads[0]


def _stacked(angles: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Contiguous (S, N, A) and (S, W); within autograd.Function, where indexing costs little."""
    if angles.ndim == 2:
        angles, weights = angles[None], weights[None]
    return angles.contiguous(), weights.contiguous()


def _engine(tensor: Tensor) -> Any:
    return cpu if tensor.device.type == "cpu" else tensors


def _forward(
    spec: CircuitSpec | None, program: Program, angles_SNA: Tensor, weights_SW: Tensor, keep: bool
) -> tuple[Tensor, Any]:
    engine = _engine(angles_SNA)
    results, saved, bad = engine.forward(program, angles_SNA, weights_SW, keep)
    if bad >= 0:
        raise ConfigError(
            _not_finite(spec, angles_SNA, weights_SW, bad)
            if spec
            else "angles and weights must be finite, but some are nan or inf"
        )
    return results, saved


def check(spec: CircuitSpec, angles: Tensor, weights: Tensor) -> None:
    """Raise ConfigError unless shapes, precisions and devices are what `expectations` takes."""
    inputs, count = angle_count(spec), weight_count(spec)
    fits = (
        (angles.ndim, weights.ndim) in ((2, 1), (3, 2))
        and angles.shape[-1] == inputs
        and weights.shape[-1] == count
        and angles.shape[:-2] == weights.shape[:-1]
    )
    if not fits:
        raise ConfigError(
            f"angles {tuple(angles.shape)} with weights {tuple(weights.shape)} were given, but "
            f"{told(spec)} takes (N, {inputs}) with ({count},), or (S, N, {inputs}) with "
            f"(S, {count})"
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


def _not_finite(spec: CircuitSpec, angles_SNA: Tensor, weights_SW: Tensor, bad: int) -> str:
    student, example = divmod(bad, angles_SNA.shape[1])
    wrong = (~weights_SW[student].isfinite()).nonzero().flatten()
    if len(wrong):
        name = weight_names(spec)[int(wrong[0])]
        what = f"weight {name} of student {student} is {weights_SW[student, wrong[0]].item()}"
    else:
        what = f"angles of student {student}, example {example} are " + _listed(
            angles_SNA[student, example]
        )
    return f"{what}, but every number must be finite"


def _listed(values: Tensor) -> str:
    return "[" + ", ".join(f"{value:.4g}" for value in values.tolist()) + "]"
