"""Ray Tune: trials, each one process with all its seeds, by list or as a search asks."""

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import ray
from ray import tune
from ray.air._internal import usage
from ray.exceptions import ActorDiedError
from ray.tune.execution import class_cache
from ray.tune.schedulers import AsyncHyperBandScheduler, MedianStoppingRule, TrialScheduler
from ray.tune.search import Searcher

from jobs import kinds
from jobs.kinds.job import Sources
from jobs.store.patient import PatientStore
from orchestrator.cluster import capacity, nodes
from orchestrator.grid import Grid
from orchestrator.grid.space import Search
from orchestrator.plan import Result, Trial
from orchestrator.tune.group import Group
from orchestrator.tune.proposals import Proposals, trial_at
from orchestrator.tune.searcher import TuneSearcher
from qdllm import families
from qdllm.errors import QdllmError, TrialError

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
REPLACED = nodes.START
"""Seconds that a node which is gone has to come back, or another one like it."""
LOST = ("actor is temporarily unavailable", "node has died", "node was terminated")
"""What Ray says where not the worker, but its node or the way there is gone."""


def run_list(group: Group, trials: Sequence[Trial]) -> None:
    """Run every trial once, as many at a time as there is room for.

    One whose node is lost runs again: while Ray waits for a node that has been cut off, Tune may
    use up all its tries on it, and where no other node has as much, a trial asks for less in time.
    """
    for _ in range(LOSSES):
        names = tune.grid_search([kinds.written(trial) for trial in trials])
        family = families.of(trials[0].spec)
        trials = _run(group, family, _read, {"trial": names}, asked=trials)
        if not trials:
            return
    for trial in trials:
        group.failed(trial, f"its node was lost, {LOSSES} times; run the same command again")


def run_search(
    group: Group, search: Search, base: Trial, past: Sequence[Result], count: int
) -> None:
    """Run `count` new trials where the search's sampler wants them, or as many as there are.

    `base`: the spec that the search varies, under the fingerprints of its features and soft labels.
    `past`: what lies in the search's space, trials that a scheduler has stopped among it.
    """

    def trial_of(config: Mapping[str, Any]) -> Trial:
        return trial_at(base, config["point"])

    searcher = TuneSearcher(Proposals(search, base, past, group.store))
    lost = _run(group, families.of(base.spec), trial_of, {}, searcher, count)
    if lost:
        run_list(group, lost)


def _read(config: Mapping[str, Any]) -> Trial:
    return kinds.read(config["trial"])


def _holds(group: Group, family: families.Family[Any]) -> dict[str, float]:
    """What a trial asks of Ray: the grid's part of a node; or for one that takes long a GPU, where
    there is one, or all of a node's cores."""
    if not family.long:
        return {"cpu": group.definition.resources.cpu}
    if capacity.total("GPU"):
        # A node that has some may offer no core, so that no student keeps it from ending.
        return {"cpu": 0, "gpu": 1}
    return {"cpu": max(1, capacity.largest("CPU"))}


def _run(
    group: Group,
    family: families.Family[Any],
    trial_of: Callable[[Mapping[str, Any]], Trial],
    space: dict[str, Any],
    searcher: Searcher | None = None,
    samples: int = 1,
    asked: Sequence[Trial] = (),
) -> list[Trial]:
    """Returns the trials whose nodes were lost, and which nobody has finished since.

    `family`: one of theirs; what runs together is of families that take as long. `asked`: those
    that are known before. `trial_of(config)`: the trial that Tune's config means, in the driver and
    in the workers.
    """
    callbacks = _Callbacks(trial_of, group)
    held, scheduler = _holds(group, family), scheduler_of(group.definition)
    stranded = _Stranded(held, lambda: _holds(group, family))
    trainable = tune.with_parameters(
        _train,
        trial_of=trial_of,
        # Each by itself, so that a node holds no more than its trials read.
        arrays={sources: ray.put(dict(read)) for sources, read in group.arrays.items()},
        store=group.store.uri,
        watched=scheduler is not None,
    )
    with tempfile.TemporaryDirectory(prefix="tune-", dir=group.folder) as scratch:
        tune.Tuner(
            tune.with_resources(trainable, held),
            param_space=space,
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                scheduler=scheduler,
                num_samples=samples,
                # Without a number, Tune asks a sampler for one trial at a time.
                max_concurrent_trials=_room(held) if searcher else None,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                storage_path=scratch,
                stop=stranded if asked and family.long else None,
                failure_config=tune.FailureConfig(max_failures=RETRIES),
                callbacks=[callbacks],
                verbose=0,
            ),
        ).fit()
    lost, left = callbacks.lost, []
    if stranded.ended:
        lost += [trial for trial in asked if trial.fingerprint not in callbacks.heard]
    for trial in lost:
        # A worker that was cut off may have published, when it came back.
        if group.store.has(trial.kind, trial.fingerprint):
            group.ended(trial, {})
        else:
            left.append(trial)
    return left


def _train(
    config: Mapping[str, Any],
    trial_of: Callable[[Mapping[str, Any]], Trial],
    arrays: Mapping[Sources, ray.ObjectRef[dict[str, np.ndarray]]],
    store: str,
    watched: bool,
) -> None:
    # torch, which the driver has no need of
    from jobs import trial as maker
    from qdllm.rivals.inference import device

    trial, kept = trial_of(config), PatientStore(store)
    family = families.of(trial.spec)
    epochs = family.epochs(trial.spec)

    def report(epoch: int, means: Mapping[str, float]) -> None:
        # A report waits for Tune, so there is none without a scheduler to read it. The last epoch
        # is told when its result is published: a scheduler could end it before. What takes long
        # tells its epochs when all seeds have ended, and there is nothing left to save.
        if watched and epoch < epochs and not family.long:
            tune.report({"epoch": epoch, **means})

    try:
        # Tune starts a trial again whose worker was killed before it could tell that it was done.
        if not kept.has(trial.kind, trial.fingerprint):
            if family.long and ray.get_gpu_ids() and device().type == "cpu":
                raise TrialError(
                    "Ray lends it a GPU that PyTorch does not see; install a PyTorch with CUDA "
                    "there, or hide the GPU from Ray (CUDA_VISIBLE_DEVICES='')"
                )
            _log(trial, "begins")
            maker.train(trial, ray.get(arrays[trial.sources]), kept, report)
            _log(trial, "is published")
    except QdllmError as error:
        # Returned, not raised: it would go wrong again, and Tune would try it again.
        tune.report({"failed": str(error)})


def _log(trial: Trial, what: str) -> None:
    """A line in the worker's own output, which Ray keeps among its logs."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    print(f"{now} {trial.kind}/{trial.fingerprint} {what}", flush=True)


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


def _room(held: Mapping[str, float]) -> int:
    """How many trials that hold so much can run at once, when every node is up that may be."""
    return max(1, min(int(capacity.most(kind.upper()) / one) for kind, one in held.items() if one))


class _Stranded(tune.Stopper):
    """Ends a run that no node has had room for in a while, where one has for what would be asked
    now."""

    def __init__(self, held: Mapping[str, float], now: Callable[[], Mapping[str, float]]) -> None:
        self._held, self._now = held, now
        self._looked = self._fitted = time.monotonic()
        self.ended = False

    def __getstate__(self) -> dict[str, Any]:
        """Nothing, as of _Callbacks."""
        return {}

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """No single trial is ended. Ray's own signature, as the next one's."""
        return False

    def stop_all(self) -> bool:
        """Looks at the cluster every few seconds."""
        now = time.monotonic()
        if now - self._looked > capacity.PAUSE:
            self._looked = now
            if _room_for(self._held):
                self._fitted = now
            elif now - self._fitted > REPLACED and _room_for(self._now()):
                self.ended = True
        return self.ended


def _room_for(held: Mapping[str, float]) -> bool:
    return capacity.fits({kind.upper(): much for kind, much in held.items()})


class _Callbacks(tune.Callback):
    """Tells the group's owner of trials that ended. Ray's own signatures."""

    def __init__(self, trial_of: Callable[[Mapping[str, Any]], Trial], group: Group) -> None:
        self._trial_of, self._group = trial_of, group
        self.lost: list[Trial] = []
        self.heard = set[str]()
        """Fingerprints of all that has come to an end, those that are lost among it."""

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune saves its callbacks, and no sweep is ever restored from Tune's state."""
        return {}

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        ended = self._trial_of(trial.config)
        self.heard.add(ended.fingerprint)
        self._group.ended(ended, trial.last_result or {})

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        text = Path(trial.error_file).read_text(encoding="utf-8")
        ended = self._trial_of(trial.config)
        self.heard.add(ended.fingerprint)
        if node_lost(text):
            self.lost.append(ended)
        else:
            self._group.failed(ended, reason(text))


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
        return (
            f"out of memory, {RETRIES + 1} times; give trials more cores (resources.cpu), or "
            "bodies smaller batches (tuning.batch_size)"
        )
    if ActorDiedError.BASE_ERROR_MSG in text:
        return f"its worker died, {RETRIES + 1} times; see the log"
    return text.strip().splitlines()[-1].removeprefix("qdllm.errors.")
