"""The trials that a grid comes to: its points combined, each a spec of its family."""

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any

from jobs import kinds
from jobs.kinds import Source
from jobs.kinds.teachers import SOFT_LABELS
from orchestrator.grid import product, space
from orchestrator.grid.definition import Grid
from orchestrator.grid.measures import asks_a_teacher
from orchestrator.grid.product import Point
from orchestrator.grid.settings import has, nested, single
from qdllm import families
from qdllm.errors import ConfigError
from qdllm.messages import cut, several, shown
from qdllm.spec import MANY
from qdllm.specs import TaskSpec, TrialSpec


def specs(grid: Grid) -> list[TrialSpec]:
    """All trials of a grid; or the bases of its search, one for each point of its axes.

    In the order of the axes, the last one fastest. A setting that a trial's family does not have is
    none of its; trials that come out alike are one. Raises ConfigError with a line for each thing
    that cannot be used, naming where it was written, an axis or --set that no trial takes among it.
    """
    problems: list[str] = []
    found: dict[TrialSpec, tuple[Point, ...]] = {}
    absolute = cache(product.absolute)
    fixed, axes, factors = _points(grid)
    names, taken = dict[str, None](), set[str]()
    of_base: Mapping[str, Source] | None = None
    for combination in product.combinations(fixed, axes, factors):
        if len(problems) > MANY:
            break
        origin = partial(_origin, grid, combination)
        searched = combination[-1].axis.startswith("search.")
        if not searched:
            of_base = None
        try:
            settings = product.settings(combination, absolute, origin)
            _refuse(_lists(settings, origin))
            family = _family(settings, origin)
            of_family: type[TrialSpec] = family.spec
            own = {key: value for key, value in settings.items() if has(of_family, key)}
            names[family.name] = None
            taken |= own.keys()
            spec = of_family.parse(nested(own, origin), origin)
            sources = kinds.kind(family.kind).needs(spec) if grid.search else {}
        except ConfigError as error:
            problems += str(error).splitlines()
            continue
        if searched:
            for key in combination[-1].settings:
                if key not in own:
                    problems.append(f"{origin(key)}{key!r} is no setting of family {family.name}")
                elif of_base is not None and sources != of_base:
                    problems.append(
                        f"{origin(key)}{key!r} changes what trials are made from, and a search "
                        "varies how they are trained; move it to axes, which give one search for "
                        "each value"
                    )
            continue
        of_base = sources
        for name in filter(asks_a_teacher, grid.search.objectives if grid.search else ()):
            if SOFT_LABELS.role not in sources:
                problems.append(
                    f"{grid.origin(f'search.objectives.{name}')}{name!r} is what a teacher's own "
                    f"students have, and nobody teaches {_named(spec)}; use another objective"
                )
        moved = tuple(point for point in combination if not own.keys().isdisjoint(point.settings))
        for point in product.twice(moved, found.setdefault(spec, moved)):
            message = f"{point.axis} names a value twice; each may stand once"
            problems.append(f"{grid.origin(point.path)}{message}")
    for point in itertools.chain(fixed, *axes, *factors):
        # Settings that move together may be each another family's.
        if point not in fixed and not taken.isdisjoint(point.settings):
            continue
        for key in point.settings:
            written = grid.origin(point.where(key))
            if key not in taken and names and (point not in fixed or written.startswith("--set")):
                problems.append(f"{written}{key!r} is no setting of family {', '.join(names)}")
    advised = grid.champion.families
    if names and advised and names.keys().isdisjoint(advised):
        problems.append(
            f"{grid.origin('champion.families')}no trial is of family {' or '.join(advised)}; the "
            f"trials are of: {', '.join(names)}"
        )
    _refuse(problems)
    return list(found)


def _named(spec: TrialSpec) -> str:
    family = families.of(spec)
    return f"family {family.name}" + " without a teacher" * (SOFT_LABELS.role in family.reads)


def by_task(specs: Sequence[TrialSpec]) -> dict[TaskSpec, list[TrialSpec]]:
    """The specs of each task, both in the order in which they come."""
    tasks: dict[TaskSpec, list[TrialSpec]] = {}
    for spec in specs:
        tasks.setdefault(spec.task, []).append(spec)
    return tasks


def _lists(settings: Mapping[str, Any], origin: Callable[[str], str]) -> list[str]:
    """What is wrong with settings that are lists where one value is asked for."""
    return [
        f"{origin(key)}{key} is one value, but {shown(value)} was given; to compare several, make "
        f"them an axis: --set axes.{key}='{cut(json.dumps(value))}'"
        for key, value in settings.items()
        if isinstance(value, list) and single(key)
    ]


def _family(settings: Mapping[str, Any], origin: Callable[[str], str]) -> families.Family[Any]:
    name = settings.get("family", families.DEFAULT)
    try:
        return families.family(name)
    except ConfigError as error:
        raise ConfigError(f"{origin('family')}{error}") from None


def _points(grid: Grid) -> tuple[list[Point], list[list[Point]], list[list[Point]]]:
    """What is fixed, the axes, and what moves alone. Raises ConfigError for what fits nowhere.

    With a search it is the ends of its ranges that move alone, so that each of them is tried.
    """
    misfits: list[tuple[str, str]] = []

    def read(
        form: Callable[[str, Any], list[Point]], where: str, written: Mapping[str, Any]
    ) -> list[list[Point]]:
        found = []
        for name, plain in written.items():
            try:
                found.append(form(f"{where}.{name}", plain))
            except ConfigError as error:
                misfits.append((f"{where}.{name}", str(error)))
        return found

    fixed = [Point("base", "base", grid.base)]
    if grid.seeds is not None:
        fixed.append(Point("seeds", "", {"seeds": grid.seeds}))
        if "seeds" in grid.base:
            misfits.append(("seeds", "'seeds' stands in base too; keep one of them"))
    axes = read(product.points, "axes", grid.axes)
    factors = read(product.points, "one_at_a_time", grid.one_at_a_time)
    if grid.search:
        if factors:
            misfits.append(("one_at_a_time", "a grid with a search has no factors; use axes"))
        factors = read(space.ends, "search.space", grid.search.space)
        misfits += space.misfits(grid.search, grid.scheduler)
    misfits += itertools.islice(product.misfits(fixed, axes, factors), MANY)
    _refuse([grid.origin(path) + message for path, message in misfits])
    return fixed, axes, factors


def _origin(grid: Grid, combination: Sequence[Point], key: str) -> str:
    """Where a combination has a key from; what it has from nowhere, the base could have set.

    Of a group that does not fit together, what was said of it on the command line.
    """
    for point in reversed(combination):
        for name in point.settings:
            if f"{key}.".startswith(f"{name}."):
                return grid.origin(point.where(name))
    inner = (
        grid.origin(point.where(name))
        for point in reversed(combination)
        for name in point.settings
        if name.startswith(f"{key}.")
    )
    return next((one for one in inner if one.startswith("--")), grid.origin(f"base.{key}"))


def _refuse(problems: Sequence[str]) -> None:
    if problems:
        raise ConfigError(several(problems))
