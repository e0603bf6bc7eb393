"""Named sweeps: a grid file is plain data, a base spec and what varies around it.

docs/grids.md describes the language.
"""

import itertools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, PrivateAttr, field_validator

from jobs import kinds
from orchestrator.grid import overrides, product, space, yaml_lines
from orchestrator.grid.product import Point
from orchestrator.grid.settings import has, nested, readable, single, with_circuits
from orchestrator.grid.space import Search
from qdllm import families, outside
from qdllm.errors import ConfigError, nearest
from qdllm.messages import cut, several, shown
from qdllm.spec import MANY, Spec, flat
from qdllm.specs import TaskSpec, TrialSpec
from qdllm.texts.locations import usable

DEFAULT = ("mindquantum",)
FOLDER = Path(__file__).parent / "files"


class Resources(Spec):
    """What one trial holds while it runs; parts of a core can be shared."""

    cpu: float = Field(1.0, gt=0, le=1024)
    gpu: float = Field(0.0, ge=0, le=1024)

    @field_validator("cpu")
    @classmethod
    def _as_ray_counts(cls, cpu: float) -> float:
        if cpu < 0.0001:
            raise ValueError("Ray counts cores in 10,000ths")
        return cpu

    @field_validator("gpu")
    @classmethod
    def _in_use(cls, gpu: float) -> float:
        if gpu:
            raise ValueError(
                "trials run on CPU cores and would keep a GPU idle, so leave it out; teachers, "
                "encoders and bodies take the GPUs that there are by themselves"
            )
        return gpu


class Champion(Spec):
    """Which trials a user may be advised to take."""

    families: tuple[str, ...] | None = Field(None, min_length=1)
    """None: the quantum students; all trials, where a grid has none of those."""
    under: str | None = None
    """A chip's noise, as `evaluations` name one, under which their validation accuracies count."""

    @field_validator("under")
    @classmethod
    def _can_be_measured(cls, name: str | None) -> str | None:
        if name is not None:
            _, spec = kinds.evaluation(name)
            if "split" not in type(spec).model_fields:
                raise ValueError(
                    f"{shown(name)} was given, which measures no validation texts; name a chip's "
                    "noise, such as baihua-noise"
                )
        return name

    @field_validator("families")
    @classmethod
    def _known(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for name in names or ():
            families.family(name)
        return names

    def among(self, asked: Iterable[str]) -> frozenset[str]:
        """The families from which the champion comes, of a sweep that has trials of those."""
        present = frozenset(asked)
        if self.families is not None:
            return frozenset(self.families)
        return frozenset({families.DEFAULT}) & present or present


class Grid(Spec):
    """A sweep's definition. Its keys are settings: the fields of trials' specs by dotted path."""

    name: str = Field(max_length=100)
    description: str = ""
    base: dict[str, Any] = Field(default_factory=dict)
    """What all trials share, by dotted key."""
    axes: dict[str, Any] = Field(default_factory=dict)
    """Full product. An axis is a list of values, or labels with settings that move together."""
    one_at_a_time: dict[str, Any] = Field(default_factory=dict)
    """Axes of which each moves alone, away from the base, which is a trial too."""
    search: Search | None = None
    seeds: Any = None
    """The base's `seeds`, or a number n of them for 0 … n − 1."""
    scheduler: Literal["none", "asha", "median"] = "none"
    teacher_floor: float | None = Field(None, ge=0, le=1)
    """Validation accuracy that a teacher must reach; None: the majority class plus 10 points."""
    teacher_workers: int | None = Field(None, ge=1, le=1024)
    """Processes that a teacher is trained on; None: one per GPU, or one where there is none."""
    resources: Resources = Resources()
    champion: Champion = Champion()
    evaluations: tuple[str, ...] = DEFAULT
    """What the champion is measured with beside the engine."""

    _origins: dict[str, str] = PrivateAttr(default_factory=dict)

    @field_validator("name")
    @classmethod
    def _names_results(cls, name: str) -> str:
        if not usable(name):
            raise ValueError(
                f"{shown(name)} was given; it names what a sweep writes, so it may hold letters, "
                "digits, spaces, dots, hyphens and underscores, and no others"
            )
        return name

    @field_validator("evaluations")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            kinds.evaluation(name)
        if len(set(names)) < len(names):
            raise ValueError(f"each may stand once, but {shown(list(names))} repeats one")
        return names

    @field_validator("base")
    @classmethod
    def _by_dotted_key(cls, base: dict[str, Any]) -> dict[str, Any]:
        return flat(base)

    @property
    def asked_evaluations(self) -> tuple[str, ...] | None:
        """What is measured beside the engine, where it is else than if nothing were said."""
        under = () if self.champion.under is None else (f"under {self.champion.under}",)
        asked = (*self.evaluations, *under)
        return None if asked == DEFAULT else asked

    def origin(self, path: str) -> str:
        """`file:line: ` or `--set …: ` for a dotted path of the grid, as far as that is known."""
        return yaml_lines.origin(self._origins, path)


def load(name: str) -> Grid:
    """A built-in grid by name, or one from a .yaml file.

    Raises ConfigError, with the line, for what is not in a grid's form. Whether its settings can be
    used is told by `specs`, because `override` may change them before.
    """
    known = {file.stem: file for file in sorted(FOLDER.glob("*.yaml"))}
    path = known.get(name)
    if name.endswith((".yaml", ".yml")) and outside.path(name).exists():
        path = Path(name)
    if path is None:
        hint = nearest(name, list(known)) or "."
        raise ConfigError(
            f"unknown grid {shown(name)}{hint} No such file is there, and of grids there are: "
            f"{', '.join(known)}; name one of them, or give a .yaml file"
        )
    content, origins = yaml_lines.read(path)
    if not isinstance(content, dict):
        raise ConfigError(f"{path} must hold a mapping with keys such as base and axes")
    return _parsed({"name": path.stem} | content, origins)


def override(grid: Grid, settings: Sequence[str]) -> Grid:
    """The grid with `key=value` settings applied; a value is YAML.

    A key is a setting, or one of the grid's own, such as `search.trials`. On an axis, values
    replace those that are there: one, or a list of them; an axis with labels takes labels. A single
    value for a setting that is searched takes it out of the search.
    """
    changes = []
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise ConfigError(
                f"--set {shown(setting)} has no '='; write key=value, such as fit.epochs=20"
            )
        origin = f"--set {cut(setting)}"
        try:
            changes.append((key, yaml_lines.value(text), origin))
        except ConfigError as error:
            raise ConfigError(f"{origin}: {error}") from None
    return _changed(grid, changes)


def on(grid: Grid, name: str | None, data: str | None, teacher: str | None) -> Grid:
    """The grid on other texts, or with another teacher, than its own, where they are given."""
    given = (
        ("task.name", name, "--task"),
        ("task.data", data, "--data"),
        ("teacher.model", teacher, "--teacher"),
    )
    return _changed(grid, [change for change in given if change[1] is not None])


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
    for combination in product.combinations(fixed, axes, factors):
        if len(problems) > MANY:
            break
        origin = partial(_origin, grid, combination)
        try:
            settings = product.settings(combination, absolute, origin)
            _refuse(_lists(settings, origin))
            family = _family(settings, origin)
            of_family: type[TrialSpec] = family.spec
            own = {key: value for key, value in settings.items() if has(of_family, key)}
            names[family.name] = None
            taken |= own.keys()
            spec = of_family.parse(nested(own, origin), origin)
        except ConfigError as error:
            problems += str(error).splitlines()
            continue
        if combination[-1].axis.startswith("search."):
            problems += [
                f"{origin(key)}{key!r} is no setting of family {family.name}"
                for key in combination[-1].settings.keys() - own.keys()
            ]
            continue
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


def by_task(specs: Sequence[TrialSpec]) -> dict[TaskSpec, list[TrialSpec]]:
    """The specs of each task, both in the order in which they come."""
    tasks: dict[TaskSpec, list[TrialSpec]] = {}
    for spec in specs:
        tasks.setdefault(spec.task, []).append(spec)
    return tasks


def difference(old: Grid, new: Grid) -> list[str]:
    """What makes the new grid another one, a line for each key that differs."""
    before, after = (
        readable({key: value for key, value in flat(_told(grid)).items() if value != {}})
        for grid in (old, new)
    )
    return [
        f"{key}: {cut(str(before.get(key, 'not set')))} → {cut(str(after.get(key, 'not set')))}"
        for key in dict.fromkeys((*before, *after))
        if (key in before) != (key in after) or before[key] != after[key]
    ]


def _told(grid: Grid) -> dict[str, Any]:
    """What makes a grid what it is."""
    return grid.model_dump(mode="json", exclude={"name", "description"}, exclude_none=True)


def _parsed(content: Mapping[str, Any], origins: dict[str, str]) -> Grid:
    """A grid that remembers where its keys were written."""
    grid = Grid.parse(with_circuits(content), partial(yaml_lines.origin, origins))
    grid._origins = origins
    return grid


def _changed(grid: Grid, changes: Sequence[tuple[str, Any, str]]) -> Grid:
    """The grid with other values, each given as its key, itself, and where it was written."""
    content = grid.model_dump(mode="json", exclude_unset=True)
    origins = grid._origins
    for key, value, origin in changes:
        try:
            path = overrides.put(content, key, value, own=Grid.model_fields)
        except ConfigError as error:
            raise ConfigError(f"{origin}: {error}") from None
        kept = {at: one for at, one in origins.items() if not f"{at}.".startswith(f"{path}.")}
        origins = {path.partition(".")[0]: origin} | kept | {path: origin}
    return _parsed(content, origins)


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
