"""Fine-tune a teacher under DeepSpeed on any number of workers, and publish its soft labels.

The same code is Ray Train's train loop and, as `run`, a job in this process.
The number of workers changes results only by round-off (and by dropout's masks, if there is any).
"""

import sys
import time
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import numpy as np
from torch import distributed

from jobs import kinds
from jobs.checkpoint import Checkpoints, Course
from jobs.command import Progress, main
from jobs.fine_tune import accuracy, fine_tune, sharded_logits
from jobs.kinds import Job
from jobs.kinds.teachers import ADAPTERS, SHORT, SOFT_LABELS
from jobs.requests import TeacherRequest
from jobs.store import Store
from jobs.store.patient import PatientStore
from jobs.zero import device, join_group
from qdllm import teacher
from qdllm.errors import ConfigError, TeacherError
from qdllm.models import pinned, resolve
from qdllm.specs import TeacherSpec
from qdllm.texts import data
from qdllm.texts.data import Dataset

TOLERANCE = {"float32": 1e-4, "bfloat16": 5e-2}
"""How far logits of the reloaded teacher may be from the live one's, absolute plus relative."""


def run(
    job: Job[TeacherSpec],
    dataset: Dataset,
    store: Store,
    progress: Progress | None = None,
) -> None:
    """Fine-tune in this process and publish the soft labels, unless the store has them.

    `dataset`: the task's texts, whose files need not lie on this machine. Goes on from the
    checkpoint that the store may have. Raises ConfigError for a model that cannot be used,
    TeacherError if training diverges or the reloaded teacher differs from the live one.
    """
    join_group()
    _teach(job, dataset, store, progress)


def train_loop(config: dict[str, Any]) -> ConfigError | TeacherError | None:
    """What each worker of Ray Train runs.

    `config`: `job` as text, `store` an address, `dataset` the task's texts as an object in Ray's
    store, and `progress`.
    Goes on from the store's checkpoint where Ray restarts it. What would go wrong again if it were
    started again is returned; only what may not is raised, for Ray to try once more.
    """
    import ray.train

    warned = False

    def leaving() -> bool:
        """True once, when the cloud has said that it will take a worker's node away."""
        nonlocal warned
        before, warned = warned, warned or ray.train.get_preemption_info() is not None
        return warned and not before

    job, store = kinds.read(config["job"]), PatientStore(config["store"])
    join_group()
    try:
        _teach(job, ray.get(config["dataset"]), store, config["progress"], leaving)
    except (ConfigError, TeacherError) as error:
        return error
    return None


def _teach(
    job: Job[TeacherSpec],
    dataset: Dataset,
    store: Store,
    progress: Progress | None,
    leaving: Callable[[], bool] = lambda: False,
) -> None:
    """Fine-tune, reload from what was saved, compare, publish, unless that is done.

    Runs on every worker. One that was killed may have published, and is not to begin anew.
    """
    if store.has(SOFT_LABELS.name, job.fingerprint):
        return
    tell, spec = _sparse(progress), _as_planned(job)
    checkpoints = Checkpoints(job, store)
    course = fine_tune(spec, dataset, tell, checkpoints, leaving)
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
    _compare(splits["validation"], course.validation_NC, job.spec)
    if distributed.get_rank() == 0:
        seconds = course.seconds + time.perf_counter() - started
        commit = resolve(spec.model, spec.weights).revision
        _publish(job, dataset, store, course, splits, seconds, commit)
        checkpoints.clear()


def _as_planned(job: Job[TeacherSpec]) -> TeacherSpec:
    """The spec with a name for the very model that the job's fingerprint was made with."""
    spec = job.spec
    name = pinned(spec.model, spec.weights, job.made_from["model"])
    return spec.model_copy(update={"model": name})


def _compare(reloaded_NC: np.ndarray, live_NC: np.ndarray, spec: TeacherSpec) -> None:
    tolerance = TOLERANCE[spec.precision]
    if not np.allclose(reloaded_NC, live_NC, rtol=tolerance, atol=tolerance):
        raise TeacherError(
            f"the teacher {spec.model!r}, loaded again from what was saved, gives logits that "
            f"differ from the live ones by up to {np.abs(reloaded_NC - live_NC).max():.3g}, more "
            f"than {tolerance:g} for {spec.precision}; nothing was published"
        )


def _publish(
    job: Job[TeacherSpec],
    dataset: Dataset,
    store: Store,
    course: Course,
    splits: dict[str, np.ndarray],
    seconds: float,
    commit: str | None,
) -> None:
    """The adapter under a key made of its content, then the soft labels, which name it."""
    plain = job.spec.model_dump(mode="json")
    adapter = {name: value.float().numpy() for name, value in course.adapter.items()}
    digest = sha256()
    for name in sorted(adapter):
        digest.update(name.encode() + adapter[name].tobytes())
    adapter_key = digest.hexdigest()[:16]
    summary = {
        "metrics": {
            f"{SHORT[name]}.accuracy": accuracy(logits_NC, getattr(dataset, name).labels_N)
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
    store.publish(
        ADAPTERS.name,
        adapter_key,
        tensors=adapter,
        spec=plain,
        made_from=job.made_from,
        summary=summary,
        seconds=course.seconds,
    )
    store.publish(
        SOFT_LABELS.name,
        job.fingerprint,
        tensors=splits,
        spec=plain,
        made_from={**job.made_from, "adapter": adapter_key},
        summary=summary,
        seconds=seconds,
    )


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


def _run(request: TeacherRequest, progress: Progress) -> str:
    """Fine-tune a teacher with LoRA under DeepSpeed, and publish its soft labels."""
    dataset = data.load(request.task)
    job = kinds.named(SOFT_LABELS.name, request.teacher, request.task, dataset.digest)
    run(job, dataset, Store(request.store), progress)
    return job.fingerprint


if __name__ == "__main__":
    sys.exit(main(TeacherRequest, _run))
