"""Ray Tune: run a list of student trials, each one process with all its seeds."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ray import tune

from jobs import student
from jobs.store import Store
from orchestrator.plan import Trial


def run_list(
    trials: Sequence[Trial],
    arrays: Mapping[str, np.ndarray],
    store: Store,
    *,
    folder: Path,
    on_done: Callable[[Trial], None],
    on_error: Callable[[Trial, str], None],
) -> None:
    """Run every trial once, as many at a time as there are CPUs.

    Tune's own state goes to a folder inside `folder` that is gone afterwards: the store is the
    truth. The arrays go to Ray's object store, which all trials of a node share without copying.
    `on_done(trial)` follows a trial's record; `on_error(trial, reason)` follows a failure, which
    leaves the other trials alone. Both are called in the driver.
    """
    trials_by_name = {trial.fingerprint: trial for trial in trials}
    trainable = tune.with_parameters(
        _train, trials=trials_by_name, arrays=dict(arrays), store=store.uri
    )
    with tempfile.TemporaryDirectory(prefix="tune-", dir=folder) as scratch:
        tune.Tuner(
            tune.with_resources(trainable, {"cpu": 1}),
            param_space={"trial": tune.grid_search(list(trials_by_name))},
            tune_config=tune.TuneConfig(reuse_actors=True),
            run_config=tune.RunConfig(
                storage_path=scratch,
                callbacks=[_Callbacks(trials_by_name, on_done, on_error)],
                verbose=0,
            ),
        ).fit()


def _train(
    config: dict[str, str],
    trials: Mapping[str, Trial],
    arrays: Mapping[str, np.ndarray],
    store: str,
) -> None:
    trial = trials[config["trial"]]
    student.run(
        trial.spec,
        trial.fingerprint,
        trial.made_from,
        arrays,
        Store(store),
        report=lambda epoch, means: tune.report({"epoch": epoch, **means}),
    )


class _Callbacks(tune.Callback):
    """Tells the driver of trials that ended. Ray's own signatures."""

    def __init__(
        self,
        trials: Mapping[str, Trial],
        on_done: Callable[[Trial], None],
        on_error: Callable[[Trial, str], None],
    ) -> None:
        self._trials, self._on_done, self._on_error = trials, on_done, on_error

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune saves its callbacks, and no sweep is ever restored from Tune's state."""
        return {}

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._on_done(self._trials[trial.config["trial"]])

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        lines = Path(trial.error_file).read_text(encoding="utf-8").strip().splitlines()
        reason = lines[-1].removeprefix("qdllm.errors.")
        self._on_error(self._trials[trial.config["trial"]], reason)
