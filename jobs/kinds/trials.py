"""Trials: a kind for each family of trainable model, and those that a scheduler stopped."""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field

from jobs import kinds
from jobs.kinds.kind import Count, Kind, Number, Record, Source, Standing, measured, none
from qdllm.families import Family, families
from qdllm.spec import flat
from qdllm.specs import TrialSpec


def _needs(family: Family[Any]) -> Callable[[TrialSpec], Mapping[str, Source]]:
    def needs(spec: TrialSpec) -> dict[str, Source]:
        sources = {}
        for role in family.sources(spec):
            kind = kinds.by_role(role)
            assert kind.of_trial, f"{kind.name} is read, but says not how a trial describes it"
            if part := kind.of_trial(spec):
                namer = kinds.by_role(kind.named_by) if kind.named_by else kind
                sources[role] = namer.name, part
        return sources

    return needs


def _standing(family: Family[Any]) -> Callable[[Record], Sequence[Standing]]:
    def standing(record: Record) -> list[Standing]:
        size = record.summary["parameters"]
        return [Standing(family.label, measured(record), size, flat(record.spec))]

    return standing


def _of_first_seeds(spec: TrialSpec) -> list[TrialSpec]:
    """The same trial of fewer seeds, most of them first."""
    seeds = spec.seeds
    return [spec.model_copy(update={"seeds": seeds[:n]}) for n in range(len(seeds) - 1, 0, -1)]


def _shape(record: Record, name: str) -> tuple[int | None, ...]:
    """A row for each seed."""
    values = record.summary["metrics"].get("val.accuracy", ())
    return (len(values) or None, None)


def _kind(family: Family[Any]) -> Kind:
    return Kind(
        name=family.kind,
        label=family.plural,
        spec=family.spec,
        needs=_needs(family),
        maker="jobs.trial",
        holds="trial",
        one_core=not family.long,
        goes_on_from=_of_first_seeds if family.long else none,
        phase=lambda spec: family.plural,
        load=family.work,
        beside=family.beside,
        content={
            "metrics": dict[str, Annotated[list[Number], Field(min_length=1)]],
            "parameters": Annotated[Count, Field(ge=1)],
            "seconds_per_epoch": Annotated[Number, Field(gt=0)],
            "inference_us": Number,
        },
        shape=_shape,
        told=family.told,
        standing=_standing(family),
    )


STOPPED = Kind(
    name="stopped",
    label="stopped trials",
    content={"reason": str, "epoch": Count, "*": Number},
)
"""What is known of a trial that was ended early, under the fingerprint that it would have."""
KINDS = (*map(_kind, families().values()), STOPPED)
