"""The work of a sweep in this process, one thing after the other: for a debugger, and for tests.

Results are those that Ray's workers give, to the bit.
"""

import importlib
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from jobs import kinds
from jobs.kinds import Job
from jobs.store import Store
from jobs.store.patient import PatientStore
from orchestrator.cluster import checks, nodes
from orchestrator.console import Phase
from orchestrator.grid.space import Search
from orchestrator.plan import Result, Trial
from orchestrator.tune.group import Group
from qdllm.errors import QdllmError
from qdllm.texts.data import Dataset


class InProcess:
    """See Executor."""

    alone = True

    def place(self) -> tuple[str, int | None]:
        """As Executor does."""
        return "this process, one thing after the other", 1

    @contextmanager
    def connected(self, lost: Callable[[str], None]) -> Iterator[Callable[[], str]]:
        """As Executor does."""
        yield lambda: ""

    def check(
        self, store: Store, work: Collection[str], cores: float, say: Callable[[str], None]
    ) -> None:
        """As Executor does: whether the store can be written."""
        nodes.refuse({nodes.DRIVER: [checks.store(store.uri, "", nodes.DRIVER)]})

    def run(self, job: Job[Any], dataset: Dataset, store: Store, phase: Phase) -> None:
        """As Executor does."""
        maker = importlib.import_module(kinds.kind(job.kind).maker)
        maker.run(job, dataset, PatientStore(store.uri), _progress(phase))

    def train(
        self, job: Job[Any], dataset: Dataset, store: Store, phase: Phase, workers: int | None
    ) -> None:
        """As Executor does, on one worker."""
        self.run(job, dataset, store, phase)

    def run_list(self, group: Group, trials: Sequence[Trial]) -> None:
        """As Executor does."""
        for trial in trials:
            self._run(group, trial)

    def run_search(
        self, group: Group, search: Search, base: Trial, past: Sequence[Result], count: int
    ) -> None:
        """As Executor does."""
        from orchestrator.tune.proposals import Proposals, trial_at  # Optuna

        proposals = Proposals(search, base, past, group.store)
        for number in range(count):
            point = proposals.next(str(number))
            if point is None:
                return
            proposals.ended(str(number), self._run(group, trial_at(base, point)))

    def _run(self, group: Group, trial: Trial) -> dict[str, Any]:
        """Train one trial, whatever the scheduler. Returns its last report."""
        import torch

        from jobs import trial as maker

        threads, last = torch.get_num_threads(), dict[str, Any]()
        store = PatientStore(group.store.uri)
        try:
            # Another sweep may have made it since this one looked.
            if not store.has(trial.kind, trial.fingerprint):
                maker.train(trial, group.arrays[trial.sources], store)
        except QdllmError as error:
            last["failed"] = str(error)
        finally:
            torch.set_num_threads(threads)
        group.ended(trial, last)
        return last


def _progress(phase: Phase) -> Callable[[str, int, int, str], None]:
    return lambda name, *event: phase.hear(*event)
