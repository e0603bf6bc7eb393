"""The fused program in torch operations: any device, both precisions, a hand-written reverse pass.

A state is a real tensor (S, 2^Q, N, 2) with re and im last, so that the RY rotations, which are
real, are plain matrix products over groups of qubits. Legend: S students, N examples, Q qubits,
W weights.
"""

import math
from functools import lru_cache

import torch
from torch import Tensor

from qdllm.engine.fusion import Program

GROUP = 5
"""Qubits per RY matrix: 32 × 32."""


def forward(
    program: Program, angles_SNQ: Tensor, weights_SW: Tensor, keep: bool
) -> tuple[Tensor, Tensor, int]:
    """⟨Z⟩ (S, N, Q), the state after the last step, and the index of a bad example or −1."""
    state = _encoded(angles_SNQ)
    for k, step in enumerate(program.steps):
        source = _index_map(step.source, state.device)
        state = _multiply(state[:, source], _phases(program, k, weights_SW, state.dtype))
        state = _rotate(state, _turns(step.rotations, program.qubits, weights_SW, state.dtype))
    probabilities = state.square().sum(-1)
    results = torch.einsum("sxn,xq->snq", probabilities, _signs(program, state))
    return results, state if keep else state.new_empty(0), _first_bad(results, weights_SW)


def backward(
    program: Program, state: Tensor, angles_SNQ: Tensor, weights_SW: Tensor, grads_SNQ: Tensor
) -> tuple[Tensor, Tensor, int]:
    """Gradients of angles and weights, and the index of a bad example or −1.

    With λ = Σ_q grad_q Z_q |ψ⟩ carried back beside ψ, d/dθ of RY_q is Re⟨λ|−iY_q|ψ⟩ and of a phase
    with mask m it is Im Σ_x ±conj(λ_x) ψ_x, the sign being the parity of x & m.
    """
    grad_weights = torch.zeros_like(weights_SW, dtype=torch.float64)
    adjoint = state * torch.einsum("snq,xq->sxn", grads_SNQ, _signs(program, state)).unsqueeze(-1)
    for k in reversed(range(len(program.steps))):
        step = program.steps[k]
        turns = _turns(step.rotations, program.qubits, weights_SW, state.dtype)
        slopes = _slopes(adjoint, state, program.qubits)
        for qubit, weight in step.rotations:
            grad_weights[:, weight] += slopes[:, qubit]
        undo = [matrix.transpose(-1, -2) for matrix in turns]
        state, adjoint = _rotate(state, undo), _rotate(adjoint, undo)
        overlap = adjoint[..., 0] * state[..., 1] - adjoint[..., 1] * state[..., 0]
        spectrum = _walsh(overlap.sum(-1, dtype=torch.float64))
        for mask, weight in step.phases:
            if weight >= 0:
                grad_weights[:, weight] += spectrum[:, mask]
        phases = _phases(program, k, weights_SW, state.dtype).conj()
        target = torch.argsort(_index_map(step.source, state.device))
        state, adjoint = (_multiply(v, phases)[:, target] for v in (state, adjoint))
    angle_grads = _encoding_gradient(angles_SNQ, adjoint[..., 0])
    return angle_grads, grad_weights.to(weights_SW.dtype), _first_bad(angle_grads, weights_SW)


def _first_bad(values_SNQ: Tensor, weights_SW: Tensor) -> int:
    finite_SN = values_SNQ.isfinite().all(-1) & weights_SW.isfinite().all(-1, keepdim=True)
    bad = ~finite_SN.flatten()
    return int(bad.int().argmax()) if bad.any() else -1


def _encoded(angles_SNQ: Tensor) -> Tensor:
    amplitudes = _products(torch.stack([(angles_SNQ / 2).cos(), (angles_SNQ / 2).sin()], -1))
    return torch.stack([amplitudes, torch.zeros_like(amplitudes)], -1)


def _products(factors_SNQ2: Tensor) -> Tensor:
    """Tensor product over the qubits: (S, N, Q, 2) → (S, 2^Q, N)."""
    students, samples, qubits, _ = factors_SNQ2.shape
    product = factors_SNQ2.new_ones(students, 1, samples)
    for q in range(qubits):
        factor = factors_SNQ2[:, :, q].permute(0, 2, 1).unsqueeze(2)
        product = (factor * product.unsqueeze(1)).reshape(students, -1, samples)
    return product


def _encoding_gradient(angles_SNQ: Tensor, adjoint_SXN: Tensor) -> Tensor:
    """Re⟨λ|−iY_q|ψ⟩ for each q; ψ is the real product state, so only Re λ counts."""
    cos, sin = (angles_SNQ / 2).cos(), (angles_SNQ / 2).sin()
    factors = torch.stack([cos, sin], -1)
    columns = []
    for q in range(angles_SNQ.shape[-1]):
        turned = factors.clone()
        turned[:, :, q] = torch.stack([-sin[:, :, q], cos[:, :, q]], -1)
        columns.append((adjoint_SXN * _products(turned)).sum(1))
    return torch.stack(columns, -1)


def _multiply(state: Tensor, phases_SX: Tensor) -> Tensor:
    return torch.view_as_real(torch.view_as_complex(state.contiguous()) * phases_SX.unsqueeze(-1))


def _phases(program: Program, k: int, weights_SW: Tensor, dtype: torch.dtype) -> Tensor:
    """(S, 2^Q) complex diagonal of step k; the phase sums are formed in float64."""
    sums = weights_SW.new_zeros(len(weights_SW), 2**program.qubits, dtype=torch.float64)
    for mask, weight in program.steps[k].phases:
        sums[:, mask] -= weights_SW[:, weight].double() / 2 if weight >= 0 else -math.pi / 4
    angle = _walsh(sums)
    return torch.complex(angle.cos().to(dtype), angle.sin().to(dtype))


def _walsh(values_SX: Tensor) -> Tensor:
    """Walsh–Hadamard transform: out[m] = Σ_x (−1)^parity(m & x) values[x]."""
    students, size = values_SX.shape
    half = 1
    while half < size:
        low, high = values_SX.view(students, -1, 2, half).unbind(2)
        values_SX = torch.stack([low + high, low - high], 2).reshape(students, size)
        half *= 2
    return values_SX


def _turns(
    rotations: tuple[tuple[int, int], ...], qubits: int, weights_SW: Tensor, dtype: torch.dtype
) -> list[Tensor]:
    """One real matrix (S, 2^k, 2^k) for each group of k ≤ GROUP qubits, lowest qubits first."""
    halves = weights_SW.new_zeros(len(weights_SW), qubits, dtype=torch.float64)
    for qubit, weight in rotations:
        halves[:, qubit] += weights_SW[:, weight].double() / 2
    cos, sin = halves.cos(), halves.sin()
    ry = torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2)
    matrices = []
    for low in range(0, qubits, GROUP):
        matrix = ry.new_ones(len(weights_SW), 1, 1)
        for q in range(low, min(low + GROUP, qubits)):
            product = torch.einsum("sij,skl->sikjl", ry[:, q], matrix)
            matrix = product.reshape(len(weights_SW), 2 * matrix.shape[1], -1)
        matrices.append(matrix.to(dtype))
    return matrices


def _grouped(state: Tensor, low: int, size: int) -> Tensor:
    """View (S, 2^Q, N, 2) as (S, higher bits, the group's bits, everything below)."""
    return state.reshape(len(state), -1, size, 2**low * state.shape[2] * 2)


def _rotate(state: Tensor, matrices: list[Tensor]) -> Tensor:
    for g, matrix in enumerate(matrices):
        grouped = _grouped(state, GROUP * g, matrix.shape[1])
        state = (matrix.unsqueeze(1) @ grouped).view_as(state)
    return state


def _slopes(adjoint: Tensor, state: Tensor, qubits: int) -> Tensor:
    """Re⟨λ|−iY_q|ψ⟩ summed over the samples: (S, Q)."""
    slopes = []
    for low in range(0, qubits, GROUP):
        size = 2 ** min(GROUP, qubits - low)
        gram = torch.einsum(
            "shic,shjc->sij", _grouped(adjoint, low, size), _grouped(state, low, size)
        )
        for q in range(size.bit_length() - 1):
            x = torch.arange(size, device=state.device)
            x = x[(x >> q & 1) == 0]
            y = x + (1 << q)
            slopes.append((gram[:, y, x] - gram[:, x, y]).sum(-1, dtype=torch.float64))
    return torch.stack(slopes, -1)


@lru_cache
def _index_map(source: tuple[int, ...], device: torch.device) -> Tensor:
    """source(x) for every index x."""
    index = torch.zeros(1, dtype=torch.int64, device=device)
    for column in source:
        index = torch.cat([index, index ^ column])
    return index


def _signs(program: Program, state: Tensor) -> Tensor:
    """(2^Q, Q): the sign of each Z_q at each index of the state, before the readout permutation."""
    source = _index_map(program.readout, state.device)
    bits = torch.arange(len(source), device=state.device).unsqueeze(1) >> torch.arange(
        program.qubits, device=state.device
    )
    signs = state.new_empty(len(source), program.qubits)
    signs[source] = (1 - 2 * (bits & 1)).to(state.dtype)
    return signs
