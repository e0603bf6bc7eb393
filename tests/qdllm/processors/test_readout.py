"""Bits in their order, errors of reading and their inverse, lines."""

import numpy as np
import pytest

from qdllm.errors import ConfigError
from qdllm.processors.readout import Reading, counted, fitted, parities, read

MASKS = (0b001, 0b010, 0b100, 0b011, 0b111)


@pytest.mark.parametrize("bits", [3, 11])
def test_every_qubits_bit_in_both_orders(bits):
    """One-hot strings: the bit that is 1, and it alone, reads −1."""
    masks = [1 << q for q in range(bits)]
    for hot in range(bits):
        expected = [-1.0 if q == hot else 1.0 for q in range(bits)]
        key = "".join("1" if q == hot else "0" for q in range(bits))
        assert counted({key: 7}, "c0_leftmost", masks, bits).tolist() == expected
        assert counted({key[::-1]: 7}, "c0_rightmost", masks, bits).tolist() == expected


def test_counts_are_divided_by_what_came_back():
    assert counted({"01": 3, "00": 1}, "c0_rightmost", [1, 2, 3], 2).tolist() == [-0.5, 1.0, -0.5]


@pytest.mark.parametrize(
    ("counts", "order", "told"),
    [
        ({"01": 1}, None, "unknown order, None"),
        ({"01": 1}, "msb_first", "unknown order, 'msb_first'"),
        ({}, "c0_rightmost", "without a single bit string"),
        ({"01": 0}, "c0_rightmost", "without a single bit string"),
        ({"010": 1}, "c0_rightmost", "'010' was counted, but bit strings of 2 bits"),
        ({"0x": 1}, "c0_rightmost", "'0x' was counted"),
        ({"01": -1}, "c0_rightmost", "'01' was counted"),
    ],
)
def test_counts_that_cannot_be_read(counts, order, told):
    with pytest.raises(ConfigError, match=told):
        counted(counts, order, [1], 2)


def test_reading_is_what_flipping_each_bit_so_often_does():
    """Against the sum over all bit strings and all flips."""
    generator = np.random.default_rng(0)
    p_X = generator.dirichlet(np.ones(8))
    zero, one = np.array([0.02, 0.05, 0.1]), np.array([0.1, 0.2, 0.03])
    seen = np.zeros(8)
    for x in range(8):
        for y in range(8):
            flips = [
                (one if x >> q & 1 else zero)[q]
                if (x ^ y) >> q & 1
                else 1 - (one if x >> q & 1 else zero)[q]
                for q in range(3)
            ]
            seen[y] += p_X[x] * np.prod(flips)
    every = parities(MASKS)
    signs = np.array([[1 - 2 * ((x & m).bit_count() & 1) for m in every] for x in range(8)])
    how = Reading.of(zero, one)
    found = read(p_X @ signs, every, MASKS, how)
    place = [every.index(mask) for mask in MASKS]
    assert np.allclose(found, (seen @ signs)[place], atol=1e-12)
    assert np.allclose(read(seen @ signs, every, MASKS, how.inverse), (p_X @ signs)[place])


def test_a_qubit_that_is_read_by_chance_cannot_be_inverted():
    with pytest.raises(ConfigError, match="qubit 1 is read right hardly more often than by chance"):
        _ = Reading.of(np.array([0.1, 0.49]), np.array([0.1, 0.49])).inverse
    with pytest.raises(ConfigError, match="an observable of 5 qubits"):
        parities([0b11111])


def test_lines_bring_back_what_was_damped_and_leave_what_never_varies():
    generator = np.random.default_rng(0)
    exact = generator.uniform(-1, 1, size=(200, 3))
    exact[:, 2] = 0.4
    noisy = exact * [0.3, 0.8, 0.5] + [0.1, -0.2, 0.0]
    assert np.allclose(fitted(noisy, exact)(noisy), exact)
