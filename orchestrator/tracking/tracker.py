"""MLflow, as the rest of the program sees it: everything there is a view of the store.

Nothing here imports MLflow: a process beside the driver writes what runs.py says. If MLflow is
away for a while, the writes wait for it. What is not written when the sweep ends is written by the
next run of the same command, from the store's records.
"""

import os
import time
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from orchestrator.plan.ranking import Result
from orchestrator.tracking.address import address
from orchestrator.tracking.process import Away, Refused
from orchestrator.tracking.queue import GRACE, WriteQueue, Written, nobody
from qdllm.addresses import bare, without_secrets
from qdllm.errors import ConfigError, TrackingError

if TYPE_CHECKING:
    from orchestrator.tracking.runs import Opened

PATIENCE = 60.0
"""Seconds that the end of a sweep waits for MLflow without getting anything written."""
CURVES = ("train.loss", "val.loss", "val.accuracy")
"""What MLflow shows by epoch; of the other measures it has the final values. The store has all."""
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # The queue repeats what failed, and looks first what became of it.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "PGCONNECT_TIMEOUT": "5",
}


class Tracker:
    """One sweep in MLflow: sweep run → trial runs → seed runs."""

    def __init__(
        self,
        uri: str,
        artifacts: Path,
        experiment: str,
        sweep: str,
        params: Mapping[str, str],
        alone: bool = False,
    ) -> None:
        """Begin to make the database, the experiment and the sweep's run where they are missing.

        `artifacts`: the folder for them, unless a server has one of its own. `sweep`: the sweep's
        fingerprint. `alone`: write from this process. Raises ConfigError for an address that cannot
        be one; the rest is for `ready`.
        """
        self.uri = address(uri)
        self._queue = WriteQueue(
            partial(_runs, self.uri, artifacts.absolute(), experiment, sweep, dict(params)), alone
        )
        self._opening = self._queue.ask("opened")
        self._sent: set[str] = set()

    def ready(self) -> str:
        """Wait for MLflow. Returns what a person should know of it, or nothing.

        Raises ConfigError where it does not answer or will not have us.
        """
        return self._opened().note

    @property
    def page(self) -> str:
        """Where a browser finds the trials, best first, below MLflow's own address."""
        return self._opened().page

    def finished(self, fingerprint: str) -> bool:
        """Whether a trial stands there whole, or is on its way: it need not be written again."""
        return fingerprint in self._opened().finished or fingerprint in self._sent

    def _opened(self) -> "Opened":
        try:
            opened: Opened = self._opening.result()
        except (Away, Refused) as error:
            raise ConfigError(
                f"MLflow at {bare(self.uri)} cannot be used: "
                f"{without_secrets(str(error), self.uri)}"
            ) from None
        return opened

    def write_trial(
        self,
        result: Result,
        axes: Mapping[str, Any],
        tensors: Mapping[str, np.ndarray],
        reference: bool = False,
    ) -> None:
        """A trial that ended well: its run and its seeds' runs.

        `reference`: it stands beside the sweep's, and nobody asked for it by name.
        """
        curves = {name: tensors[name] for name in CURVES}
        written = result, dict(axes), curves, reference
        self._write_trial("write_trial", result.trial.fingerprint, *written)

    def write_failure(
        self,
        fingerprint: str,
        axes: Mapping[str, Any],
        reason: str,
        when: float,
        reference: bool = False,
    ) -> None:
        """A trial that failed: its run, with the reason. `when`: Unix time in seconds."""
        written = fingerprint, dict(axes), reason, when, reference
        self._write_trial("write_failure", fingerprint, *written)

    def write_file(self, name: str, content: str | bytes) -> None:
        """An artifact of the sweep's run, such as `grid.yaml` or `figures/pareto.png`."""
        data = content.encode() if isinstance(content, str) else content
        self._queue.submit(name, "write_file", name, data)

    def register(
        self, name: str, folder: Path, tags: Mapping[str, str], written: Written = nobody
    ) -> str:
        """Register the student in `folder` as a model with the alias `champion`.

        `folder` is what qdllm.saved.save wrote; `tags` is its lineage, with its fingerprint as
        `qdllm.id`. Waits until that and all before it is done, and returns the model's address.
        Raises TrackingError where MLflow does not answer.
        """
        if not self._queue.wait(PATIENCE, written):
            raise self._away()
        try:
            model: str = self._queue.ask("register", name, folder, dict(tags)).result()
        except (Away, Refused) as error:
            raise self._missing("the champion", str(error)) from None
        return model

    def finish(self, metrics: Mapping[str, float], failed: bool) -> None:
        """The sweep's own figures and its end; one that stands there finished is left alone."""
        self._finish(metrics, "FAILED" if failed else "FINISHED")

    def wait(self, written: Written = nobody, patience: float = PATIENCE) -> None:
        """Wait until everything is written. `written(done, total)` counts them.

        Raises TrackingError where no write succeeds for `patience` seconds, or where MLflow has
        refused one.
        """
        if not self._queue.wait(patience, written):
            raise self._away()
        refused = self._queue.refused
        if refused:
            raise self._missing(self._what(refused), next(iter(refused.values())))

    def close(self, kind: type[BaseException] | None, *_: object) -> None:
        """End the writing; an exit callback. An error, or the user, may have ended the sweep."""
        unusable = self._opening.done() and self._opening.exception()
        if kind and not unusable and not issubclass(kind, TrackingError):
            self._queue.drop()
            self._finish({}, "KILLED" if issubclass(kind, KeyboardInterrupt) else "FAILED")
            self._queue.wait(GRACE)
        self._queue.close()

    def _write_trial(self, method: str, fingerprint: str, *arguments: Any) -> None:
        self._sent.add(fingerprint)
        self._queue.submit(fingerprint, method, *arguments)

    def _finish(self, metrics: Mapping[str, float], status: str) -> None:
        self._queue.submit("the sweep", "finish", dict(metrics), status, time.time())

    def _away(self) -> TrackingError:
        return self._missing(self._what(self._queue.waiting), self._queue.trouble or "no answer")

    def _what(self, names: Iterable[str]) -> str:
        trials = len(self._sent.intersection(names))
        return f"{trials} trial{'s' * (trials != 1)}" if trials else "the sweep's own figures"

    def _missing(self, what: str, reason: str) -> TrackingError:
        return TrackingError(
            f"MLflow at {bare(self.uri)} did not take {what}: "
            f"{without_secrets(reason, self.uri)}. Nothing is lost: once it does, the same command "
            "writes what it lacks"
        )


def _runs(*arguments: Any) -> Any:
    """What the writing process calls methods of: Runs, in an environment that suits it."""
    os.environ |= ENVIRONMENT
    from orchestrator.tracking.runs import Runs

    return Runs(*arguments)
