"""Which texts go together into a batch, for whoever trains what reads tokens."""

from collections.abc import Sequence

import numpy as np


def batches(lengths: Sequence[int], size: int, generator: np.random.Generator) -> list[np.ndarray]:
    """One epoch's batches of row numbers: random, but texts of similar length go together.

    Rows are shuffled, sorted by length within pools of 32 batches, cut, and the batches shuffled.
    """
    order = generator.permutation(len(lengths))
    length = np.asarray(lengths)
    cut = []
    for start in range(0, len(order), 32 * size):
        pool = order[start : start + 32 * size]
        pool = pool[np.argsort(length[pool], kind="stable")]
        cut += [pool[at : at + size] for at in range(0, len(pool), size)]
    return [cut[index] for index in generator.permutation(len(cut))]


def scheduled(lr: float, warmup: float, step: int, steps: int) -> float:
    """Learning rate of a step, counted from 0: linear warm-up, then linear decay towards 0."""
    warm = warmup * steps
    if step < warm:
        return lr * (step + 1) / (warm + 1)
    return lr * (steps - step) / (steps - warm)
