"""Expectations from shots: right on average, spread as shots are, each seed's own."""

import pytest
import torch

from qdllm.circuits.circuit import angle_count, weight_count
from qdllm.circuits.spec import CircuitSpec
from qdllm.engine.statevector import expectations
from qdllm.shots import sampled

SHOTS = 4096


def inputs(spec: CircuitSpec, examples: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    angles = torch.randn(2, examples, angle_count(spec), generator=generator, dtype=torch.float64)
    weights = torch.randn(2, weight_count(spec), generator=generator, dtype=torch.float64)
    return 3 * angles, 2 * weights


@pytest.mark.parametrize(
    "spec",
    [
        CircuitSpec(qubits=4, layers=2),
        CircuitSpec(qubits=4, layers=2, observables=["ZIII", "XXII", "IIYZ", "IYIX"]),
        CircuitSpec(qubits=5, layers=2, ansatz="brick", observables="z+all-zz"),
    ],
)
def test_they_miss_by_as_much_as_so_many_shots_do(spec):
    angles, weights = inputs(spec, 100)
    exact = expectations(spec, angles, weights)
    found = sampled(spec, angles, weights, SHOTS, [0, 1])
    spread = ((1 - exact.square()) / SHOTS).sqrt().clamp(min=1e-6)
    apart = (found - exact) / spread
    assert apart.abs().max() < 5
    assert apart.mean().abs() < 0.15
    assert 0.9 < apart.std() < 1.1


def test_every_qubits_bit_is_its_own():
    """One-hot: a circuit of X on one qubit alone, for each of them."""
    text = "OPENQASM 3.0;\ninput float x;\ninput float w;\nqubit[5] q;\n"
    for hot in range(5):
        file = f"{text}rx(x) q[{hot}];\nrx(w) q[{hot}];\n"
        spec = CircuitSpec(file=f"// hot.qasm\n{file}", layers=1)
        found = sampled(spec, torch.full((1, 1, 1), 3.0), torch.full((1, 1), 0.14159265), 64, [0])
        assert found.flatten().tolist() == [-1.0 if q == hot else 1.0 for q in range(5)]


def test_a_students_draws_do_not_depend_on_who_stands_beside_it():
    spec = CircuitSpec(qubits=4, layers=1)
    angles, weights = inputs(spec, 70)
    both = sampled(spec, angles, weights, 128, [5, 6])
    alone = sampled(spec, angles[1:], weights[1:], 128, [6])
    assert torch.equal(both[1:], alone)
    other = sampled(spec, angles[1:], weights[1:], 128, [7])
    assert not torch.equal(alone, other)
