"""What a grid's axes come to: points, their combinations, and the settings of each."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from orchestrator.grid.settings import kind
from qdllm import outside
from qdllm.errors import ConfigError
from qdllm.messages import shown
from qdllm.spec import flat
from qdllm.texts import locations

MOST_TRIALS = 100_000
"""Of one grid: the most that ranking and report were tried with."""


class Point(NamedTuple):
    """One value of an axis: settings by dotted key that move together."""

    axis: str
    """Where the axis stands in its grid: `axes.fit.lr`."""
    path: str
    """Where the point stands there: `axes.fit.lr.2`."""
    settings: Mapping[str, Any]

    def where(self, key: str) -> str:
        """Where one of its settings stands."""
        return f"{self.path}.{key}".removeprefix(".")


def points(axis: str, values: Any) -> list[Point]:
    """The points of an axis that is a list of values, or labels with settings.

    Raises ConfigError for anything else, for an axis that moves nothing and for an unknown key.
    """
    key = axis.partition(".")[2]
    if isinstance(values, list | tuple):
        kind(key)
        found = [Point(axis, f"{axis}.{index}", {key: value}) for index, value in enumerate(values)]
    elif isinstance(values, Mapping) and all(isinstance(each, Mapping) for each in values.values()):
        found = [Point(axis, f"{axis}.{label}", flat(each)) for label, each in values.items()]
    else:
        raise ConfigError(
            f"{axis} must be a list of values, or labels with the settings that each one moves, "
            f"such as {{small: {{circuit.layers: 1}}}}, but {shown(values)} was given"
        )
    if not any(point.settings for point in found):
        raise ConfigError(f"{axis} is empty; give it at least one value")
    return found


def combinations(
    fixed: Sequence[Point], axes: Sequence[Sequence[Point]], factors: Sequence[Sequence[Point]]
) -> Iterator[tuple[Point, ...]]:
    """The full product of the axes; after each of its members, those with one factor moved.

    Raises ConfigError for more than any sweep could train.
    """
    count = prod(map(len, axes)) * (1 + sum(map(len, factors)))
    if count > MOST_TRIALS:
        raise ConfigError(
            f"the axes come to {shown(count)} trials, and a sweep has {MOST_TRIALS:,} at most; "
            "give them fewer values, or search over ranges instead"
        )
    for moved in itertools.product(*axes):
        around = (*fixed, *moved)
        yield around
        for point in itertools.chain(*factors):
            yield (*around, point)


def misfits(
    fixed: Sequence[Point], axes: Sequence[Sequence[Point]], factors: Sequence[Sequence[Point]]
) -> Iterator[tuple[str, str]]:
    """Keys that name no setting, or that two axes move: where they stand, and a sentence."""
    moved: dict[str, str] = {}
    for point in itertools.chain(fixed, *axes, *factors):
        for key in point.settings:
            try:
                kind(key)
            except ConfigError as error:
                yield point.where(key), str(error)
    for number, axis in enumerate((*axes, *factors)):
        for key in {key: None for point in axis for key in point.settings}:
            name = axis[0].axis
            if key in moved:
                yield name, f"{name} and {moved[key]} both move {key!r}; leave it to one of them"
            elif number < len(axes):
                moved[key] = name


def settings(
    combination: Iterable[Point], absolute: Callable[[str], str], origin: Callable[[str], str]
) -> dict[str, Any]:
    """All settings of a combination by dotted key; the last point that has one decides.

    Paths are made absolute with `absolute`: workers read them too, from folders of their own.
    Raises ConfigError, after `origin` of the key, for one that can be none.
    """
    found: dict[str, Any] = {}
    for point in combination:
        found |= point.settings
    paths = {"teacher.model": absolute, "encoder.model": absolute, "task.data": locations.absolute}
    if found.get("task.data") is None:
        paths["task.name"] = absolute
    for key, read in paths.items():
        if isinstance(found.get(key), str):
            try:
                found[key] = read(found[key])
            except ConfigError as error:
                raise ConfigError(origin(key) + str(error)) from None
    return found


def absolute(name: str) -> str:
    """The absolute path where a name is one that exists; a bare word stays a name."""
    if "/" not in name and not name.startswith("~") and not Path(name).suffix:
        return name
    if locations.is_address(name):
        return name  # refused, or asked for, by whoever would read it
    path = outside.path(name)
    return str(path) if path.exists() else name


def twice(combination: Iterable[Point], other: Iterable[Point]) -> Iterator[Point]:
    """The points of a combination where another has another point of the same axis."""
    others = {point.axis: point.path for point in other}
    for point in combination:
        if others.get(point.axis, point.path) != point.path:
            yield point
