"""What a trial reads, checked against its texts; without torch, so that a driver starts soon."""

from collections.abc import Mapping

import numpy as np

from jobs import kinds
from jobs.kinds import Kind
from jobs.kinds.teachers import ADAPTERS, SOFT_LABELS
from jobs.store import Record, Store, unfit
from qdllm.texts.data import SPLITS, Dataset


def gather(store: Store, made_from: Mapping[str, str], dataset: Dataset) -> dict[str, np.ndarray]:
    """Everything a trial reads, as `<split>.labels`, `.features`, `.logits` and so on, and what is
    of no split by its role, as `adapter.head.bias`.

    `made_from`: fingerprints of results by role. Raises StoreError if one is missing or damaged,
    or does not belong to these texts, in their order and splits.
    """
    arrays = {f"{split}.labels": getattr(dataset, split).labels_N for split in SPLITS}
    for role, fingerprint in made_from.items():
        kind = kinds.by_role(role)
        if kind.named_by:
            record, _ = store.load(kinds.by_role(kind.named_by).name, fingerprint)
            _, parts = store.load(kind.name, record.made_from[role])
            arrays |= {f"{role}.{name}": parts[name] for name in parts}
            continue
        tensors = _of_texts(store, kind, fingerprint, dataset)[1]
        number = np.int64 if kind.whole_numbers else np.float32
        for split in kind.splits:
            arrays[f"{split}.{kind.tensor}"] = tensors[split].astype(number, copy=False)
    return arrays


def soft_labels_of(
    store: Store, fingerprint: str, dataset: Dataset
) -> tuple[Record, Mapping[str, np.ndarray]]:
    """A teacher's record and its logits by split. Raises StoreError as `gather` does."""
    return _of_texts(store, SOFT_LABELS, fingerprint, dataset)


def adapter_of(store: Store, labels: Record) -> Mapping[str, np.ndarray]:
    """The adapter of the teacher that gave those soft labels, by the names of its tensors."""
    return store.load(ADAPTERS.name, labels.made_from[ADAPTERS.role])[1]


def _of_texts(
    store: Store, kind: Kind, fingerprint: str, dataset: Dataset
) -> tuple[Record, Mapping[str, np.ndarray]]:
    record, tensors = store.load(kind.name, fingerprint)
    if problem := _misfit(record, tensors, kind, dataset):
        raise unfit(record, problem)
    return record, tensors


def _misfit(
    record: Record, tensors: Mapping[str, np.ndarray], kind: Kind, dataset: Dataset
) -> str | None:
    """Why stored rows are not those of the dataset, or None if they are."""
    width = len(dataset.classes) if kind.per_class else None
    if record.summary.get("rows") != dataset.rows:
        return "was made from other texts, or another order of them"
    # Those of earlier versions do not say.
    if record.summary.get("of", dataset.digest) != dataset.digest:
        return "was made when these texts had other labels"
    sizes = [len(getattr(dataset, split).labels_N) for split in kind.splits]
    shapes = [tensors[split].shape if split in tensors else () for split in kind.splits]
    if [shape[0] for shape in shapes if len(shape) == 2] != sizes:
        return f"has arrays of the shapes {shapes} for splits of {tuple(sizes)} texts"
    if {shape[1] for shape in shapes} != {width or shapes[0][1] or 1}:
        return f"has arrays of the shapes {shapes}, {width or 'equally many'} columns are needed"
    types = [str(tensors[split].dtype) for split in kind.splits]
    wanted, told = ("i", "whole numbers") if kind.whole_numbers else ("f", "floating point")
    if any(tensors[split].dtype.kind != wanted for split in kind.splits):
        numbers = "are needed" if kind.whole_numbers else "is needed"
        return f"has arrays of {', '.join(types)}, {told} {numbers}"
    return None
