"""Training under a chip's noise: the same circuit without any, and a damped one with it."""

import pytest
import torch
from line_chip import inputs, line, turned_bit

from qdllm.circuits.spec import CircuitSpec
from qdllm.engine.statevector import expectations
from qdllm.errors import ConfigError
from qdllm.families.quantum import StudentSpec
from qdllm.processors import chips, training
from qdllm.processors.training import Noisy
from qdllm.spec import fingerprint

SPECS = [
    CircuitSpec(qubits=4, layers=2, noise="baihua"),
    CircuitSpec(qubits=4, layers=1, ansatz="brick", encoding="reuploading", noise="baihua"),
    CircuitSpec(qubits=3, layers=1, observables=["XXI", "ZIZ", "IYI"], noise="baihua"),
]


def given(spec: CircuitSpec) -> tuple[torch.Tensor, torch.Tensor]:
    angles_NA, weights_W = inputs(spec, 6)
    both = torch.stack([angles_NA, angles_NA.flip(0)]), torch.stack([weights_W, -weights_W])
    return tuple(each.float().requires_grad_() for each in both)


@pytest.mark.parametrize("spec", SPECS)
def test_on_a_perfect_chip_values_and_gradients_are_the_engines(spec, monkeypatch):
    monkeypatch.setattr(chips, "calibration", lambda name: line(6, worse=0))
    noisy = Noisy(spec)
    for simulate in (noisy, expectations):
        angles, weights = given(spec)
        z_SNM = simulate(spec, angles, weights)
        z_SNM.pow(3).sum().backward()
        if simulate is noisy:
            found = z_SNM, angles.grad, weights.grad
    for one, other in zip(found, (z_SNM, angles.grad, weights.grad), strict=True):
        assert (one - other).abs().max() < 2e-5


def test_a_branch_may_turn_by_no_text(tmp_path, monkeypatch):
    spec = CircuitSpec.parse({"file": turned_bit(tmp_path), "noise": "baihua"})
    test_on_a_perfect_chip_values_and_gradients_are_the_engines(spec, monkeypatch)


def test_with_noise_it_is_damped_in_training_and_exact_in_prediction():
    spec = SPECS[0]
    angles, weights = given(spec)
    noisy, exact = Noisy(spec), expectations(spec, angles, weights)
    mean = sum(noisy(spec, angles, weights) for _ in range(64)) / 64
    damping = ((mean * exact).sum() / exact.square().sum()).item()
    assert 0.5 < damping < 0.99
    assert not torch.equal(noisy(spec, angles, weights), noisy(spec, angles, weights))
    with torch.no_grad():
        assert torch.equal(noisy(spec, angles, weights), expectations(spec, angles, weights))


def test_a_students_numbers_do_not_depend_on_who_stands_beside_it():
    spec = SPECS[0]
    angles, weights = given(spec)
    both = Noisy(spec)(spec, angles, weights)
    alone = Noisy(spec)(spec, angles[1:], weights[1:])
    assert torch.equal(both[1:], alone)
    assert training.POOL % chips.TRAINED_ON == 0


def test_noise_is_part_of_a_trial_that_has_it_alone():
    plain = StudentSpec.parse({"circuit": {"layers": 1}})
    assert fingerprint(plain) == fingerprint(
        StudentSpec.parse({"circuit": {"layers": 1, "noise": ""}})
    )
    assert fingerprint(plain) != fingerprint(
        StudentSpec.parse({"circuit": {"layers": 1, "noise": "baihua"}})
    )
    with pytest.raises(
        ConfigError, match="'baihau' is no chip that is known by name; did you mean"
    ):
        StudentSpec.parse({"circuit": {"noise": "baihau"}})
