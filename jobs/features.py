"""Encode every split of a task once with the frozen text encoder, and publish the features."""

import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from jobs import kinds
from jobs.command import Progress, main, silent
from jobs.kinds import Job
from jobs.kinds.features import ENCODER, FEATURES
from jobs.requests import FeaturesRequest
from jobs.store import Record, Store, unfit
from jobs.store.inventory import peek
from qdllm.encoder import Encoder
from qdllm.models import FITTED, pinned
from qdllm.specs import EncoderSpec
from qdllm.texts import data
from qdllm.texts.data import SPLITS, Dataset
from qdllm.tfidf import Tfidf

PLACES = "places"
"""What a result calls each row's place among the texts before they were split."""


def run(job: Job[EncoderSpec], dataset: Dataset, store: Store, progress: Progress = silent) -> None:
    """Publish `features_NH` of train, validation and test, unless the store has them.

    What is fitted to the training texts is published beside them. What a pretrained encoder made of
    the same texts in other splits is taken over: it is the same, for texts are encoded in an order
    of their own.

    `dataset`: the task's texts, whose files need not lie on this machine.
    Raises ConfigError for a model that cannot be used.
    """
    if store.has(FEATURES.name, job.fingerprint):
        return
    started = time.perf_counter()
    model = pinned(job.spec.model, job.spec.weights, job.made_from["model"])
    spec = job.spec.model_copy(update={"model": model})
    tensors = {PLACES: dataset.places_N}
    if model in FITTED:
        assert spec.components, "its spec has seen to that"
        fitted = Tfidf.fit(dataset.train.texts, spec.components)
        tensors |= fitted.tensors
        size = sum(array.size for array in fitted.tensors.values())
        features_NH, told = _encoded(fitted, dataset.texts, size)
        progress("features", len(dataset.texts), len(dataset.texts), "")
    else:
        features_NH, told = _of_other_splits(job, dataset, store) or _pretrained(
            spec, dataset.texts, progress
        )
    store.publish(
        FEATURES.name,
        job.fingerprint,
        tensors=tensors | dataset.by_split(features_NH),
        spec=job.spec.model_dump(mode="json"),
        made_from=job.made_from,
        summary={
            "width": features_NH.shape[1],
            **told,
            "rows": dataset.rows,
            "texts": len(dataset.texts),
            "of": dataset.digest,
        },
        seconds=time.perf_counter() - started,
    )


def _pretrained(
    spec: EncoderSpec, texts: Sequence[str], progress: Progress
) -> tuple[np.ndarray, dict[str, Any]]:
    """The texts' features, and what is told of the encoder."""
    encoder = Encoder(spec, "cuda" if torch.cuda.is_available() else "cpu")
    encode = partial(encoder, progress=lambda done, of: progress("features", done, of, ""))
    return _encoded(encode, texts, encoder.parameters)


def _encoded(
    encode: Callable[[Sequence[str]], np.ndarray], texts: Sequence[str], parameters: int
) -> tuple[np.ndarray, dict[str, Any]]:
    """The texts' features, and of their encoder the size and the microseconds that a text took."""
    began = time.perf_counter()
    features_NH = encode(texts)
    took = (time.perf_counter() - began) / len(texts) * 1e6
    return features_NH, {"parameters": parameters, "encoding_us": took}


def _of_other_splits(
    job: Job[EncoderSpec], dataset: Dataset, store: Store
) -> tuple[np.ndarray, dict[str, Any]] | None:
    """What the store has of these texts in other splits, in the order of these, and what its record
    tells of the encoder, which is less in those of earlier versions; None: nothing."""
    wanted = job.spec.model_dump(mode="json")
    for fingerprint in sorted(store.fingerprints(FEATURES.name)):
        record = peek(store, (FEATURES.name, fingerprint))
        if (
            not isinstance(record, Record)
            or record.summary.get("of") != dataset.digest
            or record.made_from["model"] != job.made_from["model"]
            or {**record.spec, "model": ""} != {**wanted, "model": ""}
        ):
            continue
        _, tensors = store.load(FEATURES.name, fingerprint)
        rows_NH = np.concatenate([tensors[split] for split in SPLITS])
        at_N = np.argsort(tensors[PLACES])
        if len(at_N) != len(rows_NH):
            raise unfit(record, f"has {len(at_N)} places for {len(rows_NH)} texts")
        told = {key: record.summary[key] for key in ENCODER if key in record.summary}
        return rows_NH[at_N[dataset.places_N]], told
    return None


def _run(request: FeaturesRequest, progress: Progress) -> str:
    """Encode every split of a task with the frozen text encoder, and publish the features."""
    dataset = data.load(request.task)
    job = kinds.named(FEATURES.name, request.encoder, request.task, dataset.digest)
    run(job, dataset, Store(request.store), progress)
    return job.fingerprint


if __name__ == "__main__":
    sys.exit(main(FeaturesRequest, _run))
