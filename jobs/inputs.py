"""What a trial reads, checked against its texts; without torch, so that a driver starts soon."""

from collections.abc import Mapping

import numpy as np

from jobs import kinds
from jobs.store import Record, Store, unfit
from qdllm.texts.data import SPLITS, Dataset


def gather(store: Store, made_from: Mapping[str, str], dataset: Dataset) -> dict[str, np.ndarray]:
    """Everything a trial reads, as `<split>.labels`, `.features`, `.logits` and so on.

    `made_from`: fingerprints of results by role. Raises StoreError if one is missing or damaged,
    or does not belong to these texts, in their order and splits.
    """
    arrays = {f"{split}.labels": getattr(dataset, split).labels_N for split in SPLITS}
    for role, fingerprint in made_from.items():
        kind = kinds.by_role(role)
        record, tensors = store.load(kind.name, fingerprint)
        width = len(dataset.classes) if kind.per_class else None
        if problem := _misfit(record, tensors, dataset, width):
            raise unfit(record, problem)
        for split in SPLITS:
            arrays[f"{split}.{kind.tensor}"] = tensors[split].astype(np.float32, copy=False)
    return arrays


def _misfit(
    record: Record, tensors: Mapping[str, np.ndarray], dataset: Dataset, width: int | None
) -> str | None:
    """Why stored rows are not those of the dataset, or None if they are. `width`: None for any."""
    if record.summary.get("rows") != dataset.rows:
        return "was made from other texts, or another order of them"
    shapes = [tensors[split].shape if split in tensors else () for split in SPLITS]
    if [shape[0] for shape in shapes if len(shape) == 2] != list(dataset.sizes):
        return f"has arrays of the shapes {shapes} for splits of {dataset.sizes} texts"
    if {shape[1] for shape in shapes} != {width or shapes[0][1] or 1}:
        return f"has arrays of the shapes {shapes}, {width or 'equally many'} columns are needed"
    types = [str(tensors[split].dtype) for split in SPLITS]
    if any(tensors[split].dtype.kind != "f" for split in SPLITS):
        return f"has arrays of {', '.join(types)}, floating point is needed"
    return None
