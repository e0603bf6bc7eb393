"""What a sweep asks of whoever does its work."""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from jobs.kinds import Job
from jobs.store import Store
from orchestrator.console import Phase
from orchestrator.grid.space import Search
from orchestrator.plan import Result, Trial
from orchestrator.tune.group import Group
from qdllm.texts.data import Dataset


class Executor(Protocol):
    """Makes results, and publishes them. Costs nothing before `connected`."""

    alone: bool
    """Whether all happens in this one process."""

    def place(self) -> tuple[str, int | None]:
        """Where the work would be done, in words, and its CPUs; None where they are unknown."""
        ...

    @contextmanager
    def connected(self, lost: Callable[[str], None]) -> Iterator[Callable[[], str]]:
        """Ready for work while the block runs.

        Calls `lost`, from another thread, with the name of what has died that it cannot do without.
        Gives a function that tells what it holds and has cost. Raises ConfigError where there is
        nobody to do the work.
        """
        ...

    def check(
        self, store: Store, work: Collection[str], cores: float, say: Callable[[str], None]
    ) -> None:
        """Find out whether it can do that work, of nodes.WORK, before anything is paid for.

        `cores`: what a trial holds that takes no time to speak of. Raises ConfigError with a line
        for each thing that stands in the way.
        """
        ...

    def run(self, job: Job[Any], dataset: Dataset, store: Store, phase: Phase) -> None:
        """Make a result whose maker takes a node. Raises what the maker raises."""
        ...

    def train(
        self, job: Job[Any], dataset: Dataset, store: Store, phase: Phase, workers: int | None
    ) -> None:
        """Make a result whose maker takes workers; None: as many as suit what there is.

        Goes on from its checkpoint in the store. Raises what the maker raises.
        """
        ...

    def run_list(self, group: Group, trials: Sequence[Trial]) -> None:
        """Run every trial once."""
        ...

    def run_search(
        self, group: Group, search: Search, base: Trial, past: Sequence[Result], count: int
    ) -> None:
        """Run `count` new trials where the search's sampler wants them, or as many as there are.

        `base`: what the search varies. `past`: what lies in its space already.
        """
        ...
