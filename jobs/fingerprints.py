"""The fingerprints of stored results, computed without torch so that a plan can name them."""

from qdllm.models import resolve
from qdllm.specs import (
    EncoderSpec,
    EvaluationSpec,
    ProbeSpec,
    StudentSpec,
    TaskSpec,
    TeacherSpec,
    fingerprint,
)

FEATURES = "features"
SOFT_LABELS = "soft-labels"
ADAPTERS = "adapters"
PROBES = "probes"
STUDENTS = "students"
EVALUATIONS = "evaluations"
SWEEPS = "sweeps"
STOPPED = "stopped"
"""Students that a scheduler ended early: what is known of them, under the name they would have."""


def of_task(task: TaskSpec, texts: str) -> str:
    """Fingerprint of a task whose dataset's texts and labels have the digest `texts`."""
    return fingerprint(task, texts=texts)


def of_features(encoder: EncoderSpec, task: str) -> str:
    """Key of kind `features`, for a task's fingerprint. Raises ConfigError for the model."""
    return fingerprint(encoder, task=task, model=resolve(encoder.model, encoder.weights).digest)


def of_soft_labels(teacher: TeacherSpec, task: str) -> str:
    """Key of kind `soft-labels`, for a task's fingerprint. Raises ConfigError for the model."""
    return fingerprint(teacher, task=task, model=resolve(teacher.model, teacher.weights).digest)


def sources(spec: StudentSpec, texts: str) -> dict[str, str]:
    """Keys of the features and soft labels that a student is made from.

    They hang on its task, encoder and teacher alone. Raises ConfigError for a model.
    """
    task = of_task(spec.task, texts)
    return {
        "features": of_features(spec.encoder, task),
        "soft_labels": of_soft_labels(spec.teacher, task),
    }


def of_student(spec: StudentSpec, texts: str) -> tuple[str, dict[str, str]]:
    """Key of kind `students` for texts with that digest, and the keys of what it is made from."""
    made_from = sources(spec, texts)
    return fingerprint(spec, **made_from), made_from


def of_probe(spec: ProbeSpec, features: str, soft_labels: str) -> str:
    """Key of kind `probes`, for the keys of what the references are made from."""
    return fingerprint(spec, features=features, soft_labels=soft_labels)


def of_evaluation(spec: EvaluationSpec, student: str) -> str:
    """Key of kind `evaluations`, for the key of the student that is evaluated."""
    return fingerprint(spec, student=student)
