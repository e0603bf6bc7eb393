"""Finished trials, ranked by validation, and the one that a user should take."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from jobs.store import Record, unfit
from orchestrator.grid.settings import readable
from orchestrator.plan.graph import Trial
from qdllm.intervals import Interval, interval
from qdllm.spec import flat

OBJECTIVE = "val.accuracy"
ROUND_OFF = 1e-9
"""Two accuracies that differ by less are the same: one text in a billion."""
POWER = 0.8
"""How often a test shall see a difference for us to call that difference detectable."""


@dataclass(frozen=True)
class Result:
    """A trial and its record."""

    trial: Trial
    record: Record

    def over_seeds(self, metric: str) -> Interval:
        """Mean, spread and confidence interval of one of the record's metrics."""
        return interval(self.record.summary["metrics"][metric])

    def objectives(self, names: Iterable[str]) -> list[float]:
        """The values of a search's objectives, which are named as MLflow shows them."""
        return [
            self.over_seeds(name.removesuffix(".mean")).mean
            if name.endswith(".mean")
            else float(self.record.summary[name])
            for name in names
        ]

    def by_seed(self, metric: str) -> list[float]:
        """The values of one of the record's metrics, one for each seed."""
        return by_seed(self.record, metric, self.trial.spec.seeds)

    @property
    def parameters(self) -> int:
        """Trainable parameters of one student."""
        return int(self.record.summary["parameters"])

    @property
    def best_seed(self) -> int:
        """Position of the seed with the highest validation accuracy: the student that is served."""
        accuracy = self.by_seed(OBJECTIVE)
        return int(accuracy.index(max(accuracy)))


def by_seed(record: Record, metric: str, seeds: Sequence[int]) -> list[float]:
    """What a trial's record, or one of what was made of it, measured of each of its seeds.

    Raises DamagedError where it did not measure each one.
    """
    values: list[float] = record.summary["metrics"][metric]
    if len(values) != len(seeds):
        told = f"{len(values)} values of {metric} for {len(seeds)} seeds"
        raise unfit(record, f"has in its record {told}")
    return values


class Paired(NamedTuple):
    """What a paired t-test over seeds says of two trials."""

    difference: Interval
    """First minus second, seed by seed."""
    p: float
    """Two-sided: how often equals would differ by as much."""
    detectable: float
    """The true difference that as many seeds, spread as much, would show four times in five."""


def by_family(results: Sequence[Result]) -> dict[str, list[Result]]:
    """Each family's trials, best in validation first; the families by their best ones."""
    found: dict[str, list[Result]] = {}
    for one in ranked(results):
        found.setdefault(one.trial.spec.family, []).append(one)
    return found


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


def champion(
    results: Sequence[Result], over_seeds: Callable[[Result], Interval] | None = None
) -> Result:
    """The smallest circuit whose mean validation accuracy is within one standard error of the best.

    `over_seeds`: that accuracy, where it is another than the trial's own, such as one under noise.
    Test accuracy plays no part. With a single seed there is no standard error, so the champion is
    the best.
    """
    of = over_seeds or (lambda result: result.over_seeds(OBJECTIVE))
    order = sorted(ranked(results), key=lambda result: -of(result).mean)
    best = of(order[0])
    margin = best.standard_error if best.n > 1 else 0.0
    near = [result for result in order if of(result).mean >= best.mean - margin]
    # The first of the smallest, and `near` is in the order of the ranking.
    return min(near, key=lambda result: result.parameters)


def paired(first: Result, second: Result, metric: str = OBJECTIVE) -> Paired | None:
    """Paired t-test of first − second over the seeds that both trials have.

    None where nothing can be tested: with fewer than two such seeds, or where every seed differs
    by the same.
    """
    a, b = (
        dict(zip(each.trial.spec.seeds, each.by_seed(metric), strict=True))
        for each in (first, second)
    )
    return paired_test([(a[seed], b[seed]) for seed in a if seed in b])


def paired_test(pairs: Sequence[tuple[float, float]]) -> Paired | None:
    """Paired t-test of first − second. None with fewer than two pairs, or where all differ by the
    same.
    """
    # Imported here: it takes 0.7 s, which --help and a dry run need not wait for.
    from scipy.special import nctdtrinc, stdtrit
    from scipy.stats import ttest_rel

    differences = [one - other for one, other in pairs]
    if len(differences) < 2 or max(differences) - min(differences) < ROUND_OFF:
        return None
    found = interval(differences)
    # scipy has no power of a t-test: this is the noncentrality at which Student's t passes the 5 %
    # threshold as often as POWER asks.
    noncentrality = float(nctdtrinc(found.n - 1, 1 - POWER, stdtrit(found.n - 1, 0.975)))
    p = float(ttest_rel(*zip(*pairs, strict=True)).pvalue)
    return Paired(found, p, noncentrality * found.standard_error)


def axes(trials: Sequence[Trial]) -> dict[str, dict[str, Any]]:
    """Each trial's settings that differ between the trials, by fingerprint and dotted path.

    Of one that some trials' families do not have, the others' values count; those trials are
    without it, and told apart by their family.
    """
    settings = {trial.fingerprint: _settings(trial) for trial in trials}
    differing = varied(settings.values())
    return {
        name: {key: values[key] for key in differing if key in values}
        for name, values in settings.items()
    }


def varied(settings: Iterable[Mapping[str, Any]]) -> list[str]:
    """The dotted paths that have more than one value among settings, in their order."""
    return [key for key, values in _seen(settings).items() if len(values) > 1]


def _settings(trial: Trial) -> dict[str, Any]:
    """A trial's settings by dotted path, as a person reads them."""
    return readable(flat(trial.spec.model_dump(mode="json")))


def keys(settings: Iterable[Mapping[str, Any]]) -> list[str]:
    """The dotted paths that any of the trials has, in the order in which they come."""
    return list(dict.fromkeys(key for values in settings for key in values))


def apart(settings: Collection[Mapping[str, Any]]) -> list[str]:
    """The dotted paths that differ between trials of one family, and the family if it does.

    What else differs, the family says. `settings`: each trial's, as `axes` has them.
    """
    families: dict[Any, list[Mapping[str, Any]]] = {}
    for values in settings:
        families.setdefault(values.get("family"), []).append(values)
    within = {key for members in families.values() for key in varied(members)}
    return [key for key in keys(settings) if key in {"family", *within}]


def common(trials: Sequence[Trial]) -> dict[str, str]:
    """The settings that all trials share whose families have them, by dotted path."""
    seen = _seen(map(_settings, trials))
    return {
        key: str(value)
        for key, values in seen.items()
        if len(values) == 1
        for value in values.values()
    }


def _seen(settings: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The values that each setting has, each once under its text; in the order in which they come.

    One that is not everywhere is among them.
    """
    seen: dict[str, dict[str, Any]] = {}
    for each in settings:
        for key, value in each.items():
            seen.setdefault(key, {}).setdefault(repr(value), value)
    return seen
