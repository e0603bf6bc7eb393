"""What a command's sweeps share, and what each of them is."""

import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Self

from jobs.store import Store
from orchestrator.console import Terminal
from orchestrator.execution import Executor, executor
from orchestrator.grid import Grid
from orchestrator.options import Locations
from orchestrator.plan import History, Plan
from qdllm.texts.data import Dataset

REPORTS, ARTIFACTS = "reports", "artifacts"
"""Folders of a home."""
GO_ON = "run the same command again to go on from here"
INTERRUPTED = f"interrupted; {GO_ON}"


class Session:
    """A terminal, a store with what was read of it, and whoever does the work.

    A context: what it has started ends with it.
    """

    def __init__(self, locations: Locations, quiet: bool) -> None:
        """`quiet`: nothing will be run, so nothing needs a log."""
        self.locations, self.store = locations, locations.store
        self.history = History(self.store)
        self.executor: Executor = executor(locations.ray)
        log = locations.home / "logs" / time.strftime("%Y-%m-%dT%H-%M-%S.log")
        self.terminal = Terminal(None if quiet else log, shared=self.executor.alone)
        self._open, self._connected, self._interrupted = ExitStack(), False, False

    def __enter__(self) -> Self:
        self._open.enter_context(self.terminal)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # Whatever the interrupt became on its way: Ray's calls in our finally clauses may fail too.
        if kind and self._interrupted and self._connected and not self.executor.alone:
            # Not by Ray's shutdown: a thread that is still in Ray's client then, such as Train's,
            # ends the process with status 1 and without a word. What Ray has started here ends with
            # the process.
            self.terminal.leave(130, INTERRUPTED)
        self._open.close()
        self.store.tidy()

    def connect(self) -> None:
        """Have the executor ready: only a sweep that lacks something needs it."""
        if not self._connected:
            self.terminal.status = self._open.enter_context(self.executor.connected(self._lost))
            self._connected = True

    def _lost(self, what: str) -> None:
        # Nothing can be put away without Ray: its client would block, and end the process.
        self.terminal.leave(1, f"error: {what} is gone; {GO_ON}")

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """While the block runs, a first Ctrl-C ends it as KeyboardInterrupt, a second at once."""

        def interrupt(signum: int, frame: object) -> None:
            # A second one ends the process, whatever is being put away.
            signal.signal(signal.SIGINT, lambda *_: self.terminal.leave(130, INTERRUPTED))
            self._interrupted = True
            raise KeyboardInterrupt

        self._open.callback(signal.signal, signal.SIGINT, signal.signal(signal.SIGINT, interrupt))
        yield


@dataclass(frozen=True)
class Sweep:
    """One execution of a grid on one task: what is asked, what it needs, and where things go."""

    session: Session
    definition: Grid
    dataset: Dataset
    plan: Plan
    missing: int
    """How many results are left to compute, a search's trials among them."""
    cuts: Sequence[Mapping[str, Any]]
    """What of the texts is longer than models read; see orchestrator.plan.reading."""

    @property
    def name(self) -> str:
        """What MLflow's experiment is called."""
        return f"{self.definition.name}-{self.dataset.name}"

    @property
    def model(self) -> str:
        """What MLflow's registered model is called.

        A split by a seed of its own has one to itself: otherwise the alias would pass from split to
        split, and each one's address would serve the last one's champion.
        """
        seed = self.plan.task.seed
        return f"qdllm-{self.name}" + (f"-split{seed}" if seed else "")

    @property
    def store(self) -> Store:
        """Where its results are."""
        return self.session.store

    @property
    def terminal(self) -> Terminal:
        """What a person sees."""
        return self.session.terminal
