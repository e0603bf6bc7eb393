"""What each job's JSON file says, for `python -m jobs.NAME SPEC.json`. Torch-free."""

from typing import Any

from pydantic import Field, field_validator

from qdllm.processors.spec import MeasurementSpec, parsed
from qdllm.rivals.specs import StatesSpec, TokensSpec
from qdllm.spec import Spec
from qdllm.specs import AgreementSpec, EncoderSpec, EvaluationSpec, TaskSpec, TeacherSpec


class FeaturesRequest(Spec):
    """Of `jobs.features`."""

    task: TaskSpec = TaskSpec()
    encoder: EncoderSpec = EncoderSpec()
    store: str


class WordsRequest(Spec):
    """Of `jobs.words`."""

    task: TaskSpec = TaskSpec()
    store: str


class TeacherRequest(Spec):
    """Of `jobs.teacher`."""

    task: TaskSpec = TaskSpec()
    teacher: TeacherSpec = TeacherSpec()
    store: str


class TokensRequest(Spec):
    """Of `jobs.tokens`."""

    task: TaskSpec = TaskSpec()
    tokens: TokensSpec = TokensSpec()
    store: str


class TeacherStatesRequest(Spec):
    """Of `jobs.teacher_states`; the teacher's soft labels and adapter must be in the store."""

    task: TaskSpec = TaskSpec()
    states: StatesSpec
    store: str


class TrialRequest(Spec):
    """Of `jobs.trial`; what the trial is made from must be in the store."""

    trial: dict[str, Any] = Field(default_factory=dict)
    store: str


class EvaluationRequest(Spec):
    """Of `jobs.evaluate`; `student`: the fingerprint of one in the store."""

    evaluation: EvaluationSpec = EvaluationSpec()
    student: str = Field(pattern=r"^[0-9a-f]{16}$")
    store: str


class AgreementRequest(Spec):
    """Of `jobs.agree`; `trial` and `soft_labels`: the fingerprints of some in the store."""

    agreement: AgreementSpec = AgreementSpec()
    trial: str = Field(pattern=r"^[0-9a-f]{16}$")
    soft_labels: str = Field(pattern=r"^[0-9a-f]{16}$")
    store: str


class MeasurementRequest(Spec):
    """Of `jobs.measure`; `student`: the fingerprint of one in the store."""

    measurement: MeasurementSpec = MeasurementSpec()
    student: str = Field(pattern=r"^[0-9a-f]{16}$")
    store: str

    @field_validator("measurement")
    @classmethod
    def _simulated(cls, measurement: MeasurementSpec) -> MeasurementSpec:
        if parsed(measurement.target).real:
            raise ValueError(
                f"target {measurement.target} may cost something; it is asked by "
                "python -m orchestrator.device"
            )
        return measurement
