"""Measure a stored student on the test split again, with the simulator that one names."""

import sys
import time

import torch

from jobs.command import Progress, main, silent
from jobs.inputs import gather
from jobs.kinds import Job
from jobs.kinds.evaluations import EVALUATIONS
from jobs.requests import EvaluationRequest
from jobs.store import Store, parsed, unfit
from jobs.students import trained
from jobs.trial import examples
from qdllm import mindquantum
from qdllm.engine.statevector import expectations as engine
from qdllm.errors import StoreError
from qdllm.families.quantum import FAMILY, StudentSpec
from qdllm.metrics import classification
from qdllm.specs import EvaluationSpec
from qdllm.texts import data
from qdllm.texts.data import Dataset

SIMULATORS = {"engine": engine, "mindquantum": mindquantum.expectations}
CHUNK = 64
"""Examples between two reports of progress."""


def run(
    job: Job[EvaluationSpec], dataset: Dataset, store: Store, progress: Progress = silent
) -> None:
    """Publish test accuracy per seed under the backend, and the largest difference of any
    expectation from the engine's, unless the store has them.

    `dataset`: the texts that the student was trained on. Raises StoreError if there is no such
    student, or if its features and soft labels are of other texts.
    """
    if store.has(EVALUATIONS.name, job.fingerprint):
        return
    began = time.perf_counter()
    record = store.record(FAMILY.kind, job.made_from["student"])
    if record is None:
        raise StoreError(f"there is no {FAMILY.kind}/{job.made_from['student']} in {store.uri}")
    arrays = gather(store, record.made_from, dataset)
    if "test.features" not in arrays:
        raise unfit(record, "names no features that it was made from")
    test = examples(arrays, "test")
    widths = test.features_NH.shape[1], len(dataset.classes)
    found = trained(store, record.fingerprint, *widths)
    simulated, reference = (
        found.under(SIMULATORS[backend]) for backend in (job.spec.backend, "engine")
    )
    parts, difference, total = [], 0.0, len(test.labels_N)
    with torch.no_grad():
        for chunk_NH in test.features_NH.split(CHUNK):
            parts.append(simulated.expectations(chunk_NH))
            apart = (parts[-1] - reference.expectations(chunk_NH)).abs().max()
            difference = max(difference, float(apart))
            done = sum(part.shape[1] for part in parts)
            progress(EVALUATIONS.name, done, total, job.spec.backend)
        logits_SNC = simulated.classify(torch.cat(parts, dim=1))
    measured = classification(logits_SNC, test.labels_N, test.logits_NC)
    store.publish(
        EVALUATIONS.name,
        job.fingerprint,
        tensors={"test.logits": logits_SNC.numpy()},
        spec=job.spec.model_dump(mode="json"),
        made_from=job.made_from,
        summary={
            "metrics": {f"test.{metric}": values.tolist() for metric, values in measured.items()},
            "largest_difference": difference,
        },
        seconds=time.perf_counter() - began,
    )


def _run(request: EvaluationRequest, progress: Progress) -> str:
    """Measure a stored student on the test split again, with another simulator."""
    store = Store(request.store)
    record, _ = store.load(FAMILY.kind, request.student)
    dataset = data.load(parsed(record, StudentSpec.parse).task)
    job = Job.of(EVALUATIONS.name, request.evaluation, {"student": request.student})
    run(job, dataset, store, progress)
    return job.fingerprint


if __name__ == "__main__":
    sys.exit(main(EvaluationRequest, _run))
