"""Ray Tune: student trials, each one process with all its seeds, by list or as a search asks."""

import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ray import tune
from ray.air._internal import usage
from ray.exceptions import ActorDiedError
from ray.tune.execution import class_cache
from ray.tune.schedulers import AsyncHyperBandScheduler, MedianStoppingRule, TrialScheduler
from ray.tune.search import Searcher

from jobs.fingerprints import STUDENTS
from jobs.store import Record, Store
from orchestrator.cluster import capacity
from orchestrator.grid import Grid
from orchestrator.grid.space import Search, at
from orchestrator.plan import Trial
from orchestrator.plan.ranking import Result
from orchestrator.tune.searcher import Asking
from qdllm.errors import StoreError, TrialError
from qdllm.specs import StudentSpec, fingerprint

# Tune would send the driver's keys to its workers as a runtime environment, which Ray writes into
# its logs. Nodes have their own.
class_cache.ENV_VARS_TO_PROPAGATE.difference_update(
    name for name in tuple(class_cache.ENV_VARS_TO_PROPAGATE) if name.startswith("AWS_")
)
# Ray's telemetry is off, but to count for it which callbacks there are, Tune would import MLflow
# before the first trial: more than a second.
usage.tag_callbacks = lambda callbacks: False

RETRIES = 2
"""How often a trial whose worker died is started anew."""
LOSSES = 10
"""How often a trial is given to another node, after those that Tune tried were lost."""
LOST = ("actor is temporarily unavailable", "node has died", "node was terminated")
"""What Ray says where not the worker, but its node or the way there is gone."""
PATIENCE, PAUSE = 600.0, 5.0
"""Seconds for which a worker tries to publish what it has trained, and those between two tries."""


@dataclass(frozen=True)
class Runner:
    """What all trials of a sweep share."""

    definition: Grid
    arrays: Mapping[str, np.ndarray]
    """What `jobs.inputs.gather` gave; Ray's object store holds it once per node."""
    store: Store
    folder: Path
    """Tune's own state goes to a folder in it that is gone afterwards: the store is the truth."""
    ended: Callable[[Trial, Mapping[str, Any]], None]
    """Called in the driver when a trial ended by itself, or was stopped, with its last report."""
    failed: Callable[[Trial, str], None]
    """Called in the driver when a trial's worker failed for good, with the reason."""


def run_list(runner: Runner, trials: Sequence[Trial]) -> None:
    """Run every trial once, as many at a time as there is room for.

    One whose node is lost runs again: while Ray waits for a node that has been cut off, Tune may
    use up all its tries on it.
    """
    for _ in range(LOSSES):
        names = tune.grid_search([_written(trial) for trial in trials])
        trials = _run(runner, _read, {"trial": names})
        if not trials:
            return
    for trial in trials:
        runner.failed(trial, f"its node was lost, {LOSSES} times; run the same command again")


def _written(trial: Trial) -> str:
    """A trial as text, which a worker reads alone, without the sweep's other trials."""
    spec, made_from = trial.spec.model_dump(mode="json"), dict(trial.made_from)
    return json.dumps({"fingerprint": trial.fingerprint, "spec": spec, "made_from": made_from})


def _read(config: Mapping[str, Any]) -> Trial:
    parts = json.loads(config["trial"])
    spec = StudentSpec.parse(parts["spec"])
    return Trial(STUDENTS, parts["fingerprint"], spec, parts["made_from"], False)


def run_search(
    runner: Runner, search: Search, base: Trial, past: Sequence[Result], count: int
) -> None:
    """Run `count` new trials where the search's sampler wants them, or as many as there are.

    `base`: the spec that the search varies, under the fingerprints of its features and soft labels.
    `past`: what lies in the search's space, trials that a scheduler has stopped among it.
    """

    def trial_of(config: Mapping[str, Any]) -> Trial:
        spec = at(base.spec, config["point"])
        name = fingerprint(spec, **base.made_from)
        return Trial(base.kind, name, spec, base.made_from, False)

    searcher = Asking(search, past, trial_of, runner.store)
    lost = _run(runner, trial_of, {}, searcher, count)
    if lost:
        run_list(runner, lost)


def _run(
    runner: Runner,
    trial_of: Callable[[Mapping[str, Any]], Trial],
    space: dict[str, Any],
    searcher: Searcher | None = None,
    samples: int = 1,
) -> list[Trial]:
    """Returns the trials whose nodes were lost, and which nobody has finished since.

    `trial_of(config)`: the trial that Tune's config means, in the driver and in the workers.
    """
    callbacks = _Callbacks(trial_of, runner)
    held, scheduler = runner.definition.resources, scheduler_of(runner.definition)
    trainable = tune.with_parameters(
        _train,
        trial_of=trial_of,
        arrays=dict(runner.arrays),
        store=runner.store.uri,
        watched=scheduler is not None,
    )
    with tempfile.TemporaryDirectory(prefix="tune-", dir=runner.folder) as scratch:
        tune.Tuner(
            tune.with_resources(trainable, {"cpu": held.cpu, "gpu": held.gpu}),
            param_space=space,
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                scheduler=scheduler,
                num_samples=samples,
                # Without a number, Tune asks a sampler for one trial at a time.
                max_concurrent_trials=_room(held.cpu, held.gpu) if searcher else None,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                storage_path=scratch,
                failure_config=tune.FailureConfig(max_failures=RETRIES),
                callbacks=[callbacks],
                verbose=0,
            ),
        ).fit()
    left = []
    for trial in callbacks.lost:
        # A worker that was cut off may have published, when it came back.
        if runner.store.has(trial.kind, trial.fingerprint):
            runner.ended(trial, {})
        else:
            left.append(trial)
    return left


def _train(
    config: Mapping[str, Any],
    trial_of: Callable[[Mapping[str, Any]], Trial],
    arrays: Mapping[str, np.ndarray],
    store: str,
    watched: bool,
) -> None:
    from jobs import student  # torch, which the driver has no need of

    trial = trial_of(config)

    def report(epoch: int, means: Mapping[str, float]) -> None:
        # A report waits for Tune, so there is none without a scheduler to read it. The last epoch
        # is told when its result is published: a scheduler could end it before.
        if watched and epoch < trial.spec.fit.epochs:
            tune.report({"epoch": epoch, **means})

    try:
        student.run(
            trial.spec, trial.fingerprint, trial.made_from, arrays, _Patient(store), report=report
        )
    except (StoreError, TrialError) as error:
        # Returned, not raised: it would go wrong again, and Tune would try it again.
        tune.report({"failed": str(error)})


class _Patient(Store):
    """A store whose absence costs no training: what is trained is kept until it is back."""

    def publish(self, *names: Any, **parts: Any) -> Record:
        """As Store does. Raises StoreError if it has been refused for `PATIENCE` seconds."""
        began = time.monotonic()
        while True:
            try:
                return super().publish(*names, **parts)
            except StoreError:
                if time.monotonic() - began > PATIENCE:
                    raise
            time.sleep(PAUSE)


def scheduler_of(definition: Grid) -> TrialScheduler | None:
    """What ends unpromising trials early, by the search's objective or validation accuracy."""
    objectives = definition.search.objectives if definition.search else {}
    metric, direction = next(iter(objectives.items()), ("val.accuracy.mean", "maximize"))
    shared: dict[str, Any] = {
        "time_attr": "epoch",
        "metric": metric.removesuffix(".mean"),
        "mode": direction[:3],
    }
    if definition.scheduler == "asha":
        # No trial reaches max_t: the last epoch is for student.run to publish.
        return AsyncHyperBandScheduler(max_t=10**6, grace_period=2, reduction_factor=3, **shared)
    if definition.scheduler == "median":
        return MedianStoppingRule(grace_period=2, min_samples_required=5, **shared)
    return None


def _room(cpu: float, gpu: float) -> int:
    """How many trials can run at once, when every node is up that may be."""
    places = [capacity.most("CPU") / cpu]
    if gpu:
        places.append(capacity.most("GPU") / gpu)
    return max(1, int(min(places)))


class _Callbacks(tune.Callback):
    """Tells the runner's owner of trials that ended. Ray's own signatures."""

    def __init__(self, trial_of: Callable[[Mapping[str, Any]], Trial], runner: Runner) -> None:
        self._trial_of, self._runner = trial_of, runner
        self.lost: list[Trial] = []

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune saves its callbacks, and no sweep is ever restored from Tune's state."""
        return {}

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._runner.ended(self._trial_of(trial.config), trial.last_result or {})

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        text = Path(trial.error_file).read_text(encoding="utf-8")
        if node_lost(text):
            self.lost.append(self._trial_of(trial.config))
        else:
            self._runner.failed(self._trial_of(trial.config), reason(text))


def node_lost(text: str) -> bool:
    """Whether a trial ended with its node, by Ray's account of its failures.

    The way to a worker that had no memory is lost too.
    """
    return any(word in text for word in LOST) and not _memory(text)


def _memory(text: str) -> bool:
    return "OutOfMemoryError" in text or "out of memory" in text.lower()


def reason(text: str) -> str:
    """What ended a trial, out of Ray's account of its failures."""
    if _memory(text):
        return f"out of memory, {RETRIES + 1} times; give trials more cores (resources.cpu)"
    if ActorDiedError.BASE_ERROR_MSG in text:
        return f"its worker died, {RETRIES + 1} times; see the log"
    return text.strip().splitlines()[-1].removeprefix("qdllm.errors.")
