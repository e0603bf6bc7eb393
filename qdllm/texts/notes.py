"""What is odd about a task's texts, said before anything is trained."""

from collections.abc import Iterator, Sequence

import numpy as np

from qdllm.messages import some
from qdllm.texts.labels import alike
from qdllm.texts.readers import Rows
from qdllm.visible import visible

FEW = 20
"""Texts of a class below which it is said that they are few."""
LOPSIDED = 10
"""How many times as many texts one class may have as another before that is said."""
SAYING_SPLITS = ("split", "partition", "subset")
"""Names of columns that look as if they told the splits."""


def notes(rows: Rows, classes: Sequence[str], labels: Sequence[np.ndarray]) -> Iterator[str]:
    """A line for each thing. `labels`: the class ids of each split."""
    counts_C = np.bincount(np.concatenate(labels), minlength=len(classes))
    for group in alike(classes):
        told = " and ".join(f"{name!r} ({counts_C[classes.index(name)]:,})" for name in group)
        how = "in capitals alone" if len({name.casefold() for name in group}) == 1 else "hardly"
        yield f"classes {told} differ {how}; if they are one, give them one name"
    if rows.words:
        told = ", ".join(f"{word!r} {n:,}" for word, n in rows.words.most_common())
        yield f"labels taken for missing ones: {told}; a class of that name needs another"
    for name, column in rows.left_out.items():
        yield f"{visible(name)} is left out, for it has no column {column!r}"
    absent = [name for name in rows.names if name not in classes]
    if absent:
        yield f"named, but without texts, and no classes here: {some(absent)}"
    yield from _few(classes, counts_C, labels)
    for name in rows.columns:
        if name.casefold() in SAYING_SPLITS:
            yield f"column {name!r} is not read; --set task.split={name} takes its splits"


def _few(
    classes: Sequence[str], counts_C: np.ndarray, labels: Sequence[np.ndarray]
) -> Iterator[str]:
    """Of classes that are too small to learn or to measure."""
    largest, all_of_them = int(counts_C.argmax()), int(counts_C.sum())
    few = [at for at, n in enumerate(counts_C) if n < FEW or n * LOPSIDED <= counts_C[largest]]
    if few:
        test_C = np.bincount(labels[-1], minlength=len(classes))
        told = some(f"{classes[at]} {counts_C[at]:,} ({test_C[at]:,} in test)" for at in few)
        yield (
            f"few texts in {len(few)} of {len(classes)} classes: {told}; whoever always says "
            f"{visible(classes[largest])} is right in {counts_C[largest] / all_of_them:.0%}"
        )
    for split, labels_N in zip(("train", "validation", "test"), labels, strict=True):
        missing = [name for at, name in enumerate(classes) if not np.any(labels_N == at)]
        if missing:
            yield f"{split} holds no text of {some(missing)}"
