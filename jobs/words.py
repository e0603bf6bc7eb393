"""Fit a linear model to the texts' own words, measure it, and publish what it reaches."""

import sys
import time

import numpy as np
import torch

from jobs import kinds
from jobs.command import Progress, main, silent
from jobs.kinds import Job
from jobs.kinds.words import WORDS, WordsSpec
from jobs.requests import WordsRequest
from jobs.store import Store
from qdllm import words
from qdllm.metrics import classification
from qdllm.texts import data
from qdllm.texts.data import SPLITS, Dataset


def run(job: Job[WordsSpec], dataset: Dataset, store: Store, progress: Progress = silent) -> None:
    """Publish accuracy and the other measures of each split, unless the store has them."""
    if store.has(WORDS.name, job.fingerprint):
        return
    began = time.perf_counter()
    fitted = words.fit(dataset.train, dataset.validation)
    metrics, logits = {}, {}
    for split, short in zip(SPLITS, ("train", "val", "test"), strict=True):
        part = getattr(dataset, split)
        logits[split] = fitted(part.texts)
        logits_1NC = torch.from_numpy(logits[split]).unsqueeze(0)
        for name, value_1 in classification(logits_1NC, torch.from_numpy(part.labels_N)).items():
            metrics[f"{short}.{name}"] = float(value_1)
    progress(WORDS.name, 1, 1, "")
    store.publish(
        WORDS.name,
        job.fingerprint,
        tensors={split: logits_NC.astype(np.float32) for split, logits_NC in logits.items()},
        spec=job.spec.model_dump(mode="json"),
        made_from=job.made_from,
        summary={
            "metrics": metrics,
            "parameters": fitted.parameters,
            "strength": fitted.strength,
            "rows": dataset.rows,
            "texts": len(dataset.texts),
        },
        seconds=time.perf_counter() - began,
    )


def _run(request: WordsRequest, progress: Progress) -> str:
    """Fit a linear model to a task's words, measure it, and publish what it reaches."""
    dataset = data.load(request.task)
    job = kinds.named(WORDS.name, WordsSpec(), request.task, dataset.digest)
    run(job, dataset, Store(request.store), progress)
    return job.fingerprint


if __name__ == "__main__":
    sys.exit(main(WordsRequest, _run))
