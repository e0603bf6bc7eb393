"""Texts in, splits out: reads labelled texts, removes repeated ones, and cuts 6:2:2.

The same text in two splits would let a model be tested on what it was trained on, so repeats are
removed before the split, however they are spaced: copies within one class but for the first, and
every copy of a text that stands in two classes, whose label nobody can know.
"""

import hashlib
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from qdllm.errors import ConfigError, nearest
from qdllm.specs import TaskSpec, canonical
from qdllm.texts import corpus, published
from qdllm.texts.readers import Rows, read_class_files, read_table, some

LEAST_PER_CLASS = 5


SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, eq=False)
class Split:
    """N texts and their int64 class ids."""

    texts: tuple[str, ...]
    labels_N: np.ndarray


@dataclass(frozen=True, eq=False)
class Dataset:
    """A task's texts, without repeats, in three splits.

    `digest` identifies the classes, texts and labels in their source's order, whatever the split;
    `copies`, `contradictions` and `empty` count the texts that were left out.
    """

    name: str
    source: str
    classes: tuple[str, ...]
    train: Split
    validation: Split
    test: Split
    digest: str
    copies: int
    contradictions: int
    empty: int

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
        counts = np.bincount(self.labels_N, minlength=len(self.classes))
        named = [f"{name} {n:,}" for name, n in zip(self.classes, counts, strict=True)]
        removed = [
            f"{n:,} {one if n == 1 else many}"
            for n, one, many in (
                (self.copies, "copy", "copies"),
                (self.contradictions, "contradictory text", "contradictory texts"),
                (self.empty, "empty text", "empty texts"),
            )
            if n
        ]
        return (
            f"{self.name}: {len(self.texts):,} texts in {len(named)} classes ({some(named)}) "
            f"from {self.source}; "
            + (f"{' and '.join(removed)} removed; " if removed else "")
            + f"split {' / '.join(f'{n:,}' for n in self.sizes)}"
        )


Source = tuple[str, str, tuple[str, ...], Rows]
"""A task's name, where its texts come from, its classes, and its texts as they stand there."""


def load(task: TaskSpec, *, progress: Callable[[int, int], None] | None = None) -> Dataset:
    """Read a task's texts, drop empty and repeated ones, and split them.

    `task.data` is a folder, a file, `published` (downloaded once; `progress` gets the bytes done
    and to do), or None for a sample corpus or for a path as `task.name`. Two texts are the same if
    they agree after Unicode NFC with their white space collapsed; models get the text as it
    stands, but for white space at its ends. Each class is shuffled with `task.seed` and cut on its
    own, so all splits keep the classes' proportions: n texts are cut at n·f₁ and n·(f₁ + f₂),
    rounded to the nearest whole, halves to even. Raises ConfigError for what cannot be read or
    split.
    """
    try:
        name, source, classes, rows = _read(task, progress)
    except OSError as error:
        raise ConfigError(f"cannot read {error.filename}: {error.strerror}") from error
    if not re.fullmatch(r"[\w .-]+", name):
        raise ConfigError(
            f"the task's name names its results, but {name!r} holds more than letters, digits, "
            "spaces, dots, hyphens and underscores; choose another with --task NAME"
        )
    kept, copies, contradictions, empty = _without_repeats(rows)
    label_of = {label: number for number, label in enumerate(classes)}
    labels_N = np.array([label_of[label] for _, label in kept], np.int64)
    texts = [text for text, _ in kept]
    train, validation, test = (
        Split(tuple(texts[row] for row in rows), labels_N[rows])
        for rows in _split(labels_N, classes, task)
    )
    return Dataset(
        name=name,
        source=source,
        classes=classes,
        train=train,
        validation=validation,
        test=test,
        digest=_sha256([classes, labels_N.tolist(), texts]),
        copies=copies,
        contradictions=contradictions,
        empty=empty,
    )


def _read(task: TaskSpec, progress: Callable[[int, int], None] | None) -> Source:
    named = list(published.TASKS)
    if task.data is not None and task.data != "published":
        return _read_path(Path(task.data), task)
    if task.name in named and task.data is None:
        raise ConfigError(
            f"task {task.name!r} needs texts: use --data DIR for a folder that holds them, "
            "--data published to download the ones that the paper's authors published, or "
            f"--task sample-{task.name} for texts made on the spot"
        )
    if task.name in named:
        files = published.class_files(published.download(progress=progress), task.name)
        return task.name, "the authors' published texts", tuple(files), read_class_files(files)
    if task.data == "published":
        raise ConfigError(
            f"--data published has no task {task.name!r}{nearest(task.name, named)}. "
            f"Use --task with one of: {', '.join(named)}"
        )
    if task.name in corpus.CLASSES:
        classes, texts, labels = corpus.generate(task.name)
        rows = [(text, classes[label]) for text, label in zip(texts, labels, strict=True)]
        return task.name, "the built-in grammar", classes, rows
    if not Path(task.name).exists():
        known = [*corpus.CLASSES, *named]
        raise ConfigError(
            f"unknown task {task.name!r}{nearest(task.name, known)}. There are: "
            f"{', '.join(known)}, and the path of a file or folder of your own"
        )
    return _read_path(Path(task.name), task)


def _read_path(path: Path, task: TaskSpec) -> Source:
    if not path.exists():
        raise ConfigError(
            f"there is no file or folder {task.data!r}; name one that exists with --data, or leave "
            "--data out and use --task sample-thematic, sample-emotion or sample-hiding"
        )
    # A sample's name, which is what --task is unless given, says nothing of texts from elsewhere.
    unnamed = task.data is None or task.name in corpus.CLASSES
    name = path.resolve().stem if unnamed else task.name
    if not path.is_dir():
        rows = read_table(path, task.text_column, task.label_column)
        return name, str(path), _in_order({label for _, label in rows if label}), rows
    if task.name in published.TASKS:
        files = published.class_files(path, task.name)
    else:
        files = _text_files(path, task.name)
    return name, str(path), tuple(files), read_class_files(files)


def _text_files(folder: Path, task: str) -> dict[str, Path]:
    found = [path for path in folder.glob("*.txt") if not path.name.startswith(".")]
    if len(found) < 2:
        named = list(published.TASKS)
        raise ConfigError(
            f"{folder} needs at least two *.txt files, one for each class, but it holds "
            f"{published.contents(folder)}. To read a folder laid out like the published one, use "
            f"--task with one of: {', '.join(named)}{nearest(task, named)}"
        )
    return {path.stem: path for path in sorted(found, key=lambda path: path.stem)}


def _in_order(labels: set[str]) -> tuple[str, ...]:
    """Labels that are all numbers sort by value, others as strings."""
    try:
        return tuple(sorted(sorted(labels), key=float))
    except ValueError:
        return tuple(sorted(labels))


def _without_repeats(rows: Rows) -> tuple[Rows, int, int, int]:
    """The texts to keep, in order; how many copies, contradictions and empty texts are left out."""
    groups: dict[str, Rows] = {}
    for text, label in rows:
        key = " ".join(unicodedata.normalize("NFC", text).split())
        groups.setdefault(key, []).append((text.strip(), label))
    empty = len(groups.pop("", []))
    agreeing = [group for group in groups.values() if len({label for _, label in group}) == 1]
    kept = [group[0] for group in agreeing]
    copies = sum(map(len, agreeing)) - len(kept)
    return kept, copies, len(rows) - len(kept) - copies - empty, empty


def _split(labels_N: np.ndarray, classes: tuple[str, ...], task: TaskSpec) -> list[np.ndarray]:
    """Row numbers of the three splits. Raises ConfigError unless each holds each class."""
    if len(classes) < 2:
        raise ConfigError(
            f"all texts are of one class ({some(classes)}), but at least two classes are needed: "
            "add texts of another, or name the column that tells them apart with "
            "--set task.label_column=…"
        )
    if len(labels_N) < LEAST_PER_CLASS * len(classes):
        raise ConfigError(
            f"{len(labels_N)} texts are left in {len(classes)} classes ({some(classes)}) without "
            f"empty and repeated ones, but at least {LEAST_PER_CLASS * len(classes)} are needed, "
            f"{LEAST_PER_CLASS} for each class: add texts, or leave classes out"
        )
    rng = np.random.Generator(np.random.PCG64(task.seed))
    pieces: list[list[np.ndarray]] = []
    for label, name in enumerate(classes):
        rows = rng.permutation(np.flatnonzero(labels_N == label))
        cuts = np.rint(len(rows) * np.cumsum(task.split)[:2]).astype(int)
        pieces.append(np.split(rows, cuts))
        if not all(map(len, pieces[-1])):
            raise ConfigError(
                f"class {name!r} has {len(rows)} texts, too few for each split of "
                f"{list(task.split)} to get one; add texts, leave the class out, or change "
                "the split with --set task.split=…"
            )
    return [rng.permutation(np.concatenate(part)) for part in zip(*pieces, strict=True)]


def _sha256(value: Any) -> str:
    return hashlib.sha256(canonical(value).encode()).hexdigest()
