"""Two chains, where circuits go on a chip, and what they cost there."""

import math

import pytest
import torch
from dense import dense
from line_chip import line

from qdllm.circuits.circuit import angle_count, circuit, weight_count
from qdllm.circuits.spec import CircuitSpec
from qdllm.errors import ConfigError
from qdllm.processors import chips
from qdllm.processors.calibration import Calibration
from qdllm.processors.chains import formed
from qdllm.processors.layout import best_placed, cost, placed, primitives
from qdllm.processors.readout import measurable
from qdllm.processors.schedule import scheduled
from qdllm.processors.simulated import told

BAIHUA = chips.calibration("baihua")


@pytest.mark.parametrize("layers", [1, 2])
def test_two_chains_are_the_ring_to_twelve_digits(layers):
    """By dense matrices, on seven qubits; parities with the qubit that is left out among them."""
    spec, generator = CircuitSpec(qubits=7, layers=layers), torch.Generator().manual_seed(0)
    angles_NA = torch.randn(3, angle_count(spec), generator=generator, dtype=torch.float64) * 2
    weights_W = torch.randn(weight_count(spec), generator=generator, dtype=torch.float64) * 2
    strings = [*("I" * q + "Z" + "I" * (6 - q) for q in range(7)), "IIZIIIZ", "ZIIIIIZ"]
    exact = dense(circuit(spec).gates, 7, strings, angles_NA, weights_W)
    made = formed(circuit(spec), "two-chains")
    assert made.bit == 6
    assert [each.qubits for each in made.branches] == [6, 6]
    shares = torch.from_numpy(made.shares(angles_NA.numpy(), weights_W.numpy()))
    assert torch.allclose(shares.sum(0), torch.ones(3, dtype=torch.float64))
    total = torch.zeros_like(exact)
    for branch, each in enumerate(made.branches):
        for column, string in enumerate(strings):
            mask = sum(1 << q for q, letter in enumerate(string) if letter == "Z")
            left = made.left(mask)
            short = "".join("IZ"[left >> q & 1] for q in range(6))
            value = (
                dense(each.gates, 6, [short], angles_NA, weights_W)[:, 0] if left else torch.ones(3)
            )
            total[:, column] += shares[branch] * value * made.signs(mask)[branch]
    assert (total - exact).abs().max() < 1e-12


@pytest.mark.parametrize("ansatz", ["textbook", "brick", "strongly-entangling", "all-to-all"])
def test_a_circuit_without_such_a_qubit_stays_as_it_is(ansatz):
    made = circuit(CircuitSpec(qubits=5, layers=2, ansatz=ansatz))
    assert formed(made, "two-chains").branches == (made,)
    ring = circuit(CircuitSpec(qubits=5, layers=2))
    assert formed(ring, "as-is").branches == (ring,)


def test_a_qubit_that_is_turned_twice_is_no_bit():
    """Loaded once more before the second layer, it interferes with itself."""
    again = circuit(CircuitSpec(qubits=5, layers=2, encoding="reuploading"))
    assert formed(again, "two-chains").bit is None


@pytest.mark.parametrize(("layers", "ring", "chains"), [(1, 35, 32), (2, 70, 64), (4, 140, 128)])
def test_the_papers_circuit_as_two_chains_needs_no_swap(layers, ring, chains):
    made = circuit(CircuitSpec(layers=layers))
    assert sum(map(cost, primitives(made))) == ring
    for branch in formed(made, "two-chains").branches:
        laid = placed(branch, BAIHUA)
        assert sum(map(cost, laid.circuit.gates)) == chains
        assert len(laid.chip) == 10
    costs = told(CircuitSpec(layers=layers), "two-chains", BAIHUA)
    assert costs["two-chains"].cz == chains < costs["as-is"].cz
    assert costs["two-chains"].fidelity > costs["as-is"].fidelity
    assert costs["two-chains"].duration_us < costs["as-is"].duration_us


@pytest.mark.parametrize("ansatz", ["published", "textbook", "strongly-entangling", "all-to-all"])
def test_all_gates_lie_on_couplers_that_can_be_used(ansatz):
    laid = best_placed(circuit(CircuitSpec(layers=1, ansatz=ansatz)), BAIHUA)
    usable = BAIHUA.usable()
    assert len(set(laid.chip)) == len(laid.chip)
    assert len(set(laid.ends)) == 11
    for gate in laid.circuit.gates:
        if len(gate.qubits) == 2:
            assert tuple(laid.chip[wire] for wire in gate.qubits) in usable
    events, told = scheduled(laid, BAIHUA)
    assert told.cz == sum(event.what in ("cz", "zz") for event in events)
    assert (
        0
        < told.fidelity
        < math.prod(
            usable[tuple(laid.chip[q] for q in event.wires)]
            for event in events
            if event.what in ("cz", "zz")
        )
    )


def test_a_chip_with_room_for_two_chains_alone_tells_what_those_cost():
    """Else what a paid run has measured could not be told in the end."""
    spec = CircuitSpec(qubits=5, layers=1)
    assert told(spec, "two-chains", line(4)).keys() == {"two-chains"}
    with pytest.raises(ConfigError, match="has no 5 qubits"):
        told(spec, "as-is", line(4))


def test_an_island_that_is_too_small_hides_no_larger_one():
    """Ten qubits, each beside all others, can be filled in more ways than are tried."""
    size, plain = 10, line(22).model_dump()
    couplers = [(a, b) for a in range(size) for b in range(a)]
    couplers += [(q, q + 1) for q in range(size, 21)]
    chip = Calibration.parse(
        plain | {"couplers": [{"qubits": list(pair), "fidelity": 0.98} for pair in couplers]}
    )
    laid = placed(circuit(CircuitSpec(layers=1)), chip)
    assert min(laid.chip) >= size


def test_what_no_device_can_tell_is_refused_before_it_is_trained():
    measurable(CircuitSpec(qubits=6, observables=["ZZZZII"]), "as-is")
    with pytest.raises(ConfigError, match="an observable of 5 qubits was given, but on a device"):
        measurable(CircuitSpec(qubits=6, observables=["ZZZZZI"]), "as-is")


def test_a_chip_that_is_too_small_is_refused():
    few = BAIHUA.model_copy(
        update={"couplers": tuple(one for one in BAIHUA.couplers if max(one.qubits) < 8)}
    )
    with pytest.raises(ConfigError, match="has no 11 qubits that can be used together: the most"):
        placed(circuit(CircuitSpec(layers=1, ansatz="textbook")), few)
