"""A fine-tuned teacher: its soft labels, which students read, its adapter, its checkpoint."""

from collections.abc import Mapping
from typing import Any

from jobs.kinds.kind import Count, Kind, Load, Number, Record, Standing, measured
from qdllm.models import NOBODY, reader
from qdllm.specs import TeacherSpec, TrialSpec

SHORT = {"train": "train", "validation": "val", "test": "test"}
"""The splits' names in metrics."""


def _of_trial(spec: TrialSpec) -> TeacherSpec | None:
    return None if spec.teacher.model == NOBODY else spec.teacher


def _digests(spec: TeacherSpec) -> dict[str, str]:
    return {"model": reader(spec.model, spec.weights, spec.max_length).digest}


def _load(spec: TeacherSpec) -> Load:
    memory = spec.micro_batch_size, spec.gradient_checkpointing, spec.offload
    return (spec.model, spec.max_length, spec.precision, spec.zero_stage, *memory), spec.epochs


def _metrics(record: Record) -> Mapping[str, Any]:
    # Records of version 0.1 have accuracies alone, by the splits' names.
    accuracy = record.summary.get("accuracy", {})
    return measured(record) or {
        f"{SHORT[split]}.accuracy": value for split, value in accuracy.items()
    }


def _standing(record: Record) -> list[Standing]:
    model = str(record.spec["model"]).rpartition("/")[2]
    name = f"teacher {model}, LoRA rank {record.spec['rank']}"
    settings = {
        f"teacher.{key}": value
        for key, value in record.spec.items()
        if key not in ("model", "rank")
    }
    return [Standing(name, _metrics(record), record.summary["parameters"], settings, "trained")]


def _line(record: Record) -> str:
    accuracy = _metrics(record)
    return (
        f"teacher {record.spec['model']}, LoRA rank {record.spec['rank']}: "
        f"validation {accuracy['val.accuracy']:.4f}, test {accuracy['test.accuracy']:.4f}"
    )


def _note(spec: TeacherSpec) -> str:
    return f"soft labels of {spec.model} published"


_CONTENT = {
    "metrics": dict[str, Number],
    "accuracy": dict[str, Number],
    "best_epoch": Count,
    "curve": list[dict[str, Number]],
    "parameters": Count,
}
SOFT_LABELS = Kind(
    name="soft-labels",
    label="soft labels",
    spec=TeacherSpec,
    role="soft_labels",
    of_trial=_of_trial,
    tensor="logits",
    per_class=True,
    of_texts=True,
    digests=_digests,
    maker="jobs.teacher",
    holds="workers",
    phase=lambda spec: "teacher",
    note=_note,
    load=_load,
    content=_CONTENT,
    told={"": "spec/model", "validation": "metrics/val.accuracy"},
    metrics=_metrics,
    standing=_standing,
    line=_line,
    kept="used",
)
ADAPTERS = Kind(
    name="adapters",
    label="adapters",
    spec=TeacherSpec,
    role="adapter",
    of_trial=_of_trial,
    named_by="soft_labels",
    content=_CONTENT,
    told={"": "spec/model", "rank": "spec/rank", "parameters": "summary/parameters"},
    kept="used",
)
CHECKPOINTS = Kind(
    name="checkpoints",
    label="checkpoints",
    told={
        "": "spec/model",
        "family": "spec/family",
        "epochs": "summary/curve",
        "steps": "summary/step",
    },
)
"""Of teachers and long trials in training, under the fingerprint of what they will publish."""
KINDS = (SOFT_LABELS, ADAPTERS, CHECKPOINTS)
