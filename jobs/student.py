"""One trial: all seeds of one student spec, trained, tested and published."""

import sys
import time
import warnings
from collections.abc import Callable, Mapping

import numpy as np
import torch

from jobs import fingerprints
from jobs.command import Progress, main
from jobs.inputs import gather
from jobs.store import Record, Store
from qdllm.fit import Examples, fit, predict
from qdllm.metrics import classification
from qdllm.specs import Spec, StudentSpec
from qdllm.student import Student, circuit_core, parameter_count
from qdllm.texts import data
from qdllm.texts.data import SPLITS

KIND = fingerprints.STUDENTS


class StudentJob(Spec):
    """What `python -m jobs.student` reads. Features and soft labels must be in the store."""

    student: StudentSpec = StudentSpec()
    store: str


def examples(arrays: Mapping[str, np.ndarray], split: str) -> Examples:
    """One split as tensors that share the arrays' memory."""
    with warnings.catch_warnings():
        # Ray's object store hands out read-only memory, and nothing writes to examples.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return Examples(
            *(
                torch.from_numpy(arrays[f"{split}.{name}"])
                for name in ("features", "logits", "labels")
            )
        )


def run(
    spec: StudentSpec,
    name: str,
    made_from: Mapping[str, str],
    arrays: Mapping[str, np.ndarray],
    store: Store,
    report: Callable[[int, dict[str, float]], None] = lambda epoch, means: None,
) -> Record:
    """Train the spec's seeds, measure them on the test split, publish, return the record.

    `name` is the fingerprint to publish under, `made_from` those of the features and soft labels.
    `report(epoch, means)` gets each curve's mean over the seeds after every epoch. Runs on one
    thread, so that a result does not depend on how many cores the machine has.

    Raises TrialError if training diverges, StoreError if the result cannot be written.
    """
    torch.set_num_threads(1)
    began = time.perf_counter()
    train, validation, test = (examples(arrays, split) for split in SPLITS)
    features, classes = train.features_NH.shape[1], train.logits_NC.shape[1]
    core = circuit_core(spec.circuit, spec.angles)
    student = Student(core, features, classes, spec.seeds)
    students = len(spec.seeds)
    fitted = fit(
        student,
        train,
        validation,
        alpha_S=torch.full((students,), spec.loss.alpha),
        lr_S=torch.full((students,), spec.fit.lr),
        loss=spec.loss,
        spec=spec.fit,
        seeds=spec.seeds,
        report=lambda epoch, values: report(
            epoch, {metric: float(value_S.mean()) for metric, value_S in values.items()}
        ),
    )
    tested = time.perf_counter()
    logits_SNC = predict(student, test.features_NH)
    inference = (time.perf_counter() - tested) / (students * len(test.labels_N))
    measured = classification(logits_SNC, test.labels_N, test.logits_NC)
    metrics = {metric: curve_SE[:, -1].tolist() for metric, curve_SE in fitted.curves.items()}
    metrics |= {f"test.{metric}": value_S.tolist() for metric, value_S in measured.items()}
    return store.publish(
        KIND,
        name,
        tensors={metric: curve_SE.numpy() for metric, curve_SE in fitted.curves.items()}
        | {"parameters": student.parameters_SP.numpy()},
        spec=spec.model_dump(mode="json"),
        made_from=made_from,
        summary={
            "metrics": metrics,
            "parameters": parameter_count(core, features, classes),
            # The median: the first epoch may compile the engine for this machine.
            "seconds_per_epoch": float(np.median(fitted.seconds_E)),
            "inference_us": inference * 1e6,
        },
        seconds=time.perf_counter() - began,
    )


def _run(job: StudentJob, progress: Progress) -> str:
    """Train, test and publish all seeds of one student spec."""
    store, spec = Store(job.store), job.student
    dataset = data.load(spec.task)
    name, made_from = fingerprints.of_student(spec, dataset.digest)
    if not store.has(KIND, name):
        arrays = gather(store, made_from["features"], made_from["soft_labels"], dataset)
        epochs = spec.fit.epochs
        run(
            spec,
            name,
            made_from,
            arrays,
            store,
            lambda epoch, means: progress(
                "student", epoch, epochs, f"validation accuracy {means['val.accuracy']:.4f}"
            ),
        )
    return name


if __name__ == "__main__":
    sys.exit(main(StudentJob, _run))
