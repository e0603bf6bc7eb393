"""What a search may try: plain data, which orchestrator.tune hands to a sampler.

    search:
      space:
        circuit.ansatz: [published, textbook]              one of these
        circuit.layers: {low: 1, high: 11}                 a whole number, since `layers` is one
        fit.batch_size: {low: 8, high: 64, step: 8}        8, 16 … 64
        loss.alpha: {low: 0, high: 1}                      any number between, ends included
        fit.lr: {low: 0.001, high: 0.1, log: true}         as likely to lie in each decade
      objectives: {val.accuracy.mean: maximize, parameters: minimize}
      sampler: tpe
      trials: 100

A list always means choices and a mapping always a range. Whether a range counts in whole numbers
is decided by the setting's own type, so that no notation can get it wrong.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from pydantic import Field

from orchestrator.grid.measures import COSTS, OBJECTIVES, looks_at_test
from orchestrator.grid.product import MOST_TRIALS, Point
from orchestrator.grid.settings import SHARED, kind, nested, searchable
from qdllm import families
from qdllm.circuits import openqasm
from qdllm.errors import ConfigError, nearest
from qdllm.messages import shown
from qdllm.spec import Spec, flat
from qdllm.specs import TrialSpec

MOST_CHOICES = 1000
"""Of one dimension."""
MOST_STEPS = 10**6
"""Of one range."""


@dataclass(frozen=True)
class Choices:
    """One of a few values."""

    values: tuple[Any, ...]

    def __contains__(self, value: Any) -> bool:
        return self.named(value) in self.values

    def named(self, value: Any) -> Any:
        """As the choices have it: a circuit that lay in another file is the same one."""
        if not (isinstance(value, str) and openqasm.is_text(value)):
            return value
        alike = (
            one
            for one in self.values
            if isinstance(one, str)
            and openqasm.is_text(one)
            and openqasm.digest(one) == openqasm.digest(value)
        )
        return next(alike, value)


class _Range(Spec):
    """What both kinds of range have, and how it must fit together."""

    low: float = Field(ge=-1e12, le=1e12)
    high: float = Field(ge=-1e12, le=1e12)
    step: float | None = Field(None, gt=0, le=1e12)
    log: bool = False

    def __contains__(self, value: Any) -> bool:
        if not self.low <= value <= self.high:
            return False
        steps = (value - self.low) / self.step if self.step else 0
        return abs(steps - round(steps)) < 1e-6

    def check(self) -> None:
        """Raise ConfigError if the numbers do not fit together."""
        if self.low >= self.high:
            raise ConfigError(f"low must be below high, but {self.low} and {self.high} were given")
        if self.log and self.low <= 0:
            raise ConfigError(f"log needs a low above 0, but {self.low} was given")
        if self.log and self.step:
            raise ConfigError("log and step cannot both be given; leave one out")
        if self.step and (self.high - self.low) / self.step > MOST_STEPS:
            raise ConfigError(
                f"steps of {self.step} from {self.low} to {self.high} are more than "
                f"{MOST_STEPS:,}; leave step out"
            )
        if self.high not in self:
            raise ConfigError(
                f"steps of {self.step} from {self.low} do not end at {self.high}; "
                "change high, low or step"
            )


class Reals(_Range):
    """Any number from `low` to `high`, or every `step`-th; with `log`, evenly over the decades."""


class Integers(_Range):
    """The same in whole numbers."""

    low: int = Field(ge=-(2**53), le=2**53)
    high: int = Field(ge=-(2**53), le=2**53)
    step: int | None = Field(None, gt=0, le=2**53)


Dimension = Choices | Reals | Integers


class Search(Spec):
    """What to try, how to choose it, and by what to judge it."""

    space: dict[str, Any] = Field(min_length=1)
    sampler: Literal["tpe", "gp", "cma-es", "nsga-ii"] = "tpe"
    objectives: dict[str, Literal["maximize", "minimize"]] = Field(
        default={"val.accuracy.mean": "maximize"}, min_length=1, max_length=len(OBJECTIVES)
    )
    trials: int = Field(100, ge=1, le=MOST_TRIALS)
    seed: int = Field(0, ge=0, lt=2**32)

    @cached_property
    def dimensions(self) -> dict[str, Dimension]:
        """The space by dotted key. Raises ConfigError for a dimension that cannot be used."""
        return {key: dimension(key, plain) for key, plain in self.space.items()}


def dimension(key: str, plain: Any) -> Dimension:
    """A dimension of a space as it is written: a list of choices, or a range as a mapping.

    Raises ConfigError for a key that names no setting of a trial's, and for a range that does not
    fit its type.
    """
    wanted = kind(key)
    if key.partition(".")[0] in SHARED:
        raise ConfigError(
            f"{key!r} is not a student's own, and a search varies only {', '.join(searchable())}; "
            "move it to axes, which give one search for each value"
        )
    if isinstance(plain, list):
        if not plain:
            raise ConfigError(f"{key}: the list of choices is empty; give at least one")
        if len(plain) > MOST_CHOICES:
            raise ConfigError(
                f"{key}: at most {MOST_CHOICES:,} choices, but {len(plain):,} were given; give a "
                "range instead"
            )
        if any(value in plain[:index] for index, value in enumerate(plain)):
            raise ConfigError(f"{key}: {shown(plain)} names a choice twice; each may stand once")
        return Choices(tuple(plain))
    if not isinstance(plain, Mapping):
        raise ConfigError(
            f"{key}: give choices as a list, or a range such as {{low: 1, high: 8}}, "
            f"but {shown(plain)} was given"
        )
    if wanted not in (int, float):
        raise ConfigError(f"{key} is not a number, so it has no range; give choices as a list")
    try:
        found = (Integers if wanted is int else Reals).parse(plain)
        found.check()
    except ConfigError as error:
        raise ConfigError(f"{key}: {error}") from None
    return found


def ends(path: str, plain: Any) -> list[Point]:
    """Points for all that a dimension can give: each choice, or both ends of its range.

    `path`: where the dimension stands, as `search.space.fit.lr`. Raises ConfigError as `dimension`.
    """
    key = path.removeprefix("search.space.")
    found = dimension(key, plain)
    values = (
        enumerate(found.values)
        if isinstance(found, Choices)
        else (("low", found.low), ("high", found.high))
    )
    return [Point(path, f"{path}.{name}", {key: value}) for name, value in values]


def misfits(search: Search, scheduler: str) -> Iterator[tuple[str, str]]:
    """What is wrong with a search beyond the form of it: the key in question, and a sentence."""
    for name in search.objectives:
        if looks_at_test(name):
            yield (
                f"search.objectives.{name}",
                f"{name!r} looks at the test split, which takes no part in choosing; use one of: "
                f"{', '.join(OBJECTIVES)}",
            )
        elif name not in OBJECTIVES:
            hint = nearest(name, list(OBJECTIVES)) or "."
            yield (
                f"search.objectives.{name}",
                f"unknown metric {shown(name)}{hint} There are: {', '.join(OBJECTIVES)}",
            )
    several = len(search.objectives) > 1
    numeric = not any(isinstance(plain, list) for plain in search.space.values())
    if search.sampler == "cma-es" and (several or not numeric or len(search.space) < 2):
        yield (
            "search.sampler",
            "cma-es needs one objective and a space of two or more ranges, without choices; "
            "use tpe, gp or nsga-ii",
        )
    if scheduler != "none" and (several or search.objectives.keys() & set(COSTS)):
        yield (
            "search.objectives",
            f"scheduler {scheduler!r} stops trials by one objective that every epoch brings, such "
            "as val.accuracy.mean; use that alone, or scheduler: none",
        )


def at(base: TrialSpec, point: Mapping[str, Any]) -> TrialSpec:
    """The spec that a point of a space means: the base with the point's values in their places.

    Raises ConfigError for a value that the spec refuses.
    """
    return families.parse(nested(flat(base.model_dump(mode="json")) | dict(point)))


def point(search: Search, spec: TrialSpec) -> dict[str, Any]:
    """The spec's coordinates in the space, whether or not they lie within its bounds."""
    settings = flat(spec.model_dump(mode="json"))
    return {
        key: where.named(settings[key]) if isinstance(where, Choices) else settings[key]
        for key, where in search.dimensions.items()
    }


def inside(search: Search, spec: TrialSpec) -> bool:
    """Whether a spec's coordinates lie within the space's bounds, steps and choices."""
    found = point(search, spec)
    return all(found[key] in values for key, values in search.dimensions.items())
