"""The same circuits in MindQuantum: the oracle of the engine's tests, and a second opinion.

Always complex128. MindQuantum is little-endian as we are: its qubit q is bit q of an index.
"""

from collections.abc import Iterable
from functools import lru_cache

import numpy as np
import torch
from mindquantum.core.circuit import Circuit
from mindquantum.core.gates import RX, RY, RZ, Rzz, X
from mindquantum.core.operators import Hamiltonian, QubitOperator
from mindquantum.simulator import Simulator
from torch import Tensor

from qdllm.circuits.gates import Gate, gates
from qdllm.engine.statevector import check
from qdllm.errors import ConfigError
from qdllm.specs import CircuitSpec

ROTATIONS = {"rx": RX, "ry": RY, "rz": RZ, "rzz": Rzz}


def circuit_of(circuit: Iterable[Gate]) -> Circuit:
    """Our gates as MindQuantum's, in the same order. Parameters are named angle0, … weight0, …"""
    encoder, ansatz = Circuit(), Circuit()
    for gate in circuit:
        if gate.angle is not None:
            encoder += ROTATIONS[gate.name](f"angle{gate.angle}").on(list(gate.qubits))
        elif gate.weight is not None:
            ansatz += ROTATIONS[gate.name](f"weight{gate.weight}").on(list(gate.qubits))
        else:
            control, target = gate.qubits
            ansatz += X.on(target, control)
    return encoder.as_encoder() + ansatz


def expectations(spec: CircuitSpec, angles: Tensor, weights: Tensor) -> Tensor:
    """What `qdllm.expectations` gives, simulated example by example. Not differentiable.

    (N, Q) with (W,), or (S, N, Q) with (S, W); computed in complex128 and returned in the
    precision of `angles`.
    """
    check(spec, angles, weights)
    if not (angles.isfinite().all() and weights.isfinite().all()):
        raise ConfigError("angles and weights hold nan or inf, but every number must be finite")
    if angles.ndim == 3:
        pairs = zip(angles, weights, strict=True)
        return torch.stack([expectations(spec, angles_NQ, w) for angles_NQ, w in pairs])
    circuit = _circuit(spec)
    simulator = Simulator("mqvector", spec.qubits)
    order = _numbers(circuit.ansatz_params_name)
    ordered_W = weights.detach().double().cpu().numpy()[order]
    index = np.arange(2**spec.qubits)
    signs = 1 - 2 * (index[:, None] >> np.arange(spec.qubits) & 1)
    rows = []
    for angles_Q in angles.detach().double().cpu().numpy():
        simulator.reset()
        simulator.apply_circuit(circuit, np.concatenate([angles_Q, ordered_W]))
        rows.append(np.abs(simulator.get_qs()) ** 2 @ signs)
    return torch.from_numpy(np.stack(rows)).to(angles)


def jacobians(
    spec: CircuitSpec, angles_NQ: Tensor, weights_W: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """⟨Z⟩ (N, Q), its derivatives in the angles (N, Q, Q) and in the weights (N, Q, W); float64.

    Element [n, i, j] is ∂⟨Z_i⟩ of example n by its j-th angle or weight.
    """
    circuit = _circuit(spec)
    observables = [Hamiltonian(QubitOperator(f"Z{q}")) for q in range(spec.qubits)]
    simulator = Simulator("mqvector", spec.qubits)
    run = simulator.get_expectation_with_grad(observables, circuit, parallel_worker=1)
    order = _numbers(circuit.ansatz_params_name)
    values, in_angles, in_weights = run(
        angles_NQ.double().numpy(), weights_W.double().numpy()[order]
    )
    inverse = np.argsort(order)
    parts = (values.real, in_angles.real, in_weights.real[:, :, inverse])
    values_NQ, angle_NQQ, weight_NQW = (torch.from_numpy(np.ascontiguousarray(p)) for p in parts)
    return values_NQ, angle_NQQ, weight_NQW


@lru_cache
def _circuit(spec: CircuitSpec) -> Circuit:
    return circuit_of(gates(spec))


def _numbers(names: list[str]) -> list[int]:
    """The weights that MindQuantum's parameters are: it lists them as the gates come."""
    return [int(name.removeprefix("weight")) for name in names]
