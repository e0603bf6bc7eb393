"""Ray Tune: trials, each one process with all its seeds, by list or as a search asks."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import ray
from ray import tune
from ray.air._internal import usage
from ray.tune.execution import class_cache
from ray.tune.search import Searcher

from jobs import kinds
from jobs.kinds.job import Sources
from jobs.store.patient import PatientStore
from orchestrator.grid.space import Search
from orchestrator.plan import Result, Trial
from orchestrator.tune import room
from orchestrator.tune.group import Group
from orchestrator.tune.proposals import Proposals, trial_at
from orchestrator.tune.schedulers import scheduler_of
from orchestrator.tune.searcher import TuneSearcher
from orchestrator.tune.watch import RETRIES, Watch
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

LOSSES = 10
"""How often a trial is given to another node, after those that Tune tried were lost."""


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
    watch = Watch(trial_of, group)
    held, scheduler = room.held(group.definition, family), scheduler_of(group.definition)
    stranded = room.Stranded(held, lambda: room.held(group.definition, family))
    trainable = tune.with_parameters(
        _train,
        trial_of=trial_of,
        # Each by itself, so that a node holds no more than its trials read.
        arrays={sources: ray.put(dict(read)) for sources, read in group.arrays.items()},
        store=group.store.uri,
        watched=scheduler is not None,
    )
    # Its own state: the store is the truth.
    with tempfile.TemporaryDirectory(prefix="qdllm-tune-") as scratch:
        tune.Tuner(
            tune.with_resources(trainable, held),
            param_space=space,
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                scheduler=scheduler,
                num_samples=samples,
                # Without a number, Tune asks a sampler for one trial at a time.
                max_concurrent_trials=room.at_once(held) if searcher else None,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                storage_path=scratch,
                stop=stranded if asked and family.long else None,
                failure_config=tune.FailureConfig(max_failures=RETRIES),
                callbacks=[watch],
                verbose=0,
            ),
        ).fit()
    lost, left = watch.lost, []
    if stranded.ended:
        lost += [trial for trial in asked if trial.fingerprint not in watch.heard]
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
