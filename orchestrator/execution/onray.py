"""The work of a sweep on Ray: one of its own on this machine, or a cluster.

Ray takes seconds to import and reads its environment then, so it is imported once it is connected.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from jobs.kinds import Job
from jobs.store import Store
from orchestrator import cluster
from orchestrator.console import Phase
from orchestrator.grid.space import Search
from orchestrator.plan import Result, Trial
from orchestrator.tune.group import Group
from qdllm.errors import ConfigError
from qdllm.texts.data import Dataset


class OnRay:
    """See Executor."""

    alone = False

    def __init__(self, address: str) -> None:
        """`address`: a cluster's, or `local`."""
        self._address = address

    def place(self) -> tuple[str, int | None]:
        """As Executor does."""
        return cluster.place(self._address)

    @contextmanager
    def connected(self, lost: Callable[[str], None]) -> Iterator[Callable[[], str]]:
        """As Executor does."""
        with cluster.connect(self._address, lost) as status:
            yield status

    def check(
        self, store: Store, work: Collection[str], cores: float, say: Callable[[str], None]
    ) -> None:
        """As Executor does."""
        from orchestrator.cluster import capacity, nodes

        nodes.before(store, self._address, work, say)
        # Where nobody knows what a cluster's autoscaler could start, a node may be on its way.
        known = self._address == "local" or nodes.startable()
        if known and cores > (most := capacity.ceiling("CPU")):
            raise ConfigError(
                f"resources.cpu: {cores:g} cores were asked for each trial, but no node has more "
                f"than {most:g}; give at most so many"
            )

    def run(self, job: Job[Any], dataset: Dataset, store: Store, phase: Phase) -> None:
        """As Executor does."""
        cluster.run(job, dataset, store, phase)

    def train(
        self, job: Job[Any], dataset: Dataset, store: Store, phase: Phase, workers: int | None
    ) -> None:
        """As Executor does."""
        cluster.train(job, dataset, store, phase, workers)

    def run_list(self, group: Group, trials: Sequence[Trial]) -> None:
        """As Executor does."""
        from orchestrator.tune import tuner

        tuner.run_list(group, trials)

    def run_search(
        self, group: Group, search: Search, base: Trial, past: Sequence[Result], count: int
    ) -> None:
        """As Executor does."""
        from orchestrator.tune import tuner

        tuner.run_search(group, search, base, past, count)
