"""Named sweeps: a grid file is plain data, a base spec and what varies around it.

docs/grids.md describes the language.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, PrivateAttr, field_validator

from jobs import kinds
from orchestrator.grid import overrides, yaml_lines
from orchestrator.grid.settings import readable, with_circuits
from orchestrator.grid.space import Search
from qdllm import families, outside
from qdllm.errors import ConfigError, nearest
from qdllm.messages import cut, shown
from qdllm.spec import Spec, flat
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
    """The grid on other texts, or with another teacher, than its own, where they are given.

    An axis of teachers gives way to the one.
    """
    if teacher is not None:
        axes = {
            name: axis
            for name, axis in grid.axes.items()
            if not overrides.sets_everywhere(axis, "teacher.model")
        }
        grid = grid.model_copy(update={"axes": axes})
    given = (
        ("task.name", name, "--task"),
        ("task.data", data, "--data"),
        ("teacher.model", teacher, "--teacher"),
    )
    return _changed(grid, [change for change in given if change[1] is not None])


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
