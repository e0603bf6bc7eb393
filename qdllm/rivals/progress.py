"""How far training is, and what of that is kept."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from qdllm.fit import Kept, Trained

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
    """Where training stands by what was kept or by finished seeds, whichever is further, or its
    very beginning."""
    if kept is None:
        return Progress()
    return max(_kept(kept), _finished(kept.first()), key=lambda one: len(one.rows))


def _kept(kept: Kept) -> Progress:
    found = kept.load()
    if found is None or not found[0].keys() >= set(TOLD):
        return Progress()
    told, tensors = found
    count = sum(name.startswith("row/") for name in tensors)
    rows = [tensors.pop(f"row/{at}") for at in range(count)]
    return Progress(rows=rows, state=tensors, **{name: told[name] for name in TOLD})


def _finished(trained: Trained | None) -> Progress:
    if trained is None:
        return Progress()
    rows = [*trained.parameters_SP]
    # What an epoch took is known for all of them together.
    seconds_E = torch.tensor(trained.seconds_E, dtype=torch.float64) / len(rows)
    curves = trained.curves | {"seconds": seconds_E.expand(len(rows), -1)}
    points = [
        [
            {name: float(curve_SE[seed, epoch]) for name, curve_SE in curves.items()}
            for epoch in range(len(trained.seconds_E))
        ]
        for seed in range(len(rows))
    ]
    return Progress(rows=rows, curves=points)
