"""What ends unpromising trials early, as a grid asks for it."""

from typing import Any

from ray.tune.schedulers import AsyncHyperBandScheduler, MedianStoppingRule, TrialScheduler

from orchestrator.grid import Grid


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
        return _Median(grace_period=2, min_samples_required=5, **shared)
    return None


class _Median(MedianStoppingRule):
    """One that is not put out by what ended without telling an epoch, such as a trial that failed.

    Ray's own signature.
    """

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        if self._time_attr in result and self._metric in result:
            super().on_trial_complete(tune_controller, trial, result)
