"""Fine-tuning and inference on all workers of a process group; DeepSpeed's only home."""

import json
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import distributed
from torch.nn.functional import cross_entropy

from jobs.command import Progress
from qdllm import data, teacher
from qdllm.encoder import pad, tokenize
from qdllm.errors import ConfigError, TeacherError
from qdllm.specs import TeacherSpec

CLIP = 1.0
"""Gradients are scaled down to this norm."""

Report = Callable[[dict[str, float], Path], None]
"""Called on every worker after every epoch, with its metrics and a checkpoint's folder."""


@dataclass
class Course:
    """How fine-tuning went so far: a point per epoch, and the best epoch's adapter and logits."""

    curve: list[dict[str, float]] = field(default_factory=list)
    adapter: dict[str, torch.Tensor] = field(default_factory=dict)
    validation_NC: np.ndarray = field(default_factory=lambda: np.empty((0, 0), np.float32))

    @property
    def seconds(self) -> float:
        """Time spent, over all restarts."""
        return sum(epoch["seconds"] for epoch in self.curve)

    @property
    def best(self) -> float:
        """The highest validation accuracy; negative before the first epoch."""
        return max((epoch["val.accuracy"] for epoch in self.curve), default=-1.0)

    def save(self, folder: Path) -> None:
        """Write it beside the engine's own files."""
        (folder / "curve.json").write_text(json.dumps(self.curve), encoding="utf-8")
        save_file(self.adapter, folder / "adapter.safetensors")
        np.save(folder / "validation.npy", self.validation_NC)

    @classmethod
    def load(cls, folder: Path) -> "Course":
        """What `save` wrote."""
        return cls(
            json.loads((folder / "curve.json").read_text(encoding="utf-8")),
            load_file(folder / "adapter.safetensors"),
            np.load(folder / "validation.npy"),
        )


def fine_tune(
    spec: TeacherSpec,
    dataset: data.Dataset,
    tell: Progress,
    resume: Path | None = None,
    report: Report | None = None,
) -> Course:
    """Train for all epochs, or those that the checkpoint `resume` lacks; keep the best.

    Raises ConfigError if the workers cannot share a batch evenly, TeacherError if the loss is not
    finite.
    """
    world = distributed.get_world_size()
    if spec.batch_size % world:
        raise ConfigError(
            f"batch size {spec.batch_size} cannot be shared evenly by {world} workers: "
            f"give a multiple of {world}, or another number of workers"
        )
    tokenizer, model = teacher.build(spec, len(dataset.classes))
    tokens = tokenize(tokenizer, dataset.train.texts, spec.max_length)
    engine, course = _engine(spec, model, world), Course()
    if resume:
        course = Course.load(resume)
        engine.load_checkpoint(str(resume), tag="engine", load_module_strict=False)
    for epoch in range(len(course.curve), spec.epochs):
        started = time.perf_counter()
        loss = _epoch(engine, spec, epoch, tokens, tokenizer.pad_token_id, dataset, tell)
        if not math.isfinite(loss):
            raise TeacherError(
                f"the teacher's loss is not finite in epoch {epoch + 1} of {spec.epochs}: "
                f"give a learning rate below {spec.lr:g}"
            )
        model.eval()
        validation_NC = sharded_logits(spec, model, tokenizer, dataset.validation.texts)
        reached = accuracy(validation_NC, dataset.validation.labels_N)
        if reached > course.best:
            course.adapter, course.validation_NC = _gathered(model), validation_NC
        seconds = time.perf_counter() - started
        point = {"train.loss": loss, "val.accuracy": reached, "seconds": seconds}
        course.curve.append(point)
        if report:
            with TemporaryDirectory() as name:
                engine.save_checkpoint(name, tag="engine", exclude_frozen_parameters=True)
                if distributed.get_rank() == 0:
                    course.save(Path(name))
                report(point, Path(name))
    engine.destroy()
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


def device() -> torch.device:
    """This worker's device, which Ray or DeepSpeed has made the current one."""
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")


def _engine(spec: TeacherSpec, model: teacher.Classifier, world: int) -> Any:
    """The model under DeepSpeed, with torch's AdamW over LoRA and the head."""
    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    import deepspeed
    import deepspeed.ops

    # Without this, initialize() on CPU compiles a kernel for a minute and needs g++ and ninja.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    parameters = list(teacher.trainable(model).values())
    engine, *_ = deepspeed.initialize(
        model=model,
        optimizer=torch.optim.AdamW(parameters, lr=spec.lr, weight_decay=spec.weight_decay),
        config={
            "train_batch_size": spec.batch_size,
            "train_micro_batch_size_per_gpu": spec.batch_size // world,
            "gradient_clipping": CLIP,
            "zero_optimization": {"stage": spec.zero_stage},
            "zero_allow_untested_optimizer": True,
            "bf16": {"enabled": spec.precision == "bfloat16"},
        },
    )
    return engine


def _epoch(
    engine: Any,
    spec: TeacherSpec,
    epoch: int,
    tokens: list[list[int]],
    pad_token_id: int,
    dataset: data.Dataset,
    tell: Progress,
) -> float:
    """One pass over the train split; returns the mean loss over its rows, on every worker."""
    rank, world = distributed.get_rank(), distributed.get_world_size()
    generator = np.random.default_rng([spec.seed, epoch])
    batches = teacher.batches([len(ids) for ids in tokens], spec.batch_size, generator)
    steps, first = spec.epochs * len(batches), epoch * len(batches)
    engine.train()
    total = torch.zeros((), device=engine.device)
    with _dropout_masks(spec.seed, epoch, rank):
        for step, rows in enumerate(batches, start=first):
            for group in engine.optimizer.param_groups:
                group["lr"] = teacher.learning_rate(spec, step, steps)
            # A worker without a row in a last, short batch still has to take part in the step.
            mine, weight = (rows[rank::world], 1.0) if rank < len(rows) else (rows[:1], 0.0)
            batch = pad([tokens[row] for row in mine], pad_token_id)
            logits_NC = engine(**{name: ids.to(engine.device) for name, ids in batch.items()})
            labels_N = torch.from_numpy(dataset.train.labels_N[mine]).to(engine.device)
            loss = weight * cross_entropy(logits_NC, labels_N, reduction="sum")
            # DeepSpeed averages over workers, which makes this the sum over rows / batch size.
            engine.backward(loss * world / spec.batch_size)
            engine.step()
            total += loss.detach()
            tell("teacher", step + 1, steps, f"epoch {epoch + 1} of {spec.epochs}")
    distributed.all_reduce(total)
    return float(total) / len(tokens)


def _gathered(model: teacher.Classifier) -> dict[str, torch.Tensor]:
    """A copy of the adapter, whole on every worker also where ZeRO 3 spreads it over them."""
    import deepspeed

    parameters = teacher.trainable(model)
    with deepspeed.zero.GatheredParameters(list(parameters.values())):
        return {name: value.detach().cpu().clone() for name, value in parameters.items()}


@contextmanager
def _dropout_masks(*seed: int) -> Iterator[None]:
    """Dropout draws from torch's own generator: seed it here, and leave it as it was."""
    devices = [] if device().type == "cpu" else [device()]
    with torch.random.fork_rng(devices):
        torch.manual_seed(int(np.random.SeedSequence(seed).generate_state(1)[0]))
        yield
