"""Fine-tune a teacher under DeepSpeed on any number of workers, and publish its soft labels.

The same code is Ray Train's train loop and, as `run`, a job in this process.
The number of workers changes results only by round-off (and by dropout's masks, if there is any).
"""

import os
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import distributed

from jobs import fingerprints
from jobs.command import Progress, main
from jobs.fine_tune import Course, Report, accuracy, device, fine_tune, sharded_logits
from jobs.store import Store
from qdllm import teacher
from qdllm.errors import ConfigError, TeacherError
from qdllm.models import resolve
from qdllm.specs import Spec, TaskSpec, TeacherSpec
from qdllm.texts import data
from qdllm.texts.data import Dataset

KIND = fingerprints.SOFT_LABELS
TOLERANCE = {"float32": 1e-4, "bfloat16": 5e-2}
"""How far logits of the reloaded teacher may be from the live one's, absolute plus relative."""


class TeacherJob(Spec):
    """What `python -m jobs.teacher` reads."""

    task: TaskSpec = TaskSpec()
    teacher: TeacherSpec = TeacherSpec()
    store: str


def run(
    task: TaskSpec,
    spec: TeacherSpec,
    store: Store,
    dataset: Dataset,
    progress: Progress | None = None,
) -> str:
    """Fine-tune in this process and publish the soft labels, unless the store has them.

    `dataset`: the task's texts, whose files need not lie on this machine.
    Returns their fingerprint. Raises ConfigError for a model that cannot be used,
    TeacherError if training diverges or the reloaded teacher differs from the live one.
    """
    key = fingerprints.of_soft_labels(spec, fingerprints.of_task(task, dataset.digest))
    if not store.record(KIND, key):
        _join_group()
        _teach(task, spec, dataset, store, progress)
    return key


def train_loop(config: dict[str, Any]) -> ConfigError | TeacherError | None:
    """What each worker of Ray Train runs.

    `config`: `task` and `teacher` as plain data, `store` an address, `dataset` the task's texts as
    an object in Ray's store, and `progress` a `ray.util.queue.Queue` that takes (phase, done,
    total, note), or None.
    Goes on from the last checkpoint where Ray restarts it. What would go wrong again if it were
    started again is returned; only what may not is raised, for Ray to try once more.
    """
    import ray.train

    def report(metrics: dict[str, float], folder: Path) -> None:
        ray.train.report(metrics, checkpoint=ray.train.Checkpoint.from_directory(folder))

    warned = False

    def leaving() -> bool:
        """True once, when the cloud has said that it will take a worker's node away."""
        nonlocal warned
        before, warned = warned, warned or ray.train.get_preemption_info() is not None
        return warned and not before

    task, spec = TaskSpec.parse(config["task"]), TeacherSpec.parse(config["teacher"])
    queue, store = config["progress"], Store(config["store"])
    # Not `queue and …`: an empty queue is false.
    progress = None if queue is None else lambda *event: queue.put(event)
    checkpoint = ray.train.get_checkpoint()
    _join_group()
    with checkpoint.as_directory() if checkpoint else nullcontext() as folder:
        resume = Path(folder) if folder else None
        try:
            dataset = ray.get(config["dataset"])
            _teach(task, spec, dataset, store, progress, resume, report, leaving)
        except (ConfigError, TeacherError) as error:
            return error
    return None


def _teach(
    task: TaskSpec,
    spec: TeacherSpec,
    dataset: Dataset,
    store: Store,
    progress: Progress | None,
    resume: Path | None = None,
    report: Report | None = None,
    leaving: Callable[[], bool] = lambda: False,
) -> None:
    """Fine-tune, reload from what was saved, compare, publish; runs on every worker."""
    tell = _sparse(progress)
    course = fine_tune(spec, dataset, tell, resume, report, leaving)
    started = time.perf_counter()
    tokenizer, model = teacher.reload(spec, len(dataset.classes), course.adapter)
    logits_NC = sharded_logits(
        spec,
        model.to(device()),
        tokenizer,
        dataset.texts,
        lambda done, total: tell("soft labels", done, total, "on each worker"),
    )
    splits = dataset.by_split(logits_NC)
    _compare(splits["validation"], course.validation_NC, spec)
    if distributed.get_rank() == 0:
        seconds = course.seconds + time.perf_counter() - started
        commit = getattr(model.transformer.config, "_commit_hash", None)
        _publish(task, spec, dataset, store, course, splits, seconds, commit)


def _compare(reloaded_NC: np.ndarray, live_NC: np.ndarray, spec: TeacherSpec) -> None:
    tolerance = TOLERANCE[spec.precision]
    if not np.allclose(reloaded_NC, live_NC, rtol=tolerance, atol=tolerance):
        raise TeacherError(
            f"the teacher {spec.model!r}, loaded again from what was saved, gives logits that "
            f"differ from the live ones by up to {np.abs(reloaded_NC - live_NC).max():.3g}, more "
            f"than {tolerance:g} for {spec.precision}; nothing was published"
        )


def _publish(
    task: TaskSpec,
    spec: TeacherSpec,
    dataset: Dataset,
    store: Store,
    course: Course,
    splits: dict[str, np.ndarray],
    seconds: float,
    commit: str | None,
) -> None:
    """The adapter under a key made of its content, then the soft labels, which name it."""
    task_key = fingerprints.of_task(task, dataset.digest)
    plain, model = spec.model_dump(mode="json"), resolve(spec.model, spec.weights).digest
    adapter = {name: value.float().numpy() for name, value in course.adapter.items()}
    digest = sha256()
    for name in sorted(adapter):
        digest.update(name.encode() + adapter[name].tobytes())
    adapter_key = digest.hexdigest()[:16]
    summary = {
        "accuracy": {
            name: accuracy(logits_NC, getattr(dataset, name).labels_N)
            for name, logits_NC in splits.items()
        },
        "best_epoch": 1 + [point["val.accuracy"] for point in course.curve].index(course.best),
        "classes": list(dataset.classes),
        "commit": commit,
        "curve": course.curve,
        "parameters": sum(value.size for value in adapter.values()),
        "rows": dataset.rows,
        "workers": distributed.get_world_size(),
    }
    made_from = {"task": task_key, "model": model}
    store.publish(
        fingerprints.ADAPTERS,
        adapter_key,
        tensors=adapter,
        spec=plain,
        made_from=made_from,
        summary=summary,
        seconds=course.seconds,
    )
    store.publish(
        KIND,
        fingerprints.of_soft_labels(spec, task_key),
        tensors=splits,
        spec=plain,
        made_from=made_from | {"adapter": adapter_key},
        summary=summary,
        seconds=seconds,
    )


def _join_group() -> None:
    """The process group that DeepSpeed needs: of this process alone, if it is in none.

    It lasts as long as the process, since DeepSpeed holds on to the groups of its first engine.
    """
    if not distributed.is_initialized():
        os.environ.setdefault("LOCAL_RANK", "0")
        backend = "nccl" if torch.cuda.is_available() else "gloo"
        distributed.init_process_group(backend, store=distributed.HashStore(), rank=0, world_size=1)


def _sparse(progress: Progress | None, every: float = 0.5) -> Progress:
    """Progress of the first worker only, and no more often than a reader can follow."""
    if progress is None or distributed.get_rank() != 0:
        return lambda phase, done, total, note: None
    last = -every

    def tell(phase: str, done: int, total: int, note: str) -> None:
        nonlocal last
        if done >= total or time.monotonic() - last >= every:
            last = time.monotonic()
            progress(phase, done, total, note)

    return tell


def _run(job: TeacherJob, progress: Progress) -> str:
    """Fine-tune a teacher with LoRA under DeepSpeed, and publish its soft labels."""
    return run(job.task, job.teacher, Store(job.store), data.load(job.task), progress)


if __name__ == "__main__":
    sys.exit(main(TeacherJob, _run))
