"""How sure we are of a mean over seeds, and of a share of texts."""

from collections.abc import Sequence
from statistics import fmean, stdev
from typing import NamedTuple


class Interval(NamedTuple):
    """A mean over seeds, its spread and its 95 % confidence half-width (Student's t)."""

    mean: float
    std: float
    ci95: float
    n: int

    @property
    def standard_error(self) -> float:
        """Standard error of the mean."""
        return self.std / self.n**0.5


def interval(values: Sequence[float]) -> Interval:
    """Summarise one value per seed. With a single seed, spread and half-width are NaN: unknown."""
    n = len(values)
    mean = fmean(values)
    if n == 1:
        return Interval(mean, float("nan"), float("nan"), 1)
    from scipy.special import stdtrit  # a third of what a command that plans would import

    std = stdev(values)
    return Interval(mean, std, float(stdtrit(n - 1, 0.975)) * std / n**0.5, n)


def within(groups: Sequence[Sequence[float]]) -> float:
    """95 % half-width of the mean of all values where each group's own mean is taken as given.

    NaN where no group has two values.
    """
    values, freedom = sum(map(len, groups)), sum(len(group) - 1 for group in groups)
    if not freedom:
        return float("nan")
    from scipy.special import stdtrit  # as above

    squares = sum((value - fmean(group)) ** 2 for group in groups for value in group)
    return float(stdtrit(freedom, 0.975)) * (squares / freedom / values) ** 0.5


def share(right: int, of: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's interval of a share that was counted: how far below and above it may truly lie."""
    from scipy.stats import binomtest  # a second to import, and seldom asked for

    low, high = binomtest(right, of).proportion_ci(confidence, method="wilson")
    return float(low), float(high)
