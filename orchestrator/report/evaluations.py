"""What is made of a sweep's trials once they are trained: what it wants, and what is there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jobs import kinds
from jobs.kinds.agreements import AGREEMENTS
from jobs.kinds.teachers import SOFT_LABELS
from jobs.store import Record, parsed
from orchestrator.grid import DEFAULT, Champion
from orchestrator.plan import History, Job, Result
from orchestrator.plan.ranking import OBJECTIVE, ranked
from qdllm.intervals import Interval, interval
from qdllm.specs import AgreementSpec


@dataclass(frozen=True)
class Under:
    """Validation accuracies of trials under a chip's noise."""

    name: str
    accuracies: Mapping[str, Interval]
    """By a trial's fingerprint."""
    asked: int
    """How many trials there are to be measured."""

    def __call__(self, result: Result) -> Interval:
        """A trial's."""
        return self.accuracies[result.trial.fingerprint]


def eligible(sweep: Record, results: Sequence[Result]) -> list[Result]:
    """Those of the families from which the sweep's champion comes, best first."""
    choice = parsed(sweep, lambda spec: Champion.parse(spec.get("champion") or {}))
    asked = sweep.summary.get("families", {})
    among = choice.among(asked.values() or [one.trial.spec.family for one in results])
    return [one for one in ranked(results) if one.trial.spec.family in among]


def under_noise(sweep: Record, results: Sequence[Result]) -> list[Job[Any]]:
    """What the sweep wants to be made of each trial that may be its champion, if anything: its
    validation texts, measured under noise."""
    name = (sweep.spec.get("champion") or {}).get("under")
    if name is None:
        return []
    kind, spec = kinds.evaluation(name)
    spec = spec.model_copy(update={"split": "validation"})
    return [
        Job.of(kind.name, spec, {"student": one.trial.fingerprint, **kind.digests(spec)})
        for one in eligible(sweep, results)
        if kind.suits(one.trial.spec)
    ]


def under(history: History, sweep: Record, results: Sequence[Result]) -> Under | None:
    """Validation accuracies under the noise by which the champion is chosen, as far as they are
    there; None where it is chosen without."""
    jobs = under_noise(sweep, results)
    if not jobs:
        return None
    made = history.records(jobs[0].kind, [job.fingerprint for job in jobs])
    return Under(
        str((sweep.spec.get("champion") or {}).get("under")),
        {
            one.made_from["student"]: interval(kinds.kind(one.kind).metrics(one)[OBJECTIVE])
            for one in made
        },
        len(jobs),
    )


def agreements(families: Mapping[str, Sequence[Result]]) -> list[Job[AgreementSpec]]:
    """What the sweep wants to be compared with its teacher: each family's best trial, if that has
    not taught it. None where the sweep has several teachers, or none.

    `families`: of each its trials, best first.
    """
    role = SOFT_LABELS.role
    made_from = [one.trial.made_from for results in families.values() for one in results]
    teachers = {each[role] for each in made_from if role in each}
    if len(teachers) != 1:
        return []
    (teacher,) = teachers
    return [
        Job.of(
            AGREEMENTS.name,
            AgreementSpec(family=name),
            {"trial": best.trial.fingerprint, role: teacher},
        )
        for name, (best, *_) in families.items()
        if role not in best.trial.made_from
    ]


def of_champion(sweep: Record, chosen: Result) -> list[Job[Any]]:
    """What the sweep wants to be made of its champion, such as its simulation by MindQuantum."""
    # Sweeps of before have none written down.
    found = (kinds.evaluation(name) for name in sweep.spec.get("evaluations", DEFAULT))
    return [
        Job.of(kind.name, spec, {"student": chosen.trial.fingerprint, **kind.digests(spec)})
        for kind, spec in found
        if kind.suits(chosen.trial.spec)
    ]


def of_student(history: History, student: str) -> list[Record]:
    """All that was ever made of a trained student, in the order in which it was."""
    found = [
        record
        for kind in kinds.kinds().values()
        if kind.offers
        for record in history.readable(kind.name)
        if record.made_from.get("student") == student and record.spec.get("split", "test") == "test"
    ]
    return sorted(found, key=lambda record: record.created)
