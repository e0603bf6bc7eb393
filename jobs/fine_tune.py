"""Fine-tuning and inference on all workers of a process group."""

import gc
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import distributed
from torch.nn.functional import cross_entropy

from jobs import zero
from jobs.checkpoint import Checkpoints, Course
from jobs.command import Progress
from jobs.zero import device
from qdllm import teacher
from qdllm.batches import batches
from qdllm.encoder import pad, tokenize
from qdllm.errors import ConfigError, TeacherError
from qdllm.specs import TeacherSpec
from qdllm.texts import data

CHECKPOINT_STEPS = 500
"""Steps between two checkpoints inside an epoch: what a killed worker costs at most."""

LOOK_STEPS = 10
"""Steps between two looks at whether a node is about to be taken away."""


@zero.linear_kept()
def fine_tune(
    spec: TeacherSpec,
    dataset: data.Dataset,
    tell: Progress,
    checkpoints: Checkpoints | None = None,
    leaving: Callable[[], bool] = lambda: False,
) -> Course:
    """Train for all epochs, or what the checkpoint lacks of them; keep the best.

    A checkpoint is saved after every epoch, every `CHECKPOINT_STEPS` inside one, and when
    `leaving()` says, on all workers alike, that one of them is about to be lost.
    Raises ConfigError if the workers cannot share a batch evenly, TeacherError if the loss is not
    finite, and StoreError where a checkpoint cannot be read or saved.
    """
    micro = _micro_batch(spec)
    tokenizer, model = teacher.build(spec, len(dataset.classes))
    tokens = tokenize(tokenizer, dataset.train.texts, spec.max_length)
    course, engine = _begin(spec, model, micro, checkpoints, len(dataset.validation.texts), tell)
    while len(course.curve) < spec.epochs:
        began = time.perf_counter() - course.elapsed
        # Only one worker goes on from the sum over all of them.
        before = course.loss if distributed.get_rank() == 0 else 0.0
        total = torch.tensor(before, dtype=torch.float64, device=engine.device)
        steps = _steps(engine, spec, course, tokens, dataset.train.labels_N, tokenizer, tell)
        for course.step, loss in steps:
            total += loss
            if course.step % LOOK_STEPS or not checkpoints:
                continue
            if course.step % CHECKPOINT_STEPS == 0 or leaving():
                course.loss, course.elapsed = _summed(total), time.perf_counter() - began
                _save(checkpoints, engine, model, course)
        point = {"train.loss": _summed(total) / len(tokens)}
        if not math.isfinite(point["train.loss"]):
            raise TeacherError(
                f"the teacher's loss is not finite in epoch {len(course.curve) + 1} of "
                f"{spec.epochs}: give a learning rate below {spec.lr:g}"
            )
        model.eval()
        validation_NC = sharded_logits(spec, model, tokenizer, dataset.validation.texts)
        # Under ZeRO 3 the last forward pass has weights under way for a backward pass.
        engine.empty_partition_cache()
        point["val.accuracy"] = accuracy(validation_NC, dataset.validation.labels_N)
        if point["val.accuracy"] > course.best:
            course.adapter, course.validation_NC = zero.gathered_adapter(model), validation_NC
        point["seconds"] = time.perf_counter() - began
        course.curve.append(point)
        course.step, course.loss, course.elapsed = 0, 0.0, 0.0
        if checkpoints:
            _save(checkpoints, engine, model, course)
    engine.destroy()
    zero.empty(model)
    del engine, model
    gc.collect()  # An engine refers to itself in circles, and with it Adam's state would stay.
    return course


def sharded_logits(
    spec: TeacherSpec,
    model: torch.nn.Module,
    tokenizer: Any,
    texts: Sequence[str],
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """logits_NC in the order of `texts` on every worker, each having computed its share.

    Shares are equally long, the last rows wrapping around: under ZeRO 3 every forward pass is a
    meeting of all workers.
    """
    rank, world = distributed.get_rank(), distributed.get_world_size()
    share = math.ceil(len(texts) / world)
    mine = [texts[row % len(texts)] for row in range(rank, share * world, world)]
    part_NC = teacher.logits(model, tokenizer, mine, spec.max_length, progress=progress)
    part = torch.from_numpy(part_NC).to(device())
    parts = [torch.empty_like(part) for _ in range(world)]
    distributed.all_gather(parts, part)
    return torch.stack(parts, 1).flatten(0, 1)[: len(texts)].cpu().numpy()


def accuracy(logits_NC: np.ndarray, labels_N: np.ndarray) -> float:
    """The share of rows whose largest logit is the label's."""
    return float((logits_NC.argmax(1) == labels_N).mean())


def _micro_batch(spec: TeacherSpec) -> int:
    """How many rows a worker computes at once. Raises ConfigError if a batch cannot be cut so."""
    world = distributed.get_world_size()
    micro = spec.micro_batch_size or max(1, spec.batch_size // world)
    if spec.batch_size % (world * micro):
        raise ConfigError(
            f"batch size {spec.batch_size} cannot be shared evenly by {world} workers, {micro} "
            f"rows at a time: give a multiple of {world * micro}, or another number of workers"
        )
    return micro


def _begin(
    spec: TeacherSpec,
    model: teacher.Classifier,
    micro: int,
    checkpoints: Checkpoints | None,
    rows: int,
    tell: Progress,
) -> tuple[Course, Any]:
    """The course so far, and an engine that goes on from its end. `rows`: of the validation split.

    Where nothing was saved, or nothing that can be used, that is the very beginning.
    """
    if checkpoints is None:
        return Course(), zero.engine(spec, model, micro)
    saved = checkpoints.load(model, rows, lambda line: tell("teacher", 0, 0, line))
    return saved.course, zero.engine(spec, model, micro, saved.state, saved.updates)


def _save(checkpoints: Checkpoints, engine: Any, model: teacher.Classifier, course: Course) -> None:
    """Save what is needed to go on from here; every worker brings its part."""
    state, updates = zero.gathered_state(engine, model)
    if distributed.get_rank() == 0:
        checkpoints.save(course, state, updates)


def _steps(
    engine: Any,
    spec: TeacherSpec,
    course: Course,
    tokens: list[list[int]],
    labels_N: np.ndarray,
    tokenizer: Any,
    tell: Progress,
) -> Iterator[tuple[int, torch.Tensor]]:
    """What is left of an epoch: after each step how many are done, and this worker's summed loss.

    Which rows a step sees, and which dropout masks, hangs on its number alone.
    """
    rank, world, epoch = distributed.get_rank(), distributed.get_world_size(), len(course.curve)
    generator = np.random.default_rng([spec.seed, epoch])
    cut = batches([len(ids) for ids in tokens], spec.batch_size, generator)
    steps, first = spec.epochs * len(cut), epoch * len(cut)
    micro, parts = engine.train_micro_batch_size_per_gpu(), engine.gradient_accumulation_steps()
    engine.train()
    for done in range(course.step, len(cut)):
        rows, step = cut[done], first + done
        for group in engine.optimizer.param_groups:
            group["lr"] = teacher.learning_rate(spec, step, steps)
        share, total = rows[rank::world], torch.zeros((), device=engine.device)
        with _dropout_masks(spec.seed, step, rank) if spec.dropout else nullcontext():
            for start in range(0, micro * parts, micro):
                # A worker without rows left in a last, short batch still has to take part.
                mine, weight = share[start : start + micro], 1.0
                if not len(mine):
                    mine, weight = rows[:1], 0.0
                batch = pad([tokens[row] for row in mine], tokenizer.pad_token_id)
                logits_NC = engine(**{name: ids.to(engine.device) for name, ids in batch.items()})
                wanted_N = torch.from_numpy(labels_N[mine]).to(engine.device)
                loss = weight * cross_entropy(logits_NC, wanted_N, reduction="sum")
                # DeepSpeed averages over workers and parts: this is the sum over rows / batch size.
                engine.backward(loss * world * parts / spec.batch_size)
                engine.step()
                total += loss.detach()
        tell("teacher", step + 1, steps, f"epoch {epoch + 1} of {spec.epochs}")
        yield done + 1, total


def _summed(total: torch.Tensor) -> float:
    """The sum over all workers."""
    everywhere = total.clone()
    distributed.all_reduce(everywhere)
    return float(everywhere)


@contextmanager
def _dropout_masks(*seed: int) -> Iterator[None]:
    """Dropout draws from torch's own generator: seed it here, and leave it as it was."""
    devices = [] if device().type == "cpu" else [device()]
    with torch.random.fork_rng(devices):
        torch.manual_seed(int(np.random.SeedSequence(seed).generate_state(1)[0]))
        yield
