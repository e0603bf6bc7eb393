"""What a sweep needs and what the store already holds. Pure: computes nothing, runs nothing."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from jobs import fingerprints
from jobs.store import Store
from qdllm.circuit import weight_count
from qdllm.data import Dataset
from qdllm.specs import (
    EncoderSpec,
    ProbeSpec,
    Spec,
    StudentSpec,
    TeacherSpec,
    canonical,
)

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
    """The sweep's own fingerprint: that of its trials, in their order."""
    features: tuple[Job[EncoderSpec], ...]
    teachers: tuple[Job[TeacherSpec], ...]
    probes: tuple[Job[ProbeSpec], ...]
    trials: tuple[Trial, ...]

    @property
    def missing(self) -> int:
        """How many results are left to compute."""
        jobs = self.features + self.teachers + self.probes + self.trials
        return sum(not job.held for job in jobs)


def plan(specs: Sequence[StudentSpec], dataset: Dataset, store: Store) -> Plan:
    """Name every result that the specs need, each once, and ask the store which ones it holds."""
    held = {
        kind: store.fingerprints(kind) for kind in ("features", "soft-labels", "probes", "students")
    }

    def job(kind: str, name: str, spec: S, **made_from: str) -> Job[S]:
        return Job(kind, name, spec, made_from, name in held[kind])

    features: dict[str, Job[EncoderSpec]] = {}
    teachers: dict[str, Job[TeacherSpec]] = {}
    probes: dict[str, Job[ProbeSpec]] = {}
    trials: dict[str, Trial] = {}
    # Trials that read the same features and soft labels share their classical references.
    groups: dict[tuple[str, str], list[StudentSpec]] = {}
    for spec in specs:
        task = fingerprints.of_task(spec.task, dataset.digest)
        name, made_from = fingerprints.of_student(spec, dataset.digest)
        trials[name] = job("students", name, spec, **made_from)
        encoded, taught = made_from["features"], made_from["soft_labels"]
        features[encoded] = job("features", encoded, spec.encoder, task=task)
        teachers[taught] = job("soft-labels", taught, spec.teacher, task=task)
        groups.setdefault((encoded, taught), []).append(spec)
    for (encoded, taught), members in groups.items():
        probe = probe_spec(members)
        name = fingerprints.of_probe(probe, encoded, taught)
        probes[name] = job("probes", name, probe, features=encoded, soft_labels=taught)
    name = hashlib.sha256(canonical(list(trials)).encode()).hexdigest()[:16]
    return Plan(
        name,
        tuple(features.values()),
        tuple(teachers.values()),
        tuple(probes.values()),
        tuple(trials.values()),
    )


def probe_spec(members: Sequence[StudentSpec]) -> ProbeSpec:
    """The classical references of trials that share features and soft labels."""
    settings = {(spec.loss, spec.fit) for spec in members}
    return ProbeSpec(
        circuit=max((spec.circuit for spec in members), key=weight_count),
        settings=tuple(sorted(settings, key=repr)),
        seeds=members[0].seeds,
    )
