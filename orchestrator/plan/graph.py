"""What a sweep needs and what the store already holds. Pure: computes nothing, runs nothing."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from jobs import kinds
from jobs.kinds import Job
from jobs.kinds.job import Sources
from jobs.kinds.trials import STOPPED
from jobs.store import Store
from orchestrator.grid.space import Search
from qdllm import families
from qdllm.errors import ConfigError
from qdllm.messages import several
from qdllm.spec import canonical
from qdllm.specs import TaskSpec, TrialSpec
from qdllm.texts.data import Dataset

Trial = Job[TrialSpec]
"""One trial's spec, trained with all its seeds."""


@dataclass(frozen=True)
class Listed:
    """A sweep of trials that are all known beforehand."""

    trials: tuple[Trial, ...]
    references: tuple[Trial, ...]
    """Trials that stand beside those, and that nobody asked for by name."""

    @property
    def asked(self) -> tuple[Trial, ...]:
        """What the grid comes to."""
        return self.trials


@dataclass(frozen=True)
class Searched:
    """A sweep whose trials a search asks for one by one, and whose references follow from them."""

    search: Search
    bases: tuple[Trial, ...]
    """What it varies: one search for each."""

    @property
    def asked(self) -> tuple[Trial, ...]:
        """What the grid comes to."""
        return self.bases


@dataclass(frozen=True)
class Plan:
    """Everything a sweep needs."""

    name: str
    """The sweep's own fingerprint: that of its set of trials, or of its search."""
    jobs: tuple[Job[Any], ...]
    """Every result that can be named beforehand, each after all that it is made from."""
    sweep: Listed | Searched

    @property
    def sources(self) -> list[Job[Any]]:
        """What is made before the first trial."""
        return [job for job in self.jobs if kinds.kind(job.kind).holds != "trial"]

    @property
    def taught(self) -> list[Job[Any]]:
        """Those that are trained on workers: the teachers."""
        return [job for job in self.sources if kinds.kind(job.kind).holds == "workers"]

    @property
    def task(self) -> TaskSpec:
        """The one task of all trials."""
        return self.sweep.asked[0].spec.task


def _check(specs: Sequence[TrialSpec], dataset: Dataset) -> None:
    problems: dict[str, str] = {}
    for spec in specs:
        family = families.of(spec)
        # Once refused is enough: what a hub does not answer takes seconds each time.
        if family.name not in problems:
            try:
                family.check(spec, dataset.train.counts_C)
            except ConfigError as error:
                problems[family.name] = f"family {family.name}: {error}"
    if problems:
        raise ConfigError(several(list(problems.values())))


def plan(
    specs: Sequence[TrialSpec],
    dataset: Dataset,
    store: Store,
    search: Search | None = None,
    scheduler: str = "none",
    champion: Sequence[str] | None = None,
    evaluations: Sequence[str] | None = None,
) -> Plan:
    """Name every result that the specs need, each once, and ask the store which ones it holds.

    `specs`: trials of one task; with a search, its bases. `scheduler`: with one, a trial that one
    has stopped before counts as held. `champion`: families that it may be of, if the grid says so.
    `evaluations`: what it is measured with, if the grid says so. Raises ConfigError for what cannot
    be made, with a line for each family's reason.
    """
    _check(specs, dataset)
    held = _Held(store)
    jobs: dict[str, Job[Any]] = {}

    def name(kind: str, spec: Any) -> Job[Any]:
        return kinds.named(kind, spec, specs[0].task, dataset.digest, held.note(jobs))

    # A model's digest costs a look at its files, so it is taken once.
    sources: dict[tuple[Any, ...], Mapping[str, str]] = {}
    asked: dict[str, Trial] = {}
    for spec in specs:
        kind = kinds.kind(families.of(spec).kind)
        parts = kind.name, *(part for _, part in kind.needs(spec).values())
        if parts not in sources:
            sources[parts] = {
                role: name(*source).fingerprint for role, source in kind.needs(spec).items()
            }
        trial = held.ask(Job.of(kind.name, spec, sources[parts]), scheduler != "none")
        asked[trial.fingerprint] = trial
    groups = grouped(asked.values())
    for kind in kinds.kinds().values():
        for members in groups.values() if kind.holds != "trial" else ():
            for wanted in kind.beside([member.spec for member in members]):
                name(kind.name, wanted)
    order = list(dict.fromkeys(job.kind for job in jobs.values()))
    made = sorted(jobs.values(), key=lambda job: order.index(job.kind))
    identity: Any = sorted(asked)
    trials = tuple(asked.values())
    sweep: Listed | Searched
    if search:
        identity = [identity, search.model_dump(mode="json", exclude={"trials"})]
        sweep = Searched(search, trials)
    else:
        beside = (held.ask(each) for each in references(groups))
        sweep = Listed(trials, tuple(each for each in beside if each.fingerprint not in asked))
        made += [*trials, *sweep.references]
    if champion is not None:
        identity = {"trials": identity, "champion": sorted(champion)}
    if evaluations is not None:
        identity = {"sweep": identity, "evaluations": sorted(evaluations)}
    return Plan(digest(identity), tuple(made), sweep)


def grouped(trials: Iterable[Trial]) -> dict[Sources, list[Trial]]:
    """Trials that are made from the same results, in their order."""
    groups: dict[Sources, list[Trial]] = {}
    for trial in trials:
        groups.setdefault(trial.sources, []).append(trial)
    return groups


def references(groups: Mapping[Sources, Sequence[Trial]]) -> Iterator[Trial]:
    """The trials that shall stand beside others, which are grouped by what they are made from, and
    that can be made from the same."""
    seen = set()
    for sources, members in groups.items():
        specs = [member.spec for member in members]
        for kind in kinds.kinds().values():
            for spec in kind.beside(specs) if kind.holds == "trial" else ():
                needed = kind.needs(spec)
                if not needed.keys() <= dict(sources).keys():
                    continue
                made_from = {role: dict(sources)[role] for role in needed}
                job: Trial = Job.of(kind.name, spec, made_from)  # type: ignore[arg-type]
                if job.fingerprint not in seen:
                    seen.add(job.fingerprint)
                    yield job


class _Held:
    """What a store holds; each kind is listed once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._names: dict[str, frozenset[str]] = {}

    def ask(self, job: Job[Any], stopped_counts: bool = False) -> Job[Any]:
        """The job, knowing whether it is there."""
        held = job.fingerprint in self._of(job.kind) or (
            stopped_counts and job.fingerprint in self._of(STOPPED.name)
        )
        return replace(job, held=True) if held else job

    def note(self, jobs: dict[str, Job[Any]]) -> Any:
        """A function that puts a job into the dictionary, once, knowing whether it is there."""
        return lambda job: jobs.setdefault(job.fingerprint, self.ask(job))

    def _of(self, kind: str) -> frozenset[str]:
        if kind not in self._names:
            self._names[kind] = self._store.fingerprints(kind)
        return self._names[kind]


def digest(identity: Any) -> str:
    """A name for plain data, as long as a fingerprint."""
    return hashlib.sha256(canonical(identity).encode()).hexdigest()[:16]
