"""What a chip is given, read by Qiskit, against the circuit as it was."""

import numpy as np
import pytest
import torch
from line_chip import inputs, line
from qiskit import qasm2
from qiskit.quantum_info import Statevector

from qdllm.circuits.circuit import circuit
from qdllm.circuits.spec import CircuitSpec
from qdllm.engine.statevector import expectations
from qdllm.processors.chains import formed
from qdllm.processors.layout import placed
from qdllm.processors.native import flipped, native


def read(text: str, bits: int) -> np.ndarray:
    """⟨Z⟩ of every classical bit."""
    made = qasm2.loads(text)
    measured = [made.find_bit(one.qubits[0]).index for one in made.data if one.name == "measure"]
    assert [made.find_bit(one.clbits[0]).index for one in made.data if one.name == "measure"] == (
        list(range(bits))
    )
    made.remove_final_measurements()
    p_X = Statevector(made).probabilities()
    index = np.arange(len(p_X))
    return np.array([float(p_X @ (1 - 2 * (index >> q & 1))) for q in measured])


@pytest.mark.parametrize("ansatz", ["published", "brick", "strongly-entangling", "all-to-all"])
@pytest.mark.parametrize("encoding", ["rx", "reuploading"])
def test_native_circuits_are_the_same_on_the_chips_own_qubits(ansatz, encoding):
    spec, chip = CircuitSpec(qubits=5, layers=2, ansatz=ansatz, encoding=encoding), line(7)
    angles_NA, weights_W = inputs(spec)
    exact = expectations(spec, angles_NA, weights_W).numpy()
    form = formed(circuit(spec), "two-chains")
    shares = form.shares(angles_NA.numpy(), weights_W.numpy())
    total = np.zeros_like(exact)
    for branch, each in enumerate(form.branches):
        made = native(placed(each, chip), weights_W.tolist(), 7).template
        pulses = sum(line.startswith("ry") for line in made.text.splitlines())
        pairs = sum(line.startswith("cz") for line in made.text.splitlines())
        assert pulses <= 2 * pairs + 2 * each.qubits + 5
        for n, point in enumerate(made.points(angles_NA.numpy())):
            values = iter(read(made.bound(point), each.qubits))
            for q in range(5):
                left = form.left(1 << q)
                value = next(values) if left else 1.0
                total[n, q] += shares[branch, n] * value * form.signs(1 << q)[branch]
    assert np.abs(total - exact).max() < 1e-10


def test_a_circuit_of_x_on_one_qubit_says_whose_bit_is_whose():
    measured = (5, 2, 3)
    for bit in range(3):
        text = flipped(measured, [bit], 7).template.text
        assert read(text, 3).tolist() == pytest.approx(
            [-1.0 if b == bit else 1.0 for b in range(3)]
        )
    assert torch.tensor(read(flipped(measured, [], 7).template.text, 3)).tolist() == [1.0, 1.0, 1.0]
