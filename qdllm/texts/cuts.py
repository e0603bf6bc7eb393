"""Cutting texts into train, validation and test, or keeping a source's own splits."""

from collections.abc import Sequence

import numpy as np

from qdllm.errors import ConfigError
from qdllm.messages import some
from qdllm.specs import SHARES, TaskSpec
from qdllm.texts.layouts import FEWEST
from qdllm.texts.splits import SPLITS


def own_splits(said: Sequence[str]) -> np.ndarray | None:
    """The number in SPLITS of each text's split; None where a source does not tell them apart."""
    if len(set(said)) < 2:
        return None
    return np.array([SPLITS.index(split) for split in said], np.int64)


def cut(
    labels_N: np.ndarray, own_N: np.ndarray | None, classes: tuple[str, ...], task: TaskSpec
) -> list[np.ndarray]:
    """Row numbers of the three splits, shuffled with the task's seed.

    Raises ConfigError for fewer than two classes, and for too few texts.
    """
    _check(labels_N, classes)
    if own_N is None:
        return _afresh(labels_N, classes, task)
    return _beside(labels_N, own_N, classes, task)


def _afresh(labels_N: np.ndarray, classes: tuple[str, ...], task: TaskSpec) -> list[np.ndarray]:
    """Row numbers of the three splits. Raises ConfigError unless each holds each class."""
    rng = np.random.Generator(np.random.PCG64(task.seed))
    shares = task.split if isinstance(task.split, tuple) else SHARES
    pieces: list[list[np.ndarray]] = []
    for label, name in enumerate(classes):
        rows = rng.permutation(np.flatnonzero(labels_N == label))
        cuts = np.rint(len(rows) * np.cumsum(shares)[:2]).astype(int)
        pieces.append(np.split(rows, cuts))
        if not all(map(len, pieces[-1])):
            raise ConfigError(
                f"class {name!r} has {len(rows)} texts, too few for each split of "
                f"{list(shares)} to get one; add texts, leave the class out, or change "
                "the split with --set task.split=…"
            )
    return [rng.permutation(np.concatenate(part)) for part in zip(*pieces, strict=True)]


def _beside(
    labels_N: np.ndarray, own_N: np.ndarray, classes: tuple[str, ...], task: TaskSpec
) -> list[np.ndarray]:
    """The source's own splits; what it lacks of the three is cut from its train, by class."""
    rng = np.random.Generator(np.random.PCG64(task.seed))
    shares = task.split if isinstance(task.split, tuple) else SHARES
    lacking = [split for split in range(3) if not np.any(own_N == split)]
    cut = [0, *lacking]
    weights = np.cumsum([shares[split] for split in cut])
    parts: list[list[np.ndarray]] = [[np.flatnonzero(own_N == split)] for split in range(3)]
    parts[0] = []
    for label, name in enumerate(classes):
        rows = rng.permutation(np.flatnonzero((labels_N == label) & (own_N == 0)))
        cuts = np.rint(len(rows) * weights[:-1] / weights[-1]).astype(int)
        for split, piece in zip(cut, np.split(rows, cuts), strict=True):
            parts[split].append(piece)
        if not len(parts[0][label]):
            raise ConfigError(
                f"class {name!r} has {len(rows)} texts in train, too few; add some, or "
                "leave the class out of the other splits"
            )
    rows_by_split = [rng.permutation(np.concatenate(part)) for part in parts]
    for name, rows in zip(SPLITS, rows_by_split, strict=True):
        if not len(rows):
            raise ConfigError(f"no text is left to cut {name} from; add texts to train")
    return rows_by_split


def _check(labels_N: np.ndarray, classes: tuple[str, ...]) -> None:
    """Raises ConfigError for fewer than two classes, and for too few texts."""
    if len(classes) < 2:
        raise ConfigError(
            f"all texts are of one class ({some(classes)}), but at least two classes are needed: "
            "add texts of another, or name the column that tells them apart with "
            "--set task.label_column=…"
        )
    if len(labels_N) < FEWEST * len(classes):
        raise ConfigError(
            f"{len(labels_N)} texts are left in {len(classes)} classes ({some(classes)}) without "
            f"empty and repeated ones, but at least {FEWEST * len(classes)} are needed, "
            f"{FEWEST} for each class: add texts, or leave classes out"
        )
