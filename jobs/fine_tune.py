"""Fine-tuning and inference on all workers of a process group; DeepSpeed's only home."""

import json
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
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
from qdllm import teacher
from qdllm.encoder import pad, tokenize
from qdllm.errors import ConfigError, TeacherError
from qdllm.specs import TeacherSpec
from qdllm.texts import data

CLIP = 1.0
"""Gradients are scaled down to this norm."""

CHECKPOINT_STEPS = 500
"""Steps between two checkpoints inside an epoch: what a killed worker costs at most."""

LOOK_STEPS = 10
"""Steps between two looks at whether a node is about to be taken away."""

Report = Callable[[dict[str, float], Path], None]
"""Called on every worker with metrics, if there are new ones, and a checkpoint's folder."""


@dataclass
class Course:
    """How fine-tuning went so far: a point per epoch, and the best epoch's adapter and logits."""

    curve: list[dict[str, float]] = field(default_factory=list)
    adapter: dict[str, torch.Tensor] = field(default_factory=dict)
    validation_NC: np.ndarray = field(default_factory=lambda: np.empty((0, 0), np.float32))
    step: int = 0
    """Batches of the epoch under way that are done."""
    loss: float = 0.0
    """Their loss, summed over all rows and workers."""
    elapsed: float = 0.0
    """Seconds they took."""

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
        plain = {name: getattr(self, name) for name in ("curve", "step", "loss", "elapsed")}
        (folder / "course.json").write_text(json.dumps(plain), encoding="utf-8")
        save_file(self.adapter, folder / "adapter.safetensors")
        np.save(folder / "validation.npy", self.validation_NC)

    @classmethod
    def load(cls, folder: Path) -> "Course":
        """What `save` wrote."""
        return cls(
            adapter=load_file(folder / "adapter.safetensors"),
            validation_NC=np.load(folder / "validation.npy"),
            **json.loads((folder / "course.json").read_text(encoding="utf-8")),
        )


def fine_tune(
    spec: TeacherSpec,
    dataset: data.Dataset,
    tell: Progress,
    resume: Path | None = None,
    report: Report | None = None,
    leaving: Callable[[], bool] = lambda: False,
) -> Course:
    """Train for all epochs, or what the checkpoint `resume` lacks of them; keep the best.

    A checkpoint is reported after every epoch, every `CHECKPOINT_STEPS` inside one, and when
    `leaving()` says, on all workers alike, that one of them is about to be lost.
    Raises ConfigError if the workers cannot share a batch evenly, TeacherError if the loss is not
    finite.
    """
    micro = _micro_batch(spec)
    tokenizer, model = teacher.build(spec, len(dataset.classes))
    tokens = tokenize(tokenizer, dataset.train.texts, spec.max_length)
    engine, course = _engine(spec, model, micro), Course()
    if resume:
        course = Course.load(resume)
        engine.load_checkpoint(str(resume), tag="engine", load_module_strict=False)
    while len(course.curve) < spec.epochs:
        began = time.perf_counter() - course.elapsed
        # Only one worker goes on from the sum over all of them.
        before = course.loss if distributed.get_rank() == 0 else 0.0
        total = torch.tensor(before, dtype=torch.float64, device=engine.device)
        steps = _steps(engine, spec, course, tokens, dataset.train.labels_N, tokenizer, tell)
        for course.step, loss in steps:
            total += loss
            if course.step % LOOK_STEPS or not report:
                continue
            if course.step % CHECKPOINT_STEPS == 0 or leaving():
                course.loss, course.elapsed = _summed(total), time.perf_counter() - began
                _checkpoint(engine, course, {}, report)
        point = {"train.loss": _summed(total) / len(tokens)}
        if not math.isfinite(point["train.loss"]):
            raise TeacherError(
                f"the teacher's loss is not finite in epoch {len(course.curve) + 1} of "
                f"{spec.epochs}: give a learning rate below {spec.lr:g}"
            )
        model.eval()
        validation_NC = sharded_logits(spec, model, tokenizer, dataset.validation.texts)
        point["val.accuracy"] = accuracy(validation_NC, dataset.validation.labels_N)
        if point["val.accuracy"] > course.best:
            course.adapter, course.validation_NC = _gathered(model), validation_NC
        point["seconds"] = time.perf_counter() - began
        course.curve.append(point)
        course.step, course.loss, course.elapsed = 0, 0.0, 0.0
        if report:
            _checkpoint(engine, course, point, report)
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


def _engine(spec: TeacherSpec, model: teacher.Classifier, micro: int) -> Any:
    """The model under DeepSpeed, with torch's AdamW over LoRA and the head."""
    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    elif spec.precision == "bfloat16" and not torch.cuda.is_bf16_supported(False):
        raise ConfigError(
            f"{torch.cuda.get_device_name()} has no bfloat16: give precision: float32, or workers "
            "with newer GPUs"
        )
    import deepspeed
    import deepspeed.ops

    # Without this, initialize() on CPU compiles a kernel for a minute and needs g++ and ninja.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    if spec.gradient_checkpointing:
        model.transformer.gradient_checkpointing_enable({"use_reentrant": False})
    zero: dict[str, Any] = {"stage": spec.zero_stage}
    if spec.offload:
        # What is worth moving: the frozen weights, which only stage 3 can move, else Adam's state.
        zero["offload_param" if spec.zero_stage == 3 else "offload_optimizer"] = {"device": "cpu"}
    parameters = list(teacher.trainable(model).values())
    engine, *_ = deepspeed.initialize(
        model=model,
        optimizer=torch.optim.AdamW(parameters, lr=spec.lr, weight_decay=spec.weight_decay),
        config={
            "train_batch_size": spec.batch_size,
            "train_micro_batch_size_per_gpu": micro,
            "gradient_clipping": CLIP,
            "zero_optimization": zero,
            "zero_allow_untested_optimizer": True,
            "zero_force_ds_cpu_optimizer": False,
            "bf16": {"enabled": spec.precision == "bfloat16"},
        },
    )
    return engine


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
    batches = teacher.batches([len(ids) for ids in tokens], spec.batch_size, generator)
    steps, first = spec.epochs * len(batches), epoch * len(batches)
    micro, parts = engine.train_micro_batch_size_per_gpu(), engine.gradient_accumulation_steps()
    engine.train()
    for done in range(course.step, len(batches)):
        rows, step = batches[done], first + done
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


def _checkpoint(engine: Any, course: Course, metrics: dict[str, float], report: Report) -> None:
    """Report what is needed to go on from here; each worker brings its part of the engine."""
    with TemporaryDirectory() as name:
        engine.save_checkpoint(name, tag="engine", exclude_frozen_parameters=True)
        if distributed.get_rank() == 0:
            course.save(Path(name))
        report(metrics, Path(name))


def _gathered(model: teacher.Classifier) -> dict[str, torch.Tensor]:
    """A copy of the adapter, whole on every worker also where ZeRO 3 spreads it over them."""
    import deepspeed

    with deepspeed.zero.GatheredParameters(list(teacher.trainable(model).values())):
        return {name: tensor.cpu().clone() for name, tensor in teacher.adapter_of(model).items()}


@contextmanager
def _dropout_masks(*seed: int) -> Iterator[None]:
    """Dropout draws from torch's own generator: seed it here, and leave it as it was."""
    devices = [] if device().type == "cpu" else [device()]
    with torch.random.fork_rng(devices):
        torch.manual_seed(int(np.random.SeedSequence(seed).generate_state(1)[0]))
        yield
