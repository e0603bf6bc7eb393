"""A trained student on the test split once more, under another simulator."""

from collections.abc import Sequence
from statistics import fmean
from typing import Annotated

from pydantic import Field

from jobs.kinds.kind import Kind, Number, Record, Standing, measured
from qdllm.specs import EvaluationSpec, TrialSpec

SIMULATORS = {"engine": "the engine", "mindquantum": "MindQuantum"}


def _of_champion(champion: TrialSpec) -> list[EvaluationSpec]:
    """One by MindQuantum, of a champion that has a circuit."""
    return [EvaluationSpec()] if "angles" in type(champion).model_fields else []


def _standing(record: Record) -> Sequence[Standing]:
    name = f"★ champion, simulated by {SIMULATORS[record.spec['backend']]}"
    return [Standing(name, measured(record), None, {})]


def _opinion(record: Record, champion: Record) -> str:
    theirs, ours = (fmean(measured(each)["test.accuracy"]) for each in (record, champion))
    return (
        f"test {theirs:.4f}, ours {ours:.4f}; "
        f"no expectation differs by more than {record.summary['largest_difference']:.1e}"
    )


EVALUATIONS = Kind(
    name="evaluations",
    label="second opinion",
    spec=EvaluationSpec,
    maker="jobs.evaluate",
    phase=lambda spec: str(spec.backend),
    of_champion=_of_champion,
    content={
        "metrics": dict[str, Annotated[list[Number], Field(min_length=1)]],
        "largest_difference": Number,
    },
    shape=lambda record, name: (None, None, None),
    told={"": "spec/backend", "test": "metrics/test.accuracy"},
    standing=_standing,
    opinion=_opinion,
    kept="source",
)
KINDS = (EVALUATIONS,)
