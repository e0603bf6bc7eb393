"""Training of what reads tokens: one plain loop over stages, one seed after another.

A seed's batches and dropout hang on seed and step alone, so training that is broken off goes on
from what it kept, and ends as it would have.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from qdllm.batches import batches, scheduled
from qdllm.errors import TrialError
from qdllm.fit import Examples, Kept, Report, Trained
from qdllm.metrics import classification
from qdllm.rivals.bodies import trained, vector
from qdllm.rivals.course import Batch, Course, Epoch, Stage, epochs
from qdllm.rivals.inference import device, lengths, logits, padded
from qdllm.rivals.linear import Linear
from qdllm.rivals.progress import TOLD, Progress, resumed
from qdllm.rivals.specs import TuningSpec
from qdllm.rivals.terms import cross_entropy

KEEP_SECONDS = 60.0
"""Between two times that training is kept: what a killed worker costs at most."""
ADAM = ("step", "exp_avg", "exp_avg_sq")
"""torch's names for what Adam knows of a parameter."""


def train(
    tuning: TuningSpec,
    seeds: Sequence[int],
    make: Callable[[int], Course],
    training: Examples,
    validation: Examples,
    report: Report,
    kept: Kept | None = None,
) -> Trained:
    """Train a net for each seed, and keep what it is after the last epoch.

    `make(seed)`: a net as it is before training, and its stages, which have as many epochs for each
    seed. `validation`'s loss is the cross-entropy with its labels, whatever the stages' is.
    Raises TrialError, with seed and epoch, where a loss or what is trained stops being finite.
    """
    progress = resumed(kept)
    for seed in seeds[len(progress.rows) :]:
        row = _Row(tuning, seed, make(seed), training, progress)
        row.train(validation, kept)
        progress.rows.append(vector(row.net.still()))
        progress.step, progress.state = 0, {}
    names = sorted(progress.curves[0][0].keys() - {"seconds"})
    curves = {
        name: torch.tensor(
            [[point[name] for point in points] for points in progress.curves], dtype=torch.float64
        )
        for name in names
    }
    seconds_E = [
        sum(point["seconds"] for point in at_epoch)
        for at_epoch in zip(*progress.curves, strict=True)
    ]
    for epoch in range(len(seconds_E)):
        report(epoch + 1, {name: curve_SE[:, epoch] for name, curve_SE in curves.items()})
    return Trained(torch.stack(progress.rows), curves, seconds_E)


class _Row:
    """One seed's training under way."""

    def __init__(
        self,
        tuning: TuningSpec,
        seed: int,
        course: Course,
        training: Examples,
        progress: Progress,
    ) -> None:
        """Takes up where `progress` stands, which it writes on."""
        self.tuning, self.seed, self.training, self.progress = tuning, seed, training, progress
        self.net, self.epochs = course.net.to(device()), epochs(course.stages)
        self.parts = [self.net, *([course.aside.to(device())] if course.aside else [])]
        self.begun = {name: tensor.detach().clone() for name, tensor in self._values().items()}
        self.lengths = lengths(training.features_NH)
        self.rows_N, self.labels_N = torch.arange(len(training.labels_N)), training.labels_N
        self.adam = self._adam()
        if len(progress.curves) == len(progress.rows):
            progress.curves.append([])
        if progress.state:
            self._restore()

    @property
    def points(self) -> list[dict[str, float]]:
        """What is known of each finished epoch."""
        return self.progress.curves[-1]

    def train(self, validation: Examples, kept: Kept | None) -> None:
        """All epochs that are left."""
        self.saved = time.perf_counter()
        for number in range(len(self.points), len(self.epochs)):
            epoch = self.epochs[number]
            began = time.perf_counter() - self.progress.elapsed
            if epoch.at == 0 and not self.progress.step:
                self._begin(epoch.stage)
            for _ in self._steps(number, epoch):
                self.progress.elapsed = time.perf_counter() - began
                self._keep(kept)
                # What the store takes is no part of an epoch.
                began = time.perf_counter() - self.progress.elapsed
            read = epoch.stage.passes * len(self.rows_N)
            point = {"train.loss": self.progress.loss / read}
            seconds = time.perf_counter() - began
            point |= self._validated(validation)
            self.points.append(point | {"seconds": seconds})
            self.progress.step, self.progress.loss, self.progress.elapsed = 0, 0.0, 0.0
            self._keep(kept)

    def _steps(self, number: int, epoch: Epoch) -> Iterator[int]:
        """What is left of an epoch, step by step."""
        progress, tuning = self.progress, self.tuning
        generator = np.random.default_rng([self.seed, number])
        tokens = self.lengths[self.rows_N].tolist()
        cut = [
            batch
            for _ in range(epoch.stage.passes)
            for batch in batches(tokens, tuning.batch_size, generator)
        ]
        self.net.train()
        for step in range(progress.step, len(cut)):
            at = torch.from_numpy(cut[step])
            batch = _batch(self.training.features_NH, self.rows_N[at], self.labels_N[at])
            with Linear(tuning.precision), _dropout_masks(self.seed, number, step):
                loss_N = epoch.stage.loss(batch)
            self.adam.zero_grad()
            loss_N.mean().backward()
            parameters = trained(self.parts).values()
            clip_grad_norm_(parameters, tuning.clip)
            for group in self.adam.param_groups:
                group["lr"] = scheduled(
                    tuning.lr,
                    tuning.warmup,
                    epoch.at * len(cut) + step,
                    epoch.of * len(cut),
                )
            self.adam.step()
            progress.step = step + 1
            progress.loss += float(loss_N.detach().sum())
            yield step

    def _begin(self, stage: Stage) -> None:
        """Moments that know nothing; and where the stage chooses, the net as it was before
        training, on the rows and labels that the one so far gives it."""
        if stage.choose:
            ids_NT = self.training.features_NH
            rows_N, labels_N = stage.choose(lambda: logits(self.net.still(), ids_NT))
            self.rows_N, self.labels_N = rows_N, labels_N
            self._overwrite(self.begun)
        self.adam = self._adam()

    @torch.no_grad()
    def _validated(self, validation: Examples) -> dict[str, float]:
        """The validation split's loss and measures, as what is kept of the net gives them."""
        still = self.net.still()
        finite = all(parameter.isfinite().all() for parameter in still.parameters())
        logits_NC = logits(still, validation.features_NH)
        loss = float(cross_entropy(logits_NC, validation.labels_N).mean())
        if not (finite and np.isfinite(loss) and np.isfinite(self.progress.loss)):
            raise TrialError(
                f"training diverged in epoch {len(self.points) + 1} for seeds [{self.seed}]: "
                "losses or parameters are no longer finite; try a learning rate below "
                f"{self.tuning.lr:g}"
            )
        measured = classification(logits_NC.unsqueeze(0), validation.labels_N, validation.logits_NC)
        return {"val.loss": loss} | {
            f"val.{name}": float(value_S[0]) for name, value_S in measured.items()
        }

    def _adam(self) -> torch.optim.AdamW:
        """AdamW, whose decay spares biases and norms."""
        parameters = [*trained(self.parts).values()]
        decayed = [one for one in parameters if one.dim() > 1]
        spared = [one for one in parameters if one.dim() < 2]
        groups: list[dict[str, Any]] = [
            {"params": decayed},
            {"params": spared, "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(
            groups,
            lr=self.tuning.lr,
            weight_decay=self.tuning.weight_decay,
            # One pass over memory, which embeddings that no batch has all of are most of.
            fused=True,
        )

    def _values(self) -> dict[str, Tensor]:
        """Everything that training changes, by name: parameters, and running statistics."""
        return {
            f"{at}.{name}": tensor
            for at, part in enumerate(self.parts)
            for name, tensor in part.state_dict().items()
        }

    @torch.no_grad()
    def _overwrite(self, values: dict[str, Tensor]) -> None:
        for name, tensor in self._values().items():
            tensor.copy_(values[name])

    def _keep(self, kept: Kept | None) -> None:
        """Keep where training stands, if that was not done for a while, and while it may end well:
        what has diverged shall say so again."""
        waits = time.perf_counter() - self.saved < KEEP_SECONDS
        if kept is None or waits or not np.isfinite(self.progress.loss):
            return
        state = {f"value/{name}": tensor for name, tensor in self._values().items()}
        for name, parameter in trained(self.parts).items():
            # Nothing is known of what has had no gradient yet.
            for part, tensor in self.adam.state.get(parameter, {}).items():
                state[f"{part}/{name}"] = tensor
        state |= {"rows": self.rows_N, "labels": self.labels_N}
        self.progress.state = {name: tensor.detach().cpu() for name, tensor in state.items()}
        told = {name: getattr(self.progress, name) for name in TOLD}
        finished = {f"row/{at}": row for at, row in enumerate(self.progress.rows)}
        kept.save(told, self.progress.state | finished)
        self.saved = time.perf_counter()

    def _restore(self) -> None:
        """Go on from what was kept."""
        state = self.progress.state
        self._overwrite({name: state[f"value/{name}"] for name in self._values()})
        for name, parameter in trained(self.parts).items():
            if f"{ADAM[0]}/{name}" in state:
                self.adam.state[parameter] = {
                    part: state[f"{part}/{name}"].to(parameter.device) for part in ADAM
                }
        self.rows_N, self.labels_N = state["rows"], state["labels"]


def _batch(ids_NT: Tensor, rows_N: Tensor, labels_N: Tensor) -> Batch:
    ids, mask = padded(ids_NT[rows_N])
    return Batch(ids, mask, labels_N.to(device()), rows_N.to(device()))


@contextmanager
def _dropout_masks(*seed: int) -> Iterator[None]:
    """Dropout draws from torch's own generator: seed it here, and leave it as it was."""
    where = device()
    with torch.random.fork_rng([] if where.type == "cpu" else [where]):
        torch.manual_seed(int(np.random.SeedSequence(seed).generate_state(1)[0]))
        yield
