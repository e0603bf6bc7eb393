"""What a sweep needs and what the store already holds. Pure: computes nothing, runs nothing."""

import hashlib
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from jobs import fingerprints
from jobs.fingerprints import FEATURES, PROBES, SOFT_LABELS, STOPPED, STUDENTS
from jobs.store import Store
from orchestrator.grid.space import Search
from qdllm.circuits.gates import weight_count
from qdllm.specs import (
    CircuitSpec,
    EncoderSpec,
    ProbeSpec,
    Spec,
    StudentSpec,
    TaskSpec,
    TeacherSpec,
    canonical,
    fingerprint,
)
from qdllm.texts.data import Dataset

S = TypeVar("S", bound=Spec)


@dataclass(frozen=True)
class Job(Generic[S]):
    """One result that a sweep needs: its kind, its name in the store, and whether it is there."""

    kind: str
    fingerprint: str
    spec: S
    made_from: dict[str, str]
    held: bool


Trial = Job[StudentSpec]
"""One student spec, trained with all its seeds."""


@dataclass(frozen=True)
class Plan:
    """Everything a sweep needs, in the order in which it is made."""

    name: str
    """The sweep's own fingerprint: that of its set of trials, or of its search."""
    features: tuple[Job[EncoderSpec], ...]
    teachers: tuple[Job[TeacherSpec], ...]
    probes: tuple[Job[ProbeSpec], ...]
    trials: tuple[Trial, ...]
    bases: tuple[Trial, ...] = ()
    """What the searches vary, in place of trials and probes, which nobody can know before."""


def plan(
    specs: Sequence[StudentSpec],
    dataset: Dataset,
    store: Store,
    search: Search | None = None,
    scheduler: str = "none",
) -> Plan:
    """Name every result that the specs need, each once, and ask the store which ones it holds.

    `specs`: trials of one task; with a search, its bases. `scheduler`: with one, a trial that one
    has stopped before counts as held.
    """
    held = {kind: store.fingerprints(kind) for kind in (FEATURES, SOFT_LABELS, PROBES, STUDENTS)}
    if scheduler != "none":
        held[STUDENTS] |= store.fingerprints(STOPPED)

    def job(kind: str, name: str, spec: S, made_from: dict[str, str]) -> Job[S]:
        return Job(kind, name, spec, made_from, name in held[kind])

    features: dict[str, Job[EncoderSpec]] = {}
    teachers: dict[str, Job[TeacherSpec]] = {}
    trials: dict[str, Trial] = {}
    # A model's digest costs a look at its files, so it is taken once.
    sources: dict[tuple[TaskSpec, EncoderSpec, TeacherSpec], dict[str, str]] = {}
    # Trials that read the same features and soft labels share their classical references.
    groups: dict[tuple[str, str], list[StudentSpec]] = {}
    for spec in specs:
        key = spec.task, spec.encoder, spec.teacher
        if key not in sources:
            task = {"task": fingerprints.of_task(spec.task, dataset.digest)}
            sources[key] = made_from = fingerprints.sources(spec, dataset.digest)
            encoded, taught = made_from["features"], made_from["soft_labels"]
            features[encoded] = job(FEATURES, encoded, spec.encoder, task)
            teachers[taught] = job(SOFT_LABELS, taught, spec.teacher, task)
        made_from = sources[key]
        name = fingerprint(spec, **made_from)
        trials[name] = job(STUDENTS, name, spec, made_from)
        groups.setdefault((made_from["features"], made_from["soft_labels"]), []).append(spec)
    needed = tuple(features.values()), tuple(teachers.values())
    if search:
        asked = search.model_dump(mode="json", exclude={"trials"})
        return Plan(_name([sorted(trials), asked]), *needed, (), (), tuple(trials.values()))
    probes = probe_jobs(groups, held[PROBES])
    return Plan(_name(sorted(trials)), *needed, probes, tuple(trials.values()))


def probe_jobs(
    groups: Mapping[tuple[str, str], Sequence[StudentSpec]], held: Container[str]
) -> tuple[Job[ProbeSpec], ...]:
    """The classical references of trials, grouped by the keys of their features and soft labels."""
    jobs = []
    for (encoded, taught), members in groups.items():
        probe = probe_spec(members)
        name = fingerprints.of_probe(probe, encoded, taught)
        made_from = {"features": encoded, "soft_labels": taught}
        jobs.append(Job(PROBES, name, probe, made_from, name in held))
    return tuple(jobs)


def probe_spec(members: Sequence[StudentSpec]) -> ProbeSpec:
    """The classical references of trials that share features and soft labels."""
    settings = {(spec.loss, spec.fit) for spec in members}
    return ProbeSpec(
        circuit=max({spec.circuit for spec in members}, key=_size),
        settings=tuple(sorted(settings, key=repr)),
        seeds=members[0].seeds,
    )


def _size(circuit: CircuitSpec) -> tuple[int, str]:
    """Orders circuits by their weights, and those with as many in a fixed way."""
    return weight_count(circuit), repr(circuit)


def _name(identity: Any) -> str:
    return hashlib.sha256(canonical(identity).encode()).hexdigest()[:16]
