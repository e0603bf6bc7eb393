"""Encode every split of a task once with the frozen text encoder, and publish the features."""

import sys
import time

import torch

from jobs import kinds
from jobs.command import Progress, main, silent
from jobs.kinds import Job
from jobs.kinds.features import FEATURES
from jobs.requests import FeaturesRequest
from jobs.store import Store
from qdllm.encoder import Encoder
from qdllm.models import pinned
from qdllm.specs import EncoderSpec
from qdllm.texts import data
from qdllm.texts.data import Dataset


def run(job: Job[EncoderSpec], dataset: Dataset, store: Store, progress: Progress = silent) -> None:
    """Publish `features_NH` of train, validation and test, unless the store has them.

    `dataset`: the task's texts, whose files need not lie on this machine.
    Raises ConfigError for a model that cannot be used.
    """
    if store.has(FEATURES.name, job.fingerprint):
        return
    started = time.perf_counter()
    model = pinned(job.spec.model, job.spec.weights, job.made_from["model"])
    spec = job.spec.model_copy(update={"model": model})
    encode = Encoder(spec, "cuda" if torch.cuda.is_available() else "cpu")
    features_NH = encode(
        dataset.texts, progress=lambda done, total: progress("features", done, total, "")
    )
    store.publish(
        FEATURES.name,
        job.fingerprint,
        tensors=dataset.by_split(features_NH),
        spec=job.spec.model_dump(mode="json"),
        made_from=job.made_from,
        summary={"width": encode.width, "rows": dataset.rows, "texts": len(dataset.texts)},
        seconds=time.perf_counter() - started,
    )


def _run(request: FeaturesRequest, progress: Progress) -> str:
    """Encode every split of a task with the frozen text encoder, and publish the features."""
    dataset = data.load(request.task)
    job = kinds.named(FEATURES.name, request.encoder, request.task, dataset.digest)
    run(job, dataset, Store(request.store), progress)
    return job.fingerprint


if __name__ == "__main__":
    sys.exit(main(FeaturesRequest, _run))
