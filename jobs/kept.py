"""What of a trial that takes long is done, as it lies in the store before its result does."""

import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from jobs import kinds
from jobs.kinds import Job
from jobs.kinds.teachers import CHECKPOINTS
from jobs.store import Record, Store
from jobs.store.record import DamagedError, VersionError
from qdllm.errors import StoreError
from qdllm.fit import Trained
from qdllm.specs import TrialSpec


class Published(Exception):
    """Another worker has published the result of what is being trained."""


class Kept:
    """Of one trial, in one store; see qdllm.fit.Kept. Another worker goes on from it."""

    def __init__(self, job: Job[TrialSpec], store: Store) -> None:
        self._job, self._store = job, store

    def load(self) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
        """As the protocol does; why what is there is not used is said in the worker's output."""
        if found := self._read(CHECKPOINTS.name, self._job.fingerprint):
            record, tensors = found
            return dict(record.model_dump()["summary"]), tensors
        return None

    def first(self) -> Trained | None:
        """As the protocol does, for the most seeds that there are; said as `load` says it."""
        for spec in kinds.kind(self._job.kind).goes_on_from(self._job.spec):
            job = Job.of(self._job.kind, spec, self._job.made_from)
            if found := self._read(job.kind, job.fingerprint):
                record, curves = found
                parameters_SP = curves.pop("parameters")
                seconds = record.summary["seconds_per_epoch"]
                return Trained(parameters_SP, curves, [seconds] * curves["train.loss"].shape[1])
        return None

    def _read(self, kind: str, fingerprint: str) -> tuple[Record, dict[str, Tensor]] | None:
        try:
            if not self._store.has(kind, fingerprint):
                return None
            record, arrays = self._store.load(kind, fingerprint)
        except (DamagedError, VersionError) as error:
            print(f"{error}: it is not used, training begins anew", file=sys.stderr, flush=True)
            return None
        return record, {name: torch.tensor(arrays[name]) for name in arrays}

    def save(self, told: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """As the protocol does. Raises StoreError; Published where there is nothing left to do."""
        if self._store.has(self._job.kind, self._job.fingerprint):
            raise Published
        self._store.replace(
            CHECKPOINTS.name,
            self._job.fingerprint,
            tensors={name: tensor.numpy() for name, tensor in tensors.items()},
            spec=self._job.spec.model_dump(mode="json"),
            made_from=self._job.made_from,
            summary=told,
            seconds=0.0,
        )

    def clear(self) -> None:
        """Delete it, once its result is there. What cannot be deleted housekeeping will."""
        with suppress(StoreError):
            self._store.clear(f"{CHECKPOINTS.name}/{self._job.fingerprint}")
