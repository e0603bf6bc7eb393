"""The same circuits in MindQuantum: the oracle of the engine's tests, and a second opinion.

Always complex128. MindQuantum is little-endian as we are: its qubit q is bit q of an index.
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import groupby
from typing import Any

import numpy as np
import torch
from mindquantum.core import gates as theirs
from mindquantum.core.circuit import Circuit
from mindquantum.core.operators import Hamiltonian, QubitOperator
from mindquantum.core.parameterresolver import ParameterResolver
from mindquantum.simulator import Simulator
from torch import Tensor

from qdllm.circuits.circuit import gates, observables
from qdllm.circuits.gates import GATES, Angle, Gate, steps
from qdllm.circuits.spec import CircuitSpec
from qdllm.engine.statevector import check
from qdllm.errors import ConfigError


def circuit_of(circuit: Iterable[Gate]) -> Circuit:
    """Our gates as MindQuantum's, in the same order. Parameters are named angle0, … weight0, …"""
    whole = Circuit()
    for encoded, run in groupby(_unmixed(circuit), key=_encoded):
        part = Circuit([_gate(gate) for gate in run])
        whole += part.as_encoder() if encoded else part
    return whole


def _unmixed(circuit: Iterable[Gate]) -> Iterator[Gate]:
    """The same, no gate turning by input angles and weights at once, which MindQuantum has not."""
    for gate in circuit:
        sources = [angle for angle in gate.angles if not angle.constant]
        mixed = len({angle.weight is None for angle in sources}) > 1
        yield from steps(gate) if mixed else (gate,)


def _encoded(gate: Gate) -> bool:
    """Whether it turns by input angles."""
    return any(angle.angle is not None for angle in gate.angles)


def _gate(gate: Gate) -> Any:
    kind = GATES[gate.name]
    name, _, method = kind.mindquantum.partition(".")
    made = getattr(theirs, name)
    if method:
        made = getattr(made, method)()
    if gate.angles:
        made = made(*map(_parameter, gate.angles))
    controls, targets = gate.qubits[: kind.controls], gate.qubits[kind.controls :]
    return made.on(list(targets), list(controls) or None)


def _parameter(angle: Angle) -> Any:
    if angle.constant:
        return angle.offset
    name = f"weight{angle.weight}" if angle.weight is not None else f"angle{angle.angle}"
    return ParameterResolver({name: angle.factor}, angle.offset)


def operator_of(string: str, factor: float = 1.0) -> QubitOperator:
    """A Pauli string whose first letter is qubit 0's."""
    terms = [f"{letter}{q}" for q, letter in enumerate(string) if letter != "I"]
    return QubitOperator(" ".join(terms), factor)


def expectations(spec: CircuitSpec, angles: Tensor, weights: Tensor) -> Tensor:
    """What `qdllm.expectations` gives, simulated example by example. Not differentiable.

    (N, A) with (W,), or (S, N, A) with (S, W); computed in complex128 and returned in the
    precision of `angles`.
    """
    check(spec, angles, weights)
    if not (angles.isfinite().all() and weights.isfinite().all()):
        raise ConfigError("angles and weights hold nan or inf, but every number must be finite")
    if angles.ndim == 3:
        pairs = zip(angles, weights, strict=True)
        return torch.stack([expectations(spec, angles_NA, w) for angles_NA, w in pairs])
    circuit = _circuit(spec)
    simulator = Simulator("mqvector", spec.qubits)
    values = {f"weight{number}": float(value) for number, value in enumerate(weights.detach())}
    strings = observables(spec)
    rows = []
    for angles_A in angles.detach().double().cpu().numpy():
        given = values | {f"angle{number}": value for number, value in enumerate(angles_A)}
        simulator.reset()
        simulator.apply_circuit(circuit, {name: given[name] for name in circuit.params_name})
        state = simulator.get_qs()
        rows.append([_expectation(string, state) for string in strings])
    return torch.tensor(rows).to(angles)


def _expectation(string: str, state: np.ndarray) -> float:
    """⟨ψ|P|ψ⟩."""
    flipped, index = state, np.arange(len(state))
    for q, letter in enumerate(string):
        bit = index >> q & 1
        if letter in "XY":
            flipped = flipped[index ^ 1 << q]
        if letter == "Y":
            flipped = flipped * (1j * (2 * bit - 1))
        elif letter == "Z":
            flipped = flipped * (1 - 2 * bit)
    return float(np.vdot(state, flipped).real)


def jacobians(
    spec: CircuitSpec, angles_NA: Tensor, weights_W: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Expectations (N, M), their derivatives in the angles (N, M, A) and in the weights (N, M, W);
    float64.

    Element [n, i, j] is the derivative of observable i of example n by its j-th angle or weight.
    """
    circuit = _circuit(spec)
    measured = [Hamiltonian(operator_of(string)) for string in observables(spec)]
    simulator = Simulator("mqvector", spec.qubits)
    run = simulator.get_expectation_with_grad(measured, circuit, parallel_worker=1)
    angles, weights = (
        [int(name.removeprefix(kind)) for name in names]
        for kind, names in (
            ("angle", circuit.encoder_params_name),
            ("weight", circuit.ansatz_params_name),
        )
    )
    values, in_angles, in_weights = run(
        angles_NA.double().numpy()[:, angles], weights_W.double().numpy()[weights]
    )
    parts = (
        values.real,
        in_angles.real[:, :, np.argsort(angles)],
        in_weights.real[:, :, np.argsort(weights)],
    )
    values_NM, angle_NMA, weight_NMW = (torch.from_numpy(np.ascontiguousarray(p)) for p in parts)
    return values_NM, angle_NMA, weight_NMW


@lru_cache
def _circuit(spec: CircuitSpec) -> Circuit:
    return circuit_of(gates(spec))
