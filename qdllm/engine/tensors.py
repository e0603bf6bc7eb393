"""The fused program in torch operations: any device, both precisions, a hand-written reverse pass.

A state is a real tensor (S, 2^Q, N, 2) with re and im last, so that the RY rotations, which are
real, are plain matrix products over groups of qubits. Legend: S students, N examples, A input
angles, M observables, Q qubits, W weights.
"""

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from qdllm.circuits.gates import Angle
from qdllm.engine.fusion import Program, Step

GROUP = 5
"""Qubits per RY matrix: 32 × 32."""
_COMPLEX = {torch.float32: torch.complex64, torch.float64: torch.complex128}


def forward(
    program: Program, angles_SNA: Tensor, weights_SW: Tensor, keep: bool
) -> tuple[Tensor, Tensor, int]:
    """Expectations (S, N, M), the last state, and the index of a bad example or −1."""
    state = _start(program, angles_SNA)
    for k, step in enumerate(program.steps):
        state = _multiply(state[:, _source(step, state.device)], _phases(program, k, weights_SW))
        given = [term for term in step.phases if term[1].angle is not None]
        if given:
            state = _complex(state, _input_phases(given, angles_SNA, len(state[0])))
        state = _rotate(state, _turns(step, program.qubits, weights_SW, state.dtype))
        state = _turn(state, step, angles_SNA)
    results = _measure(program, state)
    return results, state if keep else state.new_empty(0), _first_bad(results, weights_SW)


def backward(
    program: Program, state: Tensor, angles_SNA: Tensor, weights_SW: Tensor, grads_SNM: Tensor
) -> tuple[Tensor, Tensor, int]:
    """Gradients of angles and weights, and the index of a bad example or −1.

    With λ = Σ_j grad_j P_j |ψ⟩ carried back beside ψ, d/dθ of RY_q is Re⟨λ|−iY_q|ψ⟩ and of a phase
    with mask m it is Im Σ_x ±conj(λ_x) ψ_x, the sign being the parity of x & m.
    """
    grad_weights = torch.zeros_like(weights_SW, dtype=torch.float64)
    grad_angles = torch.zeros_like(angles_SNA)
    adjoint = _adjoint(program, state, grads_SNM)
    for k in reversed(range(len(program.steps))):
        step = program.steps[k]
        for qubit, angle in reversed(step.rotations):
            if angle.angle is not None:
                slope = _slope(adjoint, state, qubit)
                grad_angles[:, :, angle.angle] += angle.factor * slope
                by = -_angle(angle, angles_SNA)
                state, adjoint = (_turned(v, qubit, by) for v in (state, adjoint))
        turns = _turns(step, program.qubits, weights_SW, state.dtype)
        slopes = _slopes(adjoint, state, program.qubits)
        for qubit, angle in step.rotations:
            if angle.weight is not None:
                grad_weights[:, angle.weight] += angle.factor * slopes[:, qubit]
        undo = [matrix.transpose(-1, -2) for matrix in turns]
        state, adjoint = _rotate(state, undo), _rotate(adjoint, undo)
        overlap = adjoint[..., 0] * state[..., 1] - adjoint[..., 1] * state[..., 0]
        spectrum = _walsh(overlap.sum(-1, dtype=torch.float64))
        for mask, angle in step.phases:
            if angle.weight is not None:
                grad_weights[:, angle.weight] += angle.factor * spectrum[:, mask]
        given = [term for term in step.phases if term[1].angle is not None]
        if given:
            signs = _mask_signs(given, state)
            for column, (_, angle) in enumerate(given):
                slope = torch.einsum("sxn,x->sn", overlap, signs[:, column])
                grad_angles[:, :, angle.angle] += angle.factor * slope
            phases = _input_phases(given, angles_SNA, len(state[0])).conj()
            state, adjoint = (_complex(v, phases) for v in (state, adjoint))
        phases = _phases(program, k, weights_SW).conj()
        target = torch.argsort(_source(step, state.device))
        state, adjoint = (_multiply(v, phases)[:, target] for v in (state, adjoint))
    _add_start_gradient(program, angles_SNA, adjoint[..., 0], grad_angles)
    return grad_angles, grad_weights.to(weights_SW.dtype), _first_bad(grad_angles, weights_SW)


def _first_bad(values_SNV: Tensor, weights_SW: Tensor) -> int:
    finite_SN = values_SNV.isfinite().all(-1) & weights_SW.isfinite().all(-1, keepdim=True)
    bad = ~finite_SN.flatten()
    return int(bad.int().argmax()) if bad.any() else -1


def _angle(angle: Angle, angles_SNA: Tensor) -> Tensor:
    """(S, N): an angle of every example, formed in float64."""
    if angle.angle is None:
        return angles_SNA.new_full(angles_SNA.shape[:2], angle.offset, dtype=torch.float64)
    return angles_SNA[:, :, angle.angle].double() * angle.factor + angle.offset


def _weight(angle: Angle, weights_SW: Tensor) -> Tensor:
    """(S,): an angle of every student, formed in float64."""
    if angle.weight is None:
        return weights_SW.new_full(weights_SW.shape[:1], angle.offset, dtype=torch.float64)
    return weights_SW[:, angle.weight].double() * angle.factor + angle.offset


def _factors(program: Program, angles_SNA: Tensor) -> Tensor:
    """(S, N, Q, 2): cos and sin of half of what each qubit is turned by at the start."""
    halves = torch.stack([_angle(angle, angles_SNA) / 2 for angle in program.start], -1)
    return torch.stack([halves.cos(), halves.sin()], -1).to(angles_SNA.dtype)


def _start(program: Program, angles_SNA: Tensor) -> Tensor:
    amplitudes = _products(_factors(program, angles_SNA))
    return torch.stack([amplitudes, torch.zeros_like(amplitudes)], -1)


def _products(factors_SNQ2: Tensor) -> Tensor:
    """Tensor product over the qubits: (S, N, Q, 2) → (S, 2^Q, N)."""
    students, samples, qubits, _ = factors_SNQ2.shape
    product = factors_SNQ2.new_ones(students, 1, samples)
    for q in range(qubits):
        factor = factors_SNQ2[:, :, q].permute(0, 2, 1).unsqueeze(2)
        product = (factor * product.unsqueeze(1)).reshape(students, -1, samples)
    return product


def _add_start_gradient(
    program: Program, angles_SNA: Tensor, adjoint_SXN: Tensor, grad_angles: Tensor
) -> None:
    """Re⟨λ|−iY_q|ψ⟩ for each q; ψ is the real product state, so only Re λ counts."""
    factors = _factors(program, angles_SNA)
    cos, sin = factors.unbind(-1)
    for q, angle in enumerate(program.start):
        if angle.angle is not None:
            turned = factors.clone()
            turned[:, :, q] = torch.stack([-sin[:, :, q], cos[:, :, q]], -1)
            slope = (adjoint_SXN * _products(turned)).sum(1)
            grad_angles[:, :, angle.angle] += angle.factor * slope


def _multiply(state: Tensor, phases_SX: Tensor) -> Tensor:
    return _complex(state, phases_SX.to(_COMPLEX[state.dtype]).unsqueeze(-1))


def _complex(state: Tensor, phases: Tensor) -> Tensor:
    """The state times complex numbers, of shape (S, 2^Q, N) or (S, 2^Q, 1)."""
    return torch.view_as_real(torch.view_as_complex(state.contiguous()) * phases)


def _phases(program: Program, k: int, weights_SW: Tensor) -> Tensor:
    """(S, 2^Q) diagonal of step k, complex128, but for input angles."""
    sums = weights_SW.new_zeros(len(weights_SW), 2**program.qubits, dtype=torch.float64)
    for mask, angle in program.steps[k].phases:
        if angle.angle is None:
            sums[:, mask] -= _weight(angle, weights_SW) / 2
    angle_SX = _walsh(sums)
    return torch.complex(angle_SX.cos(), angle_SX.sin())


def _mask_signs(terms: Sequence[tuple[int, Angle]], state: Tensor) -> Tensor:
    """(2^Q, terms): −1 where an index has an odd parity with a term's mask, else 1."""
    size = state.shape[1]
    columns = [_parities(mask, size, state.device) for mask, _ in terms]
    return torch.stack(columns, -1).to(state.dtype)


def _input_phases(terms: Sequence[tuple[int, Angle]], angles_SNA: Tensor, size: int) -> Tensor:
    """(S, 2^Q, N) diagonal of the terms that are input angles."""
    sums = angles_SNA.new_zeros(len(angles_SNA), size, angles_SNA.shape[1], dtype=torch.float64)
    for mask, angle in terms:
        signs = _parities(mask, size, sums.device).view(1, -1, 1)
        sums -= signs * _angle(angle, angles_SNA).unsqueeze(1) / 2
    return torch.complex(sums.cos(), sums.sin()).to(_COMPLEX[angles_SNA.dtype])


def _parities(mask: int, size: int, device: torch.device) -> Tensor:
    """(size,) float64: −1 where an index has an odd parity with the mask, else 1."""
    signs = torch.ones(1, dtype=torch.float64, device=device)
    for q in range(size.bit_length() - 1):
        signs = torch.cat([signs, -signs if mask >> q & 1 else signs])
    return signs


def _walsh(values_SX: Tensor) -> Tensor:
    """Walsh–Hadamard transform: out[m] = Σ_x (−1)^parity(m & x) values[x]."""
    students, size = values_SX.shape
    half = 1
    while half < size:
        low, high = values_SX.view(students, -1, 2, half).unbind(2)
        values_SX = torch.stack([low + high, low - high], 2).reshape(students, size)
        half *= 2
    return values_SX


def _turns(step: Step, qubits: int, weights_SW: Tensor, dtype: torch.dtype) -> list[Tensor]:
    """One real matrix (S, 2^k, 2^k) for each group of k ≤ GROUP qubits, lowest qubits first."""
    halves = weights_SW.new_zeros(len(weights_SW), qubits, dtype=torch.float64)
    for qubit, angle in step.rotations:
        if angle.angle is None:
            halves[:, qubit] += _weight(angle, weights_SW) / 2
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


def _turn(state: Tensor, step: Step, angles_SNA: Tensor) -> Tensor:
    for qubit, angle in step.rotations:
        if angle.angle is not None:
            state = _turned(state, qubit, _angle(angle, angles_SNA))
    return state


def _halves(state: Tensor, qubit: int) -> tuple[Tensor, Tensor]:
    """Amplitudes where a qubit is 0, and where it is 1: (S, above, below, N, 2) each."""
    low, high = state.view(len(state), -1, 2, 2**qubit, *state.shape[2:]).unbind(2)
    return low, high


def _turned(state: Tensor, qubit: int, by_SN: Tensor) -> Tensor:
    """RY on one qubit, by an angle for each example."""
    low, high = _halves(state, qubit)
    half = (by_SN / 2).view(len(state), 1, 1, -1, 1)
    cos, sin = half.cos().to(state.dtype), half.sin().to(state.dtype)
    turned = torch.stack([cos * low - sin * high, cos * high + sin * low], 2)
    return turned.view(state.shape)


def _slope(adjoint: Tensor, state: Tensor, qubit: int) -> Tensor:
    """Re⟨λ|−iY_q|ψ⟩ of each example: (S, N)."""
    (a, b), (low, high) = _halves(adjoint, qubit), _halves(state, qubit)
    return (b * low - a * high).sum((1, 2, 4))


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


def _source(step: Step, device: torch.device) -> Tensor:
    index = _index_map(step.source, device)
    return index ^ index[step.flip]


def _grouped_observables(program: Program) -> dict[tuple[int, int], list[int]]:
    """The numbers of the observables by what they flip, and whether their power of i is odd."""
    groups: dict[tuple[int, int], list[int]] = {}
    for number, one in enumerate(program.observables):
        groups.setdefault((one.flip, one.power % 2), []).append(number)
    return groups


def _string_signs(program: Program, numbers: Sequence[int], state: Tensor) -> Tensor:
    """(2^Q, strings): the sign of each string's real or imaginary part at each index."""
    columns = []
    for number in numbers:
        _, z, power = program.observables[number]
        sign = 1.0 if power < 2 else -1.0
        columns.append(sign * _parities(z, state.shape[1], state.device))
    return torch.stack(columns, -1).to(state.dtype)


def _measure(program: Program, state: Tensor) -> Tensor:
    """(S, N, M): Σ_x i^power ± conj(ψ[x ^ flip]) ψ[x] of every observable."""
    shape = len(state), state.shape[2], len(program.observables)
    results = state.new_empty(shape)
    index = torch.arange(state.shape[1], device=state.device)
    for (flip, odd), numbers in _grouped_observables(program).items():
        there = state[:, index ^ flip]
        products = (
            there[..., 1] * state[..., 0] - there[..., 0] * state[..., 1]
            if odd
            else (there * state).sum(-1)
        )
        signs = _string_signs(program, numbers, state)
        results[:, :, numbers] = torch.einsum("sxn,xm->snm", products, signs)
    return results


def _adjoint(program: Program, state: Tensor, grads_SNM: Tensor) -> Tensor:
    """λ = Σ_j grad_j P_j |ψ⟩."""
    adjoint = torch.zeros_like(state)
    index = torch.arange(state.shape[1], device=state.device)
    for (flip, odd), numbers in _grouped_observables(program).items():
        signs = _string_signs(program, numbers, state)
        factors = torch.einsum("snm,xm->sxn", grads_SNM[:, :, numbers], signs).unsqueeze(-1)
        turned = torch.stack([-state[..., 1], state[..., 0]], -1) if odd else state
        adjoint += (factors * turned)[:, index ^ flip]
    return adjoint
