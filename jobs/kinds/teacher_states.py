"""A fine-tuned teacher's pooled hidden states of the training texts, which rivals follow."""

from collections.abc import Mapping

from jobs.kinds.kind import Count, Kind, Load, Number, Source
from jobs.kinds.teachers import SOFT_LABELS
from qdllm.rivals.specs import StatesSpec
from qdllm.specs import TrialSpec


def _of_trial(spec: TrialSpec) -> StatesSpec:
    return StatesSpec(teacher=spec.teacher, layers=spec.teacher_layers)


def _needs(spec: StatesSpec) -> Mapping[str, Source]:
    return {SOFT_LABELS.role: (SOFT_LABELS.name, spec.teacher)}


def _load(spec: StatesSpec) -> Load:
    return (spec.teacher.model, spec.teacher.max_length, spec.teacher.precision), 1.0


TEACHER_STATES = Kind(
    name="teacher-states",
    label="teacher's states",
    spec=StatesSpec,
    role="teacher_states",
    of_trial=_of_trial,
    tensor="states",
    splits=("train",),
    of_texts=True,
    needs=_needs,
    maker="jobs.teacher_states",
    phase=lambda spec: "teacher's states",
    load=_load,
    content={"width": Count, "largest_difference": Number},
    told={"": "spec/teacher/model", "width": "summary/width"},
    kept="used",
)
KINDS = (TEACHER_STATES,)
