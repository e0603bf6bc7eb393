"""Training: one flat loop that fits S students at once as one tensor program."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from math import ceil, cos, pi
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from qdllm.errors import ConfigError, TrialError
from qdllm.loss import distillation, value_and_gradient
from qdllm.metrics import classification
from qdllm.specs import FitSpec, LossSpec
from qdllm.student import Core, Student, product


class Examples(NamedTuple):
    """One split: the encoder's features, or token ids with −1 after a text's end; the dataset's
    class ids; the teacher's raw logits, for who reads them; and what else a family reads, by name.
    """

    features_NH: Tensor
    logits_NC: Tensor | None
    labels_N: Tensor
    more: Mapping[str, Tensor] | None = None


Report = Callable[[int, dict[str, Tensor]], None]
"""Called after every epoch, counted from 1, with each curve's values so far, of shape (S,)."""


class Trained(NamedTuple):
    """What training left of S rows.

    `parameters_SP`: one row each. `curves`: of shape (S, E) by name, `train.loss` and the
    validation split's `val.loss` and measures among them. `seconds_E`: of each epoch.
    """

    parameters_SP: Tensor
    curves: dict[str, Tensor]
    seconds_E: list[float]


class Kept(Protocol):
    """What training that takes long has left of itself, to go on from where it is broken off."""

    def load(self) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
        """What was saved last, plain data and tensors; None where there is nothing to be used."""
        ...

    def save(self, told: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Put this in the place of what was saved before."""
        ...

    def first(self) -> Trained | None:
        """What the same training left of the first of its seeds alone; None where it never was."""
        ...


class Row(NamedTuple):
    """One student of a program of many: alpha and learning rate are its own, all else is shared."""

    seed: int
    loss: LossSpec
    fit: FitSpec


class Trainee(Protocol):
    """What Adam moves: a row of parameters for each student."""

    @property
    def parameters_SP(self) -> Tensor:
        """All parameters."""


PACES: Mapping[str, Callable[[int, int], float]] = {
    "constant": lambda steps, step: 1.0,
    "cosine": lambda steps, step: (1 + cos(pi * step / steps)) / 2,
}
"""What share of the learning rate is taken at a step of so many, counted from 0."""


class Adam:
    """Adam over all parameters of all students, with a learning rate for each student.

    torch.optim has one learning rate per group, which would make S groups and S times the calls.
    """

    def __init__(
        self, student: Trainee, lr_S: Tensor, pace: Callable[[int], float] = lambda step: 1.0
    ) -> None:
        """`pace(step)`: what share of the learning rate a step takes, counted from 0."""
        self.values, self.lr_S1, self.pace = student.parameters_SP, lr_S.unsqueeze(-1), pace
        self.mean, self.square = torch.zeros_like(self.values), torch.zeros_like(self.values)
        self.work = torch.empty_like(self.values)
        self.steps = 0

    @torch.no_grad()
    def step(self, gradients_SP: Tensor) -> None:
        """One update (Kingma and Ba, end of section 2, where both corrections enter the rate)."""
        pace = self.pace(self.steps)
        self.steps += 1
        correction = (1 - 0.999**self.steps) ** 0.5
        self.mean.lerp_(gradients_SP, 1 - 0.9)
        self.square.mul_(0.999).addcmul_(gradients_SP, gradients_SP, value=1 - 0.999)
        torch.sqrt(self.square, out=self.work).add_(1e-8 * correction)
        torch.div(self.mean, self.work, out=self.work)
        scale = pace * (correction / (1 - 0.9**self.steps))
        self.values.sub_(self.work.mul_(self.lr_S1 * scale))


def fit(
    student: Student,
    train: Examples,
    validation: Examples,
    rows: Sequence[Row],
    report: Report = lambda epoch, values: None,
) -> Trained:
    """Train in place: passes of Adam over shuffled batches, each student in an order of its own,
    drawn from its seed.

    `rows`: one for each student, of one shape: they differ in seed, guidance weight and learning
    rate alone. `report(epoch, values)` is called after every epoch, counted from 1, with
    train.loss and the validation split's loss and measures, each of shape (S,).

    Raises TrialError where a student's loss or weights stop being finite.
    """
    loss, spec = _shared(rows)
    train = _with_logits(train, student)
    seeds = [row.seed for row in rows]
    alpha_S = torch.tensor([row.loss.alpha for row in rows])
    lr_S = torch.tensor([row.fit.lr for row in rows])
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    steps = spec.epochs * ceil(len(train.labels_N) / spec.batch_size)
    adam = Adam(student, lr_S, partial(PACES[spec.schedule], steps))
    history: list[dict[str, Tensor]] = []
    seconds_E: list[float] = []
    _warm_up(student, train, alpha_S, loss, spec.batch_size)
    for epoch in range(1, spec.epochs + 1):
        began = time.perf_counter()
        try:
            loss_S = _epoch(student, adam, train, generators, alpha_S, loss, spec.batch_size)
            seconds_E.append(time.perf_counter() - began)
            values = {"train.loss": loss_S} | _validate(student, validation, alpha_S, loss)
        except ConfigError:
            # A circuit refuses what is not finite, and the data were finite when they were stored.
            raise divergence(student, seeds, epoch, lr_S) from None
        if not (student.parameters_SP.isfinite().all() and values["val.loss"].isfinite().all()):
            raise divergence(student, seeds, epoch, lr_S)
        history.append(values)
        report(epoch, values)
    curves = {
        name: torch.stack([values[name] for values in history], dim=1).cpu() for name in history[0]
    }
    return Trained(student.parameters_SP, curves, seconds_E)


def distil(
    core: Core,
    loss: LossSpec,
    spec: FitSpec,
    seeds: Sequence[int],
    train: Examples,
    validation: Examples,
    report: Report,
) -> Trained:
    """Train a student of that core for each seed; see `fit`."""
    features, classes = train.features_NH.shape[1], 1 + int(train.labels_N.max())
    student = Student(core, features, classes, seeds)
    return fit(student, train, validation, [Row(seed, loss, spec) for seed in seeds], report)


def _with_logits(examples: Examples, student: Student) -> Examples:
    """With logits of nought in place of none: alpha, which weights a teacher's, is 0 then."""
    if examples.logits_NC is not None:
        return examples
    return examples._replace(logits_NC=torch.zeros(len(examples.labels_N), student.classes))


def _shared(rows: Sequence[Row]) -> tuple[LossSpec, FitSpec]:
    """What all rows have in common, with the first one's alpha and learning rate."""
    shapes = {
        (row.loss.model_copy(update={"alpha": 0.0}), row.fit.model_copy(update={"lr": 1.0}))
        for row in rows
    }
    assert len(shapes) == 1, "rows of one program differ in seed, alpha and learning rate alone"
    return rows[0].loss, rows[0].fit


def _epoch(
    student: Student,
    adam: Adam,
    train: Examples,
    generators: Sequence[torch.Generator],
    alpha_S: Tensor,
    loss: LossSpec,
    batch_size: int,
) -> Tensor:
    """One pass over the training split. Returns the mean loss_S over its examples."""
    examples, device = len(train.labels_N), train.labels_N.device
    orders = [torch.randperm(examples, generator=generator) for generator in generators]
    order_SN = torch.stack(orders).to(device)
    total_S = torch.zeros_like(alpha_S)
    for batch_SB in order_SN.split(batch_size, dim=1):
        loss_S, gradients_SP = _of_batch(student, train, batch_SB, alpha_S, loss)
        adam.step(gradients_SP)
        total_S += loss_S * (batch_SB.shape[1] / examples)
    return total_S


def _of_batch(
    student: Student, train: Examples, batch_SB: Tensor, alpha_S: Tensor, loss: LossSpec
) -> tuple[Tensor, Tensor]:
    """loss_S and gradients_SP over one batch of examples, chosen by their rows."""
    features, teacher, labels = (
        take(values, batch_SB)
        for values in (train.features_NH, train.logits_NC, train.labels_N)
        if values is not None
    )
    to_loss = partial(
        value_and_gradient, teacher_SNC=teacher, labels_SN=labels, alpha_S=alpha_S, spec=loss
    )
    return gradients(student, features, to_loss)


def _warm_up(
    student: Student, train: Examples, alpha_S: Tensor, loss: LossSpec, batch_size: int
) -> None:
    """One batch whose gradients nobody uses: a process's first one waits for the compilers."""
    first_B = torch.arange(min(batch_size, len(train.labels_N)), device=train.labels_N.device)
    # What cannot be computed is told by the first epoch.
    with suppress(ConfigError):
        _of_batch(student, train, first_B.expand(len(alpha_S), -1), alpha_S, loss)


@torch.no_grad()
def gradients(
    student: Student, features_SNH: Tensor, loss: Callable[[Tensor], tuple[Tensor, Tensor]]
) -> tuple[Tensor, Tensor]:
    """loss_S and gradients_SP, where `loss` maps logits_SNC to loss_S and its gradient_SNC.

    The linear layers' gradients are written out: on batches of eight, autograd's bookkeeping costs
    more than their arithmetic. The core's own are autograd's.
    """
    angles_SNA = student.encode(features_SNH).requires_grad_()
    with torch.enable_grad():
        expectations_SNM = student.core.run(angles_SNA, student.weights)
    loss_S, logits = loss(student.classify(expectations_SNM))
    angles, weights = torch.autograd.grad(
        expectations_SNM,
        (angles_SNA, student.weights),
        product(logits, student.head),
        materialize_grads=True,
    )
    leaves = (
        product(angles.transpose(1, 2), features_SNH),
        angles.sum(1),
        weights,
        product(logits.transpose(1, 2), expectations_SNM),
        logits.sum(1),
    )
    return loss_S, torch.cat([leaf.flatten(1) for leaf in leaves], dim=1)


def take(values: Tensor, rows_SB: Tensor) -> Tensor:
    """values[rows_SB], in half the time of advanced indexing."""
    return values.index_select(0, rows_SB.flatten()).view(*rows_SB.shape, *values.shape[1:])


def _validate(
    student: Student, validation: Examples, alpha_S: Tensor, loss: LossSpec
) -> dict[str, Tensor]:
    logits_SNC = student.predict(validation.features_NH)
    teacher_NC = _with_logits(validation, student).logits_NC
    assert teacher_NC is not None
    shape = logits_SNC.shape
    loss_S = distillation(
        logits_SNC,
        teacher_NC.expand(shape),
        validation.labels_N.expand(shape[:2]),
        alpha_S,
        loss,
    )
    measures = classification(logits_SNC, validation.labels_N, validation.logits_NC)
    return {"val.loss": loss_S} | {f"val.{name}": value for name, value in measures.items()}


def divergence(model: Trainee, seeds: Sequence[int], epoch: int, lr_S: Tensor) -> TrialError:
    """Names the seeds whose parameters are not finite, or all where only losses are not."""
    finite_S = model.parameters_SP.isfinite().all(dim=1).tolist()
    lost = [seed for seed, finite in zip(seeds, finite_S, strict=True) if not finite]
    return TrialError(
        f"training diverged in epoch {epoch} for seeds {lost or list(seeds)}: losses or parameters "
        f"are no longer finite; try a learning rate below {lr_S.min():g}"
    )
