"""The classical references of a sweep, fitted once and published."""

import sys
import time
from collections.abc import Mapping
from statistics import fmean
from typing import Any

import numpy as np
import torch

from jobs import fingerprints
from jobs.command import Progress, main
from jobs.store import Record, Store
from jobs.student import examples, gather
from qdllm.errors import TrialError
from qdllm.fit import fit, predict
from qdllm.metrics import classification
from qdllm.probes import classical_width, logistic_regression
from qdllm.specs import ProbeSpec, Spec, TaskSpec
from qdllm.student import Student, circuit_core, classical_core, parameter_count
from qdllm.texts import data
from qdllm.texts.data import SPLITS

KIND = fingerprints.PROBES


class ProbeJob(Spec):
    """What `python -m jobs.probe` reads: fingerprints of features and soft labels in the store."""

    task: TaskSpec = TaskSpec()
    features: str
    soft_labels: str
    probe: ProbeSpec
    store: str


def run(
    spec: ProbeSpec,
    name: str,
    made_from: Mapping[str, str],
    arrays: Mapping[str, np.ndarray],
    store: Store,
    progress: Progress,
) -> Record:
    """Fit the linear probe and the classical head, publish both, return the record.

    Of the head's settings the one with the best mean validation accuracy is kept; one that
    diverges is out of the race, and if all do there is no head.
    """
    torch.set_num_threads(1)
    began = time.perf_counter()
    train, validation, test = (examples(arrays, split) for split in SPLITS)
    total = len(spec.settings) + 1
    progress(KIND, 0, total, "logistic regression")
    summary = {"logistic regression": logistic_regression(train, validation, test)}

    features, classes = train.features_NH.shape[1], train.logits_NC.shape[1]
    size = parameter_count(circuit_core(spec.circuit, "raw"), features, classes)
    core = classical_core(classical_width(size, features, classes))
    students = len(spec.seeds)
    heads: list[dict[str, Any]] = []
    for done, (loss, how) in enumerate(spec.settings, start=1):
        progress(KIND, done, total, "classical head")
        head = Student(core, features, classes, spec.seeds)
        try:
            fitted = fit(
                head,
                train,
                validation,
                alpha_S=torch.full((students,), loss.alpha),
                lr_S=torch.full((students,), how.lr),
                loss=loss,
                spec=how,
                seeds=spec.seeds,
            )
        except TrialError:
            continue
        tested = classification(predict(head, test.features_NH), test.labels_N, test.logits_NC)
        heads.append(
            {
                "val.accuracy": fitted.curves["val.accuracy"][:, -1].tolist(),
                "test.accuracy": tested["accuracy"].tolist(),
                "parameters": parameter_count(core, features, classes),
                "width": core.width,
                "loss": loss.model_dump(mode="json"),
                "fit": how.model_dump(mode="json"),
            }
        )
    if heads:
        summary["classical head"] = max(heads, key=lambda head: fmean(head["val.accuracy"]))
    return store.publish(
        KIND,
        name,
        tensors={
            f"head.{split}.accuracy": np.array([head[f"{split}.accuracy"] for head in heads])
            for split in ("val", "test")
        },
        spec=spec.model_dump(mode="json"),
        made_from=made_from,
        summary=summary,
        seconds=time.perf_counter() - began,
    )


def _run(job: ProbeJob, progress: Progress) -> str:
    """Fit the classical references that stand beside a sweep's students, and publish them."""
    store, made_from = Store(job.store), {"features": job.features, "soft_labels": job.soft_labels}
    name = fingerprints.of_probe(job.probe, **made_from)
    if not store.has(KIND, name):
        arrays = gather(store, **made_from, dataset=data.load(job.task))
        run(job.probe, name, made_from, arrays, store, progress)
    return name


if __name__ == "__main__":
    sys.exit(main(ProbeJob, _run))
