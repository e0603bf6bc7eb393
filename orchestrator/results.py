"""Finished trials, ranked by validation, and the one that a user should take."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jobs.store import Record
from orchestrator.plan import Trial
from qdllm.intervals import Interval, interval

OBJECTIVE = "val.accuracy"


@dataclass(frozen=True)
class Result:
    """A trial and its record."""

    trial: Trial
    record: Record

    def over_seeds(self, metric: str) -> Interval:
        """Mean, spread and confidence interval of one of the record's metrics."""
        return interval(self.record.summary["metrics"][metric])

    @property
    def parameters(self) -> int:
        """Trainable parameters of one student."""
        return int(self.record.summary["parameters"])


def ranked(results: Sequence[Result]) -> list[Result]:
    """Best mean validation accuracy first; of equals, the smaller circuit; then by fingerprint."""
    return sorted(
        results,
        key=lambda result: (
            -result.over_seeds(OBJECTIVE).mean,
            result.parameters,
            result.trial.fingerprint,
        ),
    )


def champion(results: Sequence[Result]) -> Result:
    """The smallest circuit whose mean validation accuracy is within one standard error of the best.

    Test accuracy plays no part. With a single seed there is no standard error, so the champion is
    the best.
    """
    order = ranked(results)
    best = order[0].over_seeds(OBJECTIVE)
    margin = best.standard_error if best.n > 1 else 0.0
    near = [result for result in order if result.over_seeds(OBJECTIVE).mean >= best.mean - margin]
    return min(near, key=lambda result: (result.parameters, order.index(result)))


def axes(trials: Sequence[Trial]) -> dict[str, dict[str, Any]]:
    """Each trial's settings that differ between the trials, by fingerprint and dotted path."""
    settings = {trial.fingerprint: _flat(trial.spec.model_dump(mode="json")) for trial in trials}
    keys = next(iter(settings.values()), {})
    varied = [key for key in keys if len({repr(values[key]) for values in settings.values()}) > 1]
    return {name: {key: values[key] for key in varied} for name, values in settings.items()}


def common(trials: Sequence[Trial]) -> dict[str, str]:
    """The settings that all trials share, by dotted path."""
    every = [_flat(trial.spec.model_dump(mode="json")) for trial in trials]
    return {
        key: str(value)
        for key, value in every[0].items()
        if all(settings[key] == value for settings in every)
    }


def _flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
