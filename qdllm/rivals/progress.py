"""How far training is, and what of that is kept."""

from dataclasses import dataclass, field

from torch import Tensor

from qdllm.fit import Kept

TOLD = ("curves", "step", "loss", "elapsed")
"""What of a `Progress` is no tensor."""


@dataclass
class Progress:
    """How far training is: what finished seeds left, and where the one under way stands."""

    rows: list[Tensor] = field(default_factory=list)
    curves: list[list[dict[str, float]]] = field(default_factory=list)
    """A point for each epoch of each seed; those of the one under way come last."""
    step: int = 0
    """Batches of the epoch under way that are done."""
    loss: float = 0.0
    elapsed: float = 0.0
    state: dict[str, Tensor] = field(default_factory=dict)
    """Values and Adam's moments of the seed under way; empty before its first step."""


def resumed(kept: Kept | None) -> Progress:
    """Where training stands by what was kept, or its very beginning."""
    found = kept.load() if kept else None
    if found is None or not found[0].keys() >= set(TOLD):
        return Progress()
    told, tensors = found
    rows = sorted((name for name in tensors if name.startswith("row/")), key=lambda one: one[4:])
    finished = [tensors.pop(f"row/{at}") for at in range(len(rows))]
    return Progress(rows=finished, state=tensors, **{name: told[name] for name in TOLD})
