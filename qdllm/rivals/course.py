"""Courses: what a net is trained on, stage by stage, and by which losses."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from torch import Tensor, nn

from qdllm.fit import Examples
from qdllm.rivals.bodies import Net
from qdllm.rivals.inference import device
from qdllm.rivals.terms import cross_entropy


class Batch(NamedTuple):
    """What a loss reads. `rows_N`: the texts' places in the training split."""

    ids_NT: Tensor
    mask_NT: Tensor
    labels_N: Tensor
    rows_N: Tensor


Loss = Callable[[Batch], Tensor]
"""A value for each text of a batch, of the net that it was made for."""
Predict = Callable[[], Tensor]
"""logits_NC of the net so far for the whole training split."""
Choose = Callable[[Predict], tuple[Tensor, Tensor]]
"""Which rows of the training split are read, and the labels that each goes by."""


class Stage(NamedTuple):
    """A part of training: so many epochs with one loss.

    An epoch goes over what is read `passes` times before it is measured. Where a stage is `fresh`,
    moments and learning rates begin anew; where it chooses what it reads, the net does too.
    """

    epochs: int
    loss: Loss
    choose: Choose | None = None
    fresh: bool = False
    passes: int = 1


class Course(NamedTuple):
    """How one seed's net is trained. `aside`: what is trained with it and thrown away."""

    net: Net
    stages: Sequence[Stage]
    aside: nn.Module | None = None


class Epoch(NamedTuple):
    """One epoch of a course: `at` of `of` epochs that share one course of learning rates."""

    stage: Stage
    at: int
    of: int


def epochs(stages: Sequence[Stage]) -> list[Epoch]:
    """All of a course's, in order."""
    found: list[Epoch] = []
    starts = [
        number for number, stage in enumerate(stages) if number == 0 or stage.choose or stage.fresh
    ]
    for start, end in zip(starts, [*starts[1:], len(stages)], strict=True):
        segment = [stage for stage in stages[start:end] for _ in range(stage.epochs)]
        found += [Epoch(stage, at, len(segment)) for at, stage in enumerate(segment)]
    return found


def softly(training: Examples) -> Tensor:
    """The teacher's raw logits_NC of the training split."""
    assert training.logits_NC is not None, "whoever asks has named them among what it reads"
    return training.logits_NC.to(device())


def on_labels(epochs: int) -> Callable[[Net, int], Course]:
    """What makes of a net a course of one stage: cross-entropy with the labels."""

    def course(net: Net, seed: int) -> Course:
        def loss(batch: Batch) -> Tensor:
            return cross_entropy(net(batch.ids_NT, batch.mask_NT).logits_NC, batch.labels_N)

        return Course(net, [Stage(epochs, loss)])

    return course
