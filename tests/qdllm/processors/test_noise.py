"""Frames on the engine against Aer's density matrix, which knows nothing of them."""

import numpy as np
import pytest
import torch
from line_chip import inputs, line, turned_bit
from qiskit import QuantumCircuit
from qiskit.quantum_info import SparsePauliOp
from qiskit_aer import AerSimulator
from qiskit_aer.noise import depolarizing_error, pauli_error, thermal_relaxation_error

from qdllm.circuits.circuit import circuit
from qdllm.circuits.spec import CircuitSpec
from qdllm.engine.statevector import expectations
from qdllm.processors.calibration import Calibration
from qdllm.processors.chains import formed
from qdllm.processors.layout import Placed, placed
from qdllm.processors.noise import trajectories
from qdllm.processors.schedule import scheduled

TRAJECTORIES = 8192


def by_density_matrix(
    made: Placed, chip: Calibration, masks: list[int], angles_A, weights_W, twirled: bool
) -> np.ndarray:
    """Expectations by Aer, its errors placed where the schedule has them."""
    events, _ = scheduled(made, chip)
    rotations = [gate.angles[0] for gate in made.circuit.gates if gate.angles]
    usable, qc = chip.usable(), QuantumCircuit(len(made.chip))
    for event in events:
        on = list(event.wires)
        qubit = chip.qubit(made.chip[on[0]])
        if event.what in ("h", "cz"):
            getattr(qc, event.what)(*on)
        elif event.what == "idle":
            t = event.ns / 1000
            if twirled:
                x = (1 - np.exp(-t / qubit.t1_us)) / 4
                z = (1 - np.exp(-t / qubit.t2_us)) / 2 - x
                error = pauli_error([("X", x), ("Y", x), ("Z", z), ("I", 1 - 2 * x - z)])
            else:
                error = thermal_relaxation_error(qubit.t1_us, qubit.t2_us, t)
            qc.append(error.to_instruction(), on)
        elif event.what == "pulse-error":
            qc.append(depolarizing_error(2 * (1 - qubit.fidelity), 1).to_instruction(), on)
        elif event.what == "cz-error":
            infidelity = 1 - usable[made.chip[on[0]], made.chip[on[1]]]
            qc.append(depolarizing_error(4 / 3 * infidelity, 2).to_instruction(), on)
        elif event.rotation < 0:
            qc.x(on[0])
        else:
            angle = rotations[event.rotation]
            source = (
                angles_A[angle.angle]
                if angle.angle is not None
                else 0.0
                if angle.weight is None
                else weights_W[angle.weight]
            )
            turn = {"ry": qc.ry, "rz": qc.rz, "zz": qc.rzz}[event.what]
            turn(float(source) * angle.factor + angle.offset, *on)
    qc.save_density_matrix()
    simulator = AerSimulator(method="density_matrix")
    rho = simulator.run(qc).result().data()["density_matrix"]
    values = []
    for mask in masks:
        letters = ["I"] * len(made.chip)
        for q, wire in enumerate(made.ends):
            if mask >> q & 1:
                letters[wire] = "Z"
        values.append(rho.expectation_value(SparsePauliOp("".join(reversed(letters)))).real)
    return np.array(values)


@pytest.mark.parametrize(
    "spec",
    [
        CircuitSpec(qubits=4, layers=2),
        CircuitSpec(qubits=4, layers=1, ansatz="all-to-all"),  # swaps
        CircuitSpec(qubits=4, layers=2, ansatz="brick", encoding="reuploading"),
    ],
)
def test_frames_agree_with_the_density_matrix_within_four_sigma(spec):
    chip, (angles_NA, weights_W) = line(5), inputs(spec)
    made, masks = placed(circuit(spec), chip), [1, 2, 4, 8, 0b1010]
    found = trajectories(
        made, masks, chip, angles_NA, weights_W, TRAJECTORIES, np.random.default_rng(0)
    ).double()
    mean, error = found.mean(0), found.std(0) / TRAJECTORIES**0.5
    for n, angles_A in enumerate(angles_NA):
        expected = by_density_matrix(made, chip, masks, angles_A, weights_W, twirled=True)
        apart = (mean[n] - torch.from_numpy(expected)).abs()
        assert (apart < 4 * error[n] + 1e-6).all(), apart / error[n]
        assert (error[n] > 0).any()
        # Real relaxation also drifts towards |0⟩, which errors that are Pauli operators do not.
        relaxed = by_density_matrix(made, chip, masks, angles_A, weights_W, twirled=False)
        assert np.abs(relaxed - expected).max() < 0.08


def test_a_branch_may_turn_by_no_text(tmp_path):
    """Where all that texts turn is the qubit that is left out."""
    spec = CircuitSpec.parse({"file": turned_bit(tmp_path)})
    angles_NA, weights_W = inputs(spec, 5)
    made = formed(circuit(spec), "two-chains")
    assert made.bit == 2
    exact = expectations(spec, angles_NA, weights_W)
    shares = torch.from_numpy(made.shares(angles_NA.numpy(), weights_W.numpy()))
    total = torch.zeros(5, dtype=torch.float64)
    for branch, each in enumerate(made.branches):
        laid, chip = placed(each, line(4, worse=0)), line(4, worse=0)
        found = trajectories(laid, [1], chip, angles_NA, weights_W, 2, np.random.default_rng(0))
        total += shares[branch] * found[0, :, 0].double()
    assert (total - exact[:, 0]).abs().max() < 2e-6


@pytest.mark.parametrize("ansatz", ["published", "textbook", "strongly-entangling", "all-to-all"])
@pytest.mark.parametrize("form", ["two-chains", "as-is"])
def test_without_errors_a_laid_out_circuit_is_what_it_was(ansatz, form):
    spec = CircuitSpec(qubits=5, layers=2, ansatz=ansatz)
    angles_NA, weights_W = inputs(spec, 7)
    exact, made = expectations(spec, angles_NA, weights_W), formed(circuit(spec), form)
    shares = torch.from_numpy(made.shares(angles_NA.numpy(), weights_W.numpy()))
    total = torch.zeros_like(exact)
    for branch, each in enumerate(made.branches):
        laid, chip = placed(each, line(6, worse=0)), line(6, worse=0)
        left = [made.left(1 << q) for q in range(5)]
        known = [mask for mask in left if mask]
        found = trajectories(laid, known, chip, angles_NA, weights_W, 2, np.random.default_rng(0))[
            0
        ].double()
        columns = iter(found.T)
        for q, mask in enumerate(left):
            value = next(columns) if mask else torch.ones(7)
            total[:, q] += shares[branch] * value * made.signs(1 << q)[branch]
    assert (total - exact).abs().max() < 2e-6
