"""What a trial reads, checked against its texts; without torch, so that a driver starts soon."""

from collections.abc import Mapping

import numpy as np

from jobs.fingerprints import FEATURES, SOFT_LABELS
from jobs.store import Record, Store
from qdllm.errors import StoreError
from qdllm.texts.data import SPLITS, Dataset


def gather(
    store: Store, features: str, soft_labels: str, dataset: Dataset
) -> dict[str, np.ndarray]:
    """Everything a trial reads, as `<split>.features`, `.logits` and `.labels`.

    `features` and `soft_labels` are fingerprints. Raises StoreError if one is missing or damaged,
    or does not belong to these texts, in their order and splits.
    """
    arrays: dict[str, np.ndarray] = {}
    sources = {"features": (FEATURES, features), "logits": (SOFT_LABELS, soft_labels)}
    for name, source in sources.items():
        record, tensors = store.load(*source)
        if problem := _misfit(record, tensors, dataset):
            result = f"{store.uri}/{'/'.join(source)}"
            raise StoreError(
                f"{result} {problem}; delete {result}/record.json and run the same command again "
                "to compute it anew"
            )
        arrays |= {f"{split}.{name}": tensors[split] for split in SPLITS}
    for split in SPLITS:
        arrays[f"{split}.labels"] = getattr(dataset, split).labels_N
    return arrays


def _misfit(record: Record, tensors: Mapping[str, np.ndarray], dataset: Dataset) -> str | None:
    """Why stored rows are not those of the dataset, or None if they are."""
    if record.summary.get("rows") != dataset.rows:
        return "was made from other texts, or another order of them"
    shapes = [tensors[split].shape if split in tensors else () for split in SPLITS]
    if [shape[0] for shape in shapes if len(shape) == 2] != list(dataset.sizes):
        return f"has arrays of the shapes {shapes} for splits of {dataset.sizes} texts"
    return None
