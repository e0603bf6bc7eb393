"""Measure a stored student on the test split again, with the simulator that one names."""

import sys
import time

import torch

from jobs import fingerprints
from jobs.command import Progress, main
from jobs.store import Store
from jobs.student import KIND as STUDENTS
from jobs.student import examples, gather
from qdllm import mindquantum
from qdllm.engine.statevector import expectations as engine
from qdllm.metrics import classification
from qdllm.specs import EvaluationSpec, Spec, StudentSpec
from qdllm.student import restore
from qdllm.texts import data
from qdllm.texts.data import Dataset

KIND = fingerprints.EVALUATIONS
SIMULATORS = {"engine": engine, "mindquantum": mindquantum.expectations}
CHUNK = 64
"""Examples between two reports of progress."""


class EvaluationJob(Spec):
    """What `python -m jobs.evaluate` reads: the fingerprint of a student in the store."""

    evaluation: EvaluationSpec = EvaluationSpec()
    student: str
    store: str


def run(
    evaluation: EvaluationSpec,
    student: str,
    dataset: Dataset,
    store: Store,
    progress: Progress | None = None,
) -> str:
    """Publish test accuracy per seed under the backend, and the largest difference of any ⟨Z⟩ from
    the engine's, unless the store has them. Returns their fingerprint.

    `dataset`: the texts that the student was trained on. Raises StoreError if there is no such
    student, or if its features and soft labels are of other texts.
    """
    key = fingerprints.of_evaluation(evaluation, student)
    if store.has(KIND, key):
        return key
    began = time.perf_counter()
    record, tensors = store.load(STUDENTS, student)
    spec = StudentSpec.parse(record.spec)
    test = examples(gather(store, **record.made_from, dataset=dataset), "test")
    parameters_SP = torch.from_numpy(tensors["parameters"])
    features, classes = test.features_NH.shape[1], test.logits_NC.shape[1]
    simulated, reference = (
        restore(spec, features, classes, parameters_SP, SIMULATORS[backend])
        for backend in (evaluation.backend, "engine")
    )
    parts, difference, total = [], 0.0, len(test.labels_N)
    with torch.no_grad():
        for chunk_NH in test.features_NH.split(CHUNK):
            parts.append(simulated.expectations(chunk_NH))
            apart = (parts[-1] - reference.expectations(chunk_NH)).abs().max()
            difference = max(difference, float(apart))
            if progress:
                done = sum(part.shape[1] for part in parts)
                progress(KIND, done, total, evaluation.backend)
        logits_SNC = simulated.classify(torch.cat(parts, dim=1))
    measured = classification(logits_SNC, test.labels_N, test.logits_NC)
    store.publish(
        KIND,
        key,
        tensors={"test.logits": logits_SNC.numpy()},
        spec=evaluation.model_dump(mode="json"),
        made_from={"student": student},
        summary={
            "metrics": {f"test.{metric}": values.tolist() for metric, values in measured.items()},
            "largest_difference": difference,
        },
        seconds=time.perf_counter() - began,
    )
    return key


def _run(job: EvaluationJob, progress: Progress) -> str:
    """Measure a stored student on the test split again, with another simulator."""
    store = Store(job.store)
    record, _ = store.load(STUDENTS, job.student)
    dataset = data.load(StudentSpec.parse(record.spec).task)
    return run(job.evaluation, job.student, dataset, store, progress)


if __name__ == "__main__":
    sys.exit(main(EvaluationJob, _run))
