"""A trained student on the test split once more, under another simulator."""

from collections.abc import Sequence
from statistics import fmean
from typing import Annotated

from pydantic import Field

from jobs.kinds.kind import Kind, Number, Record, Standing, measured
from qdllm.specs import EvaluationSpec, TrialSpec

SIMULATORS = {"engine": "the engine", "mindquantum": "MindQuantum"}


def _named(name: str) -> EvaluationSpec | None:
    """One by that simulator."""
    return EvaluationSpec.parse({"backend": name}) if name in SIMULATORS else None


def _suits(champion: TrialSpec) -> bool:
    """Whether it has a circuit."""
    return "angles" in type(champion).model_fields


def _standing(record: Record) -> Sequence[Standing]:
    name = f"★ champion, simulated by {SIMULATORS[record.spec['backend']]}"
    return [Standing(name, measured(record), None, {})]


def _figures(record: Record) -> dict[str, float]:
    backend = record.spec["backend"]
    return {
        f"{backend}.test.accuracy": fmean(measured(record)["test.accuracy"]),
        f"{backend}.largest_difference": record.summary["largest_difference"],
    }


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
    evaluation=_named,
    offers=tuple(SIMULATORS),
    suits=_suits,
    content={
        "metrics": dict[str, Annotated[list[Number], Field(min_length=1)]],
        "largest_difference": Number,
    },
    shape=lambda record, name: (None, None, None),
    told={"": "spec/backend", "test": "metrics/test.accuracy"},
    standing=_standing,
    figures=_figures,
    opinion=_opinion,
    title=lambda record: str(record.spec["backend"]),
    kept="source",
)
KINDS = (EVALUATIONS,)
