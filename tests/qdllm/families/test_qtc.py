"""BERT-QTC: its circuit against MindQuantum and by hand, and its windows one by one."""

import numpy as np
import pytest
import torch

from qdllm import mindquantum
from qdllm.circuits.circuit import gates, weight_count
from qdllm.engine.statevector import expectations
from qdllm.families import family
from qdllm.families.qtc import Convolution, KernelSpec, QtcSpec
from qdllm.fit import Examples

FEATURES, CLASSES = 9, 3


@pytest.mark.parametrize("trained", [False, True])
def test_its_rates_follow_the_schedule(trained):
    def moved(schedule: str) -> torch.Tensor:
        spec = QtcSpec.parse(
            {
                "kernel": {"trained": trained},
                "fit": {"schedule": schedule, "epochs": 3, "batch_size": 8},
                "seeds": [0],
            }
        )
        generator = torch.Generator().manual_seed(0)
        features_NH = torch.randn(24, FEATURES, generator=generator)
        split = Examples(features_NH, None, torch.arange(24) % CLASSES)
        return family("qtc").train(spec, split, split, lambda *_: None).parameters_SP

    assert not torch.equal(moved("constant"), moved("cosine"))


def drawn(spec: QtcSpec, rows: int = 2) -> torch.Tensor:
    size = family("qtc").parameters(spec, FEATURES, CLASSES)
    return torch.randn(rows, size, generator=torch.Generator().manual_seed(0))


def test_its_layer_is_u3_on_every_qubit_and_a_ring():
    circuit = KernelSpec(qubits=3, layers=1).circuit
    named = [(gate.name, gate.qubits) for gate in gates(circuit)]
    turned = [(name, (q,)) for q in range(3) for name in ("rz", "ry", "rz")]
    ring = [("cx", (0, 1)), ("cx", (1, 2)), ("cx", (2, 0))]
    assert named == [("rx", (0,)), ("rx", (1,)), ("rx", (2,)), *turned, *ring]
    assert weight_count(KernelSpec().circuit) == 30


@pytest.mark.parametrize("layers", [1, 2])
def test_its_expectations_are_mindquantums(layers):
    circuit = KernelSpec(qubits=4, layers=layers).circuit
    generator = torch.Generator().manual_seed(layers)
    angles = torch.randn(2, 5, 4, generator=generator)
    weights = torch.randn(2, weight_count(circuit), generator=generator)
    ours = expectations(circuit, angles, weights)
    np.testing.assert_allclose(ours, mindquantum.expectations(circuit, angles, weights), atol=2e-6)


def test_windows_slide_along_the_features_and_keep_their_largest_expectation():
    spec = QtcSpec(kernel=KernelSpec(qubits=3, layers=1, pad=2, scale=0.7))
    parameters_SP = drawn(spec)
    features_NH = torch.randn(4, FEATURES, generator=torch.Generator().manual_seed(1))
    model = Convolution(spec, FEATURES, CLASSES, parameters_SP)
    logits_SNC = model.predict(features_NH).numpy()
    circuit, weights = spec.kernel.circuit, 9
    padded = np.pad(0.7 * features_NH.numpy(), ((0, 0), (2, 2)))
    count = FEATURES + 2 * 2 - 3 + 1
    assert padded.shape[1] - 3 + 1 == count
    for row, values_P in enumerate(parameters_SP):
        pooled = np.empty((4, count))
        for at in range(count):
            window = torch.tensor(padded[None, :, at : at + 3], dtype=torch.float32)
            found = mindquantum.expectations(circuit, window, values_P[None, :weights])
            pooled[:, at] = found[0].max(-1).values
        rest = values_P[weights:].numpy()
        head = rest[: count * CLASSES].reshape(CLASSES, count)
        expected = pooled @ head.T + rest[count * CLASSES :]
        np.testing.assert_allclose(logits_SNC[row], expected, atol=1e-5)


@pytest.mark.parametrize("trained", [False, True])
def test_the_circuits_weights_stay_random_or_are_trained(trained):
    spec = QtcSpec.parse(
        {
            "kernel": {"qubits": 3, "layers": 1, "trained": trained},
            "fit": {"epochs": 1, "batch_size": 8, "lr": 0.05},
            "seeds": [0, 1],
        }
    )
    labels_N = torch.arange(16) % CLASSES
    features_NH = torch.randn(16, FEATURES, generator=torch.Generator().manual_seed(2))
    split = Examples(features_NH, None, labels_N)
    found = family("qtc").train(spec, split, split, lambda *_: None).parameters_SP
    for row, seed in enumerate(spec.seeds):
        before = torch.rand(9, generator=torch.Generator().manual_seed(seed)) * 2 * torch.pi
        # The last layer's second RZ reaches no expectation: of nine weights three never move.
        assert int((found[row, :9] != before).sum()) == (6 if trained else 0)


@pytest.mark.parametrize(("features", "count"), [(768, 30 + 768 * 2 + 2), (384, 30 + 384 * 2 + 2)])
def test_it_has_two_windows_more_than_the_open_rebuild(features, count):
    assert family("qtc").parameters(QtcSpec(), features, 2) == count
