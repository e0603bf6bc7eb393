"""Named sweeps: a grid file is plain data, a base spec and the axes that vary around it."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field

from qdllm.errors import ConfigError, nearest
from qdllm.specs import Spec, StudentSpec

FOLDER = Path(__file__).parent / "grids"


class Grid(Spec):
    """A sweep's definition. `base` and `axes` speak of StudentSpec's fields by dotted path."""

    name: str = Field(pattern=r"^[\w .-]+$")
    description: str = ""
    base: dict[str, Any] = Field(default_factory=dict)
    axes: dict[str, tuple[Any, ...]] = Field(default_factory=dict)
    teacher_floor: float | None = Field(None, ge=0, le=1)
    """Validation accuracy that a teacher must reach; None: the majority class plus 10 points."""
    teacher_workers: int | None = Field(None, ge=1)
    """Processes that a teacher is trained on; None: one per GPU, or one where there is none."""


def load(name: str) -> Grid:
    """A built-in grid by name, or one from a .yaml file. Raises ConfigError if it is unusable."""
    path = Path(name) if name.endswith((".yaml", ".yml")) else FOLDER / f"{name}.yaml"
    if not path.is_file():
        known = sorted(file.stem for file in FOLDER.glob("*.yaml"))
        hint = nearest(name, known) or "."
        raise ConfigError(
            f"unknown grid {name!r}{hint} There are: {', '.join(known)}; or give a .yaml file"
        )
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not a YAML file: {error}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path} must hold a mapping with the keys base and axes")
    try:
        grid = Grid.parse({"name": path.stem} | content)
        specs(grid)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    return grid


def override(grid: Grid, settings: Sequence[str]) -> Grid:
    """The grid with `key=value` settings applied; a value is YAML.

    A setting on an axis replaces its values: one, or a list of them.
    """
    base, axes = grid.base, dict(grid.axes)
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise ConfigError(
                f"--set {setting!r} has no '='; write key=value, such as fit.epochs=20"
            )
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            raise ConfigError(f"--set {setting!r}: the value is not YAML") from None
        if key in axes:
            axes[key] = tuple(value) if isinstance(value, list) else (value,)
        else:
            base = _put(base, key, value)
    return grid.model_copy(update={"base": base, "axes": axes})


def on(grid: Grid, name: str | None, data: str | None, teacher: str | None) -> Grid:
    """The grid on other texts, or with another teacher, than its base's, where they are given."""
    base = grid.base
    if teacher is not None:
        base = _put(base, "teacher.model", teacher)
    if name is not None:
        base = _put(base, "task.name", name)
    if data is not None:
        base = _put(base, "task.data", data)
    return grid.model_copy(update={"base": base})


def specs(grid: Grid) -> list[StudentSpec]:
    """The full product of the axes, in their order. Raises ConfigError for an unknown key."""
    if any(key.partition(".")[0] == "task" for key in grid.axes):
        raise ConfigError("a grid has one task; run it once for each, with --task and --data")
    trials = []
    for values in itertools.product(*grid.axes.values()):
        settings = grid.base
        for key, value in zip(grid.axes, values, strict=True):
            settings = _put(settings, key, value)
        trials.append(_absolute(StudentSpec.parse(settings)))
    if not trials:
        raise ConfigError(f"an axis of grid {grid.name!r} is empty; give it at least one value")
    if len(set(trials)) < len(trials):
        raise ConfigError(f"an axis of grid {grid.name!r} names a value twice; each may stand once")
    return trials


def _absolute(spec: StudentSpec) -> StudentSpec:
    """The spec with absolute paths: workers read them too, from folders of their own."""
    task, teacher, encoder = spec.task, spec.teacher, spec.encoder
    if task.data is None:
        task = task.model_copy(update={"name": _absolute_path(task.name)})
    elif task.data != "published":
        data = str(Path(task.data).expanduser().absolute())
        task = task.model_copy(update={"data": data})
    teacher = teacher.model_copy(update={"model": _absolute_path(teacher.model)})
    encoder = encoder.model_copy(update={"model": _absolute_path(encoder.model)})
    return spec.model_copy(update={"task": task, "teacher": teacher, "encoder": encoder})


def _absolute_path(name: str) -> str:
    """The absolute path where a name is one that exists; a bare word stays a name."""
    path = Path(name).expanduser()
    looks_like_one = len(path.parts) > 1 or path.suffix
    return str(path.absolute()) if looks_like_one and path.exists() else name


def _put(settings: Mapping[str, Any], key: str, value: Any) -> dict[str, Any]:
    """A copy of nested settings with the value at a dotted path."""
    first, _, rest = key.partition(".")
    if not rest:
        return {**settings, first: value}
    inner = settings.get(first, {})
    if not isinstance(inner, Mapping):
        raise ConfigError(f"{key!r}: {first!r} is not a group of settings, but {inner!r}")
    return {**settings, first: _put(inner, rest, value)}
