"""Texts in, splits out: reads labelled texts, removes repeated ones, and cuts 6:2:2.

The same text in two splits would let a model be tested on what it was trained on, so repeats are
removed before the split, however they are spaced: copies within one class but for the first, and
every copy of a text that stands in two classes, whose label nobody can know.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from qdllm.errors import ConfigError
from qdllm.messages import some
from qdllm.specs import TaskSpec
from qdllm.texts import labels
from qdllm.texts.cuts import cut, own_splits
from qdllm.texts.locations import usable
from qdllm.texts.notes import notes
from qdllm.texts.readers import Rows
from qdllm.texts.sources import Source, read_source
from qdllm.texts.splits import SPLITS
from qdllm.visible import visible


@dataclass(frozen=True, eq=False)
class Split:
    """N texts and their int64 class ids."""

    texts: tuple[str, ...]
    labels_N: np.ndarray

    @property
    def counts_C(self) -> list[int]:
        """How many texts each class has."""
        counts: list[int] = np.bincount(self.labels_N).tolist()
        return counts


@dataclass(frozen=True, eq=False)
class Dataset:
    """A task's texts, without repeats, in three splits.

    `digest` identifies the classes, texts and labels in their source's order, whatever the split
    unless the source has its own. `read` counts the rows that were read; `copies`,
    `contradictions`, `empty` and `unlabelled` those of them that were left out.
    """

    name: str
    source: str
    classes: tuple[str, ...]
    train: Split
    validation: Split
    test: Split
    places_N: np.ndarray
    """Each of `texts`' place among all that were kept, which is the same in every split."""
    digest: str
    copies: int
    contradictions: int
    empty: int
    unlabelled: int = 0
    read: int = 0
    layout: str = ""
    """How the texts are laid out where they come from, in words."""
    notes: tuple[str, ...] = ()
    """What a person should know of them before anything is trained, a line for each thing."""

    @property
    def sizes(self) -> tuple[int, int, int]:
        """How many texts there are to train, validate and test."""
        return len(self.train.texts), len(self.validation.texts), len(self.test.texts)

    def by_split(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """One value per row of `texts`, cut into the splits, by their names."""
        train, validation, _ = self.sizes
        parts = np.split(rows, [train, train + validation])
        return dict(zip(SPLITS, parts, strict=True))

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """All rows: train, then validation, then test."""
        return self.train.texts + self.validation.texts + self.test.texts

    @cached_property
    def labels_N(self) -> np.ndarray:
        """The class ids of `texts`."""
        return np.concatenate([self.train.labels_N, self.validation.labels_N, self.test.labels_N])

    @cached_property
    def rows(self) -> str:
        """Digest of `texts` in their order, for results that are stored row by row."""
        return _sha256(self.texts)

    def describe(self) -> str:
        """One line: how many texts of which classes, from where, what was removed, the splits."""
        named = [f"{name} {n:,}" for name, n in zip(self.classes, self.counts_C, strict=True)]
        removed = [
            f"{n:,} {one if n == 1 else many}"
            for n, one, many in (
                (self.copies, "copy", "copies"),
                (self.contradictions, "contradictory text", "contradictory texts"),
                (self.empty, "empty text", "empty texts"),
                (self.unlabelled, "text without a label", "texts without a label"),
            )
            if n
        ]
        return (
            f"{self.name}: {len(self.texts):,} texts in {len(named)} classes ({some(named)}) "
            f"from {self.source}"
            + (f" ({self.read:,} rows); {' and '.join(removed)} removed; " if removed else "; ")
            + f"split {' / '.join(f'{n:,}' for n in self.sizes)}"
        )

    def told(self) -> list[str]:
        """What a person is told of the texts: what they are, how they were read, what is odd."""
        layout = [f"read as {self.layout}"] if self.layout else []
        return [self.describe(), *layout, *self.notes]

    @cached_property
    def counts_C(self) -> np.ndarray:
        """How many texts each class has."""
        return np.bincount(self.labels_N, minlength=len(self.classes))


def load(task: TaskSpec, *, progress: Callable[[int, int], None] | None = None) -> Dataset:
    """Read a task's texts, drop empty and repeated ones, and split them.

    `task.data` is a folder, a file, an address on the Hugging Face hub, `published` (the last two
    are downloaded once; `progress` gets the bytes done and to do), or None for a sample corpus or
    for a path as `task.name`. Two texts are the same if they agree after Unicode NFC, without
    characters that nobody sees and with their white space collapsed; models get the text as it
    stands, but for white space at its ends. Each class is shuffled with `task.seed` and cut on its
    own, so all splits keep the classes' proportions: n texts are cut at n·f₁ and n·(f₁ + f₂),
    rounded to the nearest whole, halves to even. Splits that the source has are kept, and what it
    lacks of the three is cut from its train. Raises ConfigError for what cannot be read or split.
    """
    try:
        source = read_source(task, progress)
    except OSError as error:
        name = visible(error.filename)
        raise ConfigError(f"cannot read {name}: {error.strerror or error}") from error
    if not usable(source.name):
        raise ConfigError(
            f"the task's name names its results, but {source.name!r} holds more than letters, "
            "digits, spaces, dots, hyphens and underscores; choose another with --task NAME"
        )
    rows = source.rows
    if not isinstance(task.split, tuple) and not rows.forms:
        raise ConfigError(
            f"task.split={task.split} names a column, but {source.address} has none; give shares "
            "such as [0.6, 0.2, 0.2]"
        )
    kept = _without_repeats(rows)
    if not kept.rows:
        raise ConfigError(_nothing(source, kept))
    classes = _classes(source)
    label_of = {label: number for number, label in enumerate(classes)}
    labels_N = np.array([label_of[rows.labels[row]] for row in kept.rows], np.int64)
    texts = [rows.texts[row] for row in kept.rows]
    own_N = own_splits([rows.splits[row] for row in kept.rows])
    parts = cut(labels_N, own_N, classes, task)
    train, validation, test = (
        Split(tuple(texts[row] for row in rows_N), labels_N[rows_N]) for rows_N in parts
    )
    identity = [classes, labels_N.tolist(), texts]
    if own_N is not None:
        identity.append(own_N.tolist())
    dataset = Dataset(
        name=source.name,
        source=source.address,
        classes=classes,
        train=train,
        validation=validation,
        test=test,
        places_N=np.concatenate(parts),
        digest=_sha256(identity),
        copies=kept.copies,
        contradictions=kept.contradictions,
        empty=kept.empty,
        unlabelled=kept.unlabelled,
        read=len(rows.texts),
        layout=source.told,
        notes=tuple(notes(rows, classes, [labels_N[part] for part in parts])),
    )
    removed = kept.copies + kept.contradictions + kept.empty + kept.unlabelled
    assert dataset.read == len(texts) + removed, "a row is kept, or there is a reason"
    return dataset


class _Kept(NamedTuple):
    """The rows to keep, in order, and how many of the others there are for which reason."""

    rows: list[int]
    copies: int
    contradictions: int
    empty: int
    unlabelled: int


def _nothing(source: Source, kept: _Kept) -> str:
    """Why no text is left, and what to do about the cause of most of it."""
    if not source.rows.texts:
        return f"there is no text: {visible(source.address)} holds no rows"
    if kept.contradictions >= kept.unlabelled + kept.empty:
        return (
            f"no text is left: all {kept.contradictions:,} rows with a label are of texts that "
            "stand in two classes or more, so that no label is right; keep one label of each, or "
            "name another column with --set task.label_column=…"
        )
    return (
        "there is no text with a label; name the columns that hold texts and labels with --set "
        "task.text_column=… and --set task.label_column=…"
    )


def _without_repeats(rows: Rows) -> _Kept:
    """Of the copies of a text, the first stays; where there are splits, the first nearest to test.

    So a source's test stays whole, and what is trained on holds nothing of it.
    """
    first: dict[str, int] = {}
    sizes: dict[str, int] = {}
    contradictory: set[str] = set()
    empty = unlabelled = 0
    rank = {split: number for number, split in enumerate(("", *SPLITS))}
    for row, (text, label, split) in enumerate(
        zip(rows.texts, rows.labels, rows.splits, strict=True)
    ):
        key = labels.plain(text)
        if not key or not label:
            empty += not key
            unlabelled += bool(key)
            continue
        # Where the two are the same, one of them is enough to keep.
        key = text if key == text else key
        at = first.setdefault(key, row)
        if at == row:
            continue
        sizes[key] = sizes.get(key, 1) + 1
        if label != rows.labels[at]:
            contradictory.add(key)
        elif rank[split] > rank[rows.splits[at]]:
            first[key] = row
    return _Kept(
        [row for key, row in first.items() if key not in contradictory],
        sum(size - 1 for key, size in sizes.items() if key not in contradictory),
        sum(sizes[key] for key in contradictory),
        empty,
        unlabelled,
    )


def _classes(source: Source) -> tuple[str, ...]:
    """All classes, in the order of the source if it has one."""
    present = set(source.rows.labels) - {""}
    named = [name for name in source.rows.names if name in present]
    if named and len(named) < len(present):
        # It names some of its classes, or some of them otherwise than its rows do.
        said = dict.fromkeys(map(labels.label, source.rows.names))
        named = [name for name in said if name in present]
    return source.classes or (*named, *labels.in_order(present.difference(named)))


def _sha256(value: Any) -> str:
    """Of the value's canonical text, which is long and never whole in memory."""
    total = hashlib.sha256()
    encoder = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)
    for piece in encoder.iterencode(value):
        total.update(piece.encode())
    return total.hexdigest()
