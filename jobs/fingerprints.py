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


def of_task(task: TaskSpec, texts: str) -> str:
    """Fingerprint of a task whose dataset's texts and labels have the digest `texts`."""
    return fingerprint(task, texts=texts)


def of_features(encoder: EncoderSpec, task: str) -> str:
    """Key of kind `features`, for a task's fingerprint. Raises ConfigError for the model."""
    return fingerprint(encoder, task=task, model=resolve(encoder.model, encoder.weights).digest)


def of_soft_labels(teacher: TeacherSpec, task: str) -> str:
    """Key of kind `soft-labels`, for a task's fingerprint. Raises ConfigError for the model."""
    return fingerprint(teacher, task=task, model=resolve(teacher.model, teacher.weights).digest)


def of_student(spec: StudentSpec, texts: str) -> tuple[str, dict[str, str]]:
    """Key of kind `students` for texts with that digest, and the keys of what it is made from."""
    task = of_task(spec.task, texts)
    made_from = {
        "features": of_features(spec.encoder, task),
        "soft_labels": of_soft_labels(spec.teacher, task),
    }
    return fingerprint(spec, **made_from), made_from


def of_probe(spec: ProbeSpec, features: str, soft_labels: str) -> str:
    """Key of kind `probes`, for the keys of what the references are made from."""
    return fingerprint(spec, features=features, soft_labels=soft_labels)


def of_evaluation(spec: EvaluationSpec, student: str) -> str:
    """Key of kind `evaluations`, for the key of the student that is evaluated."""
    return fingerprint(spec, student=student)
