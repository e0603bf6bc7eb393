"""Encode every split of a task once with the frozen text encoder, and publish the features."""

import sys
import time

import torch

from jobs import fingerprints
from jobs.command import Progress, main
from jobs.store import Store
from qdllm.encoder import Encoder
from qdllm.models import resolve
from qdllm.specs import EncoderSpec, Spec, TaskSpec
from qdllm.texts import data
from qdllm.texts.data import Dataset

KIND = fingerprints.FEATURES


class FeaturesJob(Spec):
    """What `python -m jobs.features` reads."""

    task: TaskSpec = TaskSpec()
    encoder: EncoderSpec = EncoderSpec()
    store: str


def run(
    task: TaskSpec,
    encoder: EncoderSpec,
    store: Store,
    dataset: Dataset,
    progress: Progress | None = None,
) -> str:
    """Publish `features_NH` of train, validation and test, unless the store has them.

    `dataset`: the task's texts, whose files need not lie on this machine.
    Returns their fingerprint. Raises ConfigError for a model that cannot be used.
    """
    task_key = fingerprints.of_task(task, dataset.digest)
    key = fingerprints.of_features(encoder, task_key)
    if store.record(KIND, key):
        return key
    started = time.perf_counter()
    encode = Encoder(encoder, "cuda" if torch.cuda.is_available() else "cpu")
    features_NH = encode(
        dataset.texts,
        progress=progress and (lambda done, total: progress("features", done, total, "")),
    )
    store.publish(
        KIND,
        key,
        tensors=dataset.by_split(features_NH),
        spec=encoder.model_dump(mode="json"),
        made_from={"task": task_key, "model": resolve(encoder.model, encoder.weights).digest},
        summary={"width": encode.width, "rows": dataset.rows, "texts": len(dataset.texts)},
        seconds=time.perf_counter() - started,
    )
    return key


def _run(job: FeaturesJob, progress: Progress) -> str:
    """Encode every split of a task with the frozen text encoder, and publish the features."""
    return run(job.task, job.encoder, Store(job.store), data.load(job.task), progress)


if __name__ == "__main__":
    sys.exit(main(FeaturesJob, _run))
