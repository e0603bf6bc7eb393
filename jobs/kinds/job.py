"""A result by name: what it is, what it is made from, and whether it is there."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from qdllm.spec import Spec, fingerprint
from qdllm.specs import TaskSpec

S = TypeVar("S", bound=Spec)
Sources = tuple[tuple[str, str], ...]
"""What a result is made from: roles and fingerprints."""


@dataclass(frozen=True)
class Job(Generic[S]):
    """One result that a sweep needs: its kind, its name in the store, and whether it is there."""

    kind: str
    fingerprint: str
    spec: S
    made_from: Mapping[str, str]
    held: bool = False

    @classmethod
    def of(cls, kind: str, spec: S, made_from: Mapping[str, str]) -> "Job[S]":
        """Named by its spec and by what it is made from; not known to be there."""
        return cls(kind, fingerprint(spec, **made_from), spec, dict(made_from))

    @property
    def sources(self) -> Sources:
        """What it is made from, to tell whether others read the same."""
        return tuple(self.made_from.items())


def task_key(task: TaskSpec, texts: str) -> str:
    """Fingerprint of a task whose dataset's texts and labels have the digest `texts`."""
    return fingerprint(task, texts=texts)
