"""The engine against MindQuantum in complex128: every value and every gradient."""

import pytest
import torch

import qdllm
from qdllm import mindquantum
from qdllm.circuits.circuit import angle_count, observable_count
from qdllm.circuits.layers import ANSATZE, ENCODINGS
from qdllm.errors import ConfigError

SIZES = [(2, 1), (2, 4), (3, 11), (4, 2), (5, 7), (6, 3), (7, 1), (8, 5), (9, 2), (10, 3), (11, 1)]
RELATIVE = {torch.float32: 1e-5, torch.float64: 1e-10}


def distance(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """Largest difference over the largest entry."""
    return ((ours.double() - theirs).abs().max() / theirs.abs().max()).item()


def compare(spec: qdllm.CircuitSpec, examples: int, spread: float = 3.2) -> None:
    generator = torch.Generator().manual_seed(spec.qubits * 100 + spec.layers)

    def draw(*shape: int) -> torch.Tensor:
        return (torch.rand(shape, generator=generator, dtype=torch.float64) - 0.5) * 2 * spread

    # What float32 can hold, so that both precisions start from the same numbers.
    angles, weights, grads = (
        draw(*shape).float().double()
        for shape in (
            (examples, angle_count(spec)),
            (qdllm.weight_count(spec),),
            (examples, observable_count(spec)),
        )
    )
    values, in_angles, in_weights = mindquantum.jacobians(spec, angles, weights)
    for dtype, limit in RELATIVE.items():
        a, w = angles.to(dtype).requires_grad_(), weights.to(dtype).requires_grad_()
        result = qdllm.expectations(spec, a, w)
        assert result.dtype == dtype
        result.backward(grads.to(dtype))
        assert distance(result.detach(), values) < limit
        assert distance(a.grad, torch.einsum("ni,nij->nj", grads, in_angles)) < limit
        assert distance(w.grad, torch.einsum("ni,niw->w", grads, in_weights)) < limit


@pytest.mark.parametrize("ansatz", ["published", "textbook"])
@pytest.mark.parametrize(("qubits", "layers"), SIZES)
def test_values_and_every_gradient_agree(ansatz, qubits, layers):
    spec = qdllm.CircuitSpec(ansatz=ansatz, qubits=qubits, layers=layers)
    compare(spec, examples=9 if qubits < 8 else 2)


@pytest.mark.parametrize("ansatz", ["published", "textbook"])
def test_the_papers_student_agrees(ansatz):
    compare(qdllm.CircuitSpec(ansatz=ansatz, qubits=11, layers=11), examples=3)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("ansatz", ANSATZE)
def test_every_ansatz_and_encoding_agrees(ansatz, encoding):
    settings = {"ansatz": ansatz, "encoding": encoding, "qubits": 5, "layers": 3}
    compare(qdllm.CircuitSpec.parse(settings | {"observables": "z+all-zz"}), examples=9)
    compare(qdllm.CircuitSpec.parse(settings | {"observables": ["XIIYZ", "IIIIY"]}), examples=2)


@pytest.mark.parametrize("spread", [0.05, 20.0])
def test_small_and_large_angles_agree(spread):
    compare(qdllm.CircuitSpec(qubits=6, layers=4), examples=4, spread=spread)


def test_evaluation_takes_what_the_engine_takes():
    spec = qdllm.CircuitSpec(ansatz="textbook", qubits=5, layers=3)
    generator = torch.Generator().manual_seed(0)
    angles_SNQ = torch.randn(2, 3, 5, generator=generator)
    weights_SW = torch.randn(2, qdllm.weight_count(spec), generator=generator)
    ours = qdllm.expectations(spec, angles_SNQ, weights_SW)
    theirs = mindquantum.expectations(spec, angles_SNQ, weights_SW)
    assert theirs.dtype == ours.dtype
    torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-6)
    one = mindquantum.expectations(spec, angles_SNQ[1], weights_SW[1])
    assert torch.equal(one, theirs[1])
    with pytest.raises(ConfigError, match="takes"):
        mindquantum.expectations(spec, angles_SNQ[..., :4], weights_SW)
    angles_SNQ[1, 2, 0] = float("nan")
    with pytest.raises(ConfigError, match="must be finite"):
        mindquantum.expectations(spec, angles_SNQ, weights_SW)
