"""Where a `key=value` belongs in a grid's plain content."""

from collections.abc import Container
from typing import Any

from qdllm.errors import ConfigError, nearest
from qdllm.messages import shown, some
from qdllm.spec import flat


def put(content: dict[str, Any], key: str, value: Any, own: Container[str]) -> str:
    """Put a value into the content, in place; return the dotted path at which it stands.

    `own`: the grid's own keys. All others are settings, and go to the axis or search that moves
    them, or to the base. Raises ConfigError for a value that would have no effect.
    """
    if value == {}:
        raise ConfigError("{} holds nothing, so this would change nothing; give it a value")
    for where in ("axes", "one_at_a_time"):
        name = key.removeprefix(f"{where}.")
        if name != key or key in _group(content, where):
            axes = _group(content, where)
            content[where] = axes | {name: _values(axes.get(name, []), value)}
            return f"{where}.{name}"
    searched = _group(_group(content, "search"), "space")
    if key in searched:
        if isinstance(value, list | dict):
            searched[key] = value
            return f"search.space.{key}"
        del searched[key]
    if key.partition(".")[0] in own and not key.startswith("base."):
        if key == "seeds":
            _group(content, "base").pop("seeds", None)
        # What a search tries, and what it goes by, have dots in their names.
        *groups, last = key.split(".", 2 if key.startswith("search.") else -1)
        inner = content
        for group in groups:
            inner[group] = _group(inner, group)
            inner = inner[group]
        inner[last] = value
        return key
    setting = key.removeprefix("base.")
    for name, axis in _group(content, "axes").items():
        if sets_everywhere(axis, setting):
            raise ConfigError(
                f"every point of axis {name!r} sets {setting!r}, so this would change nothing; "
                f"choose points with --set {name}=LABEL. There are: {some(axis)}"
            )
    content["base"] = _group(content, "base") | flat({setting: value})
    return f"base.{setting}"


def _group(content: dict[str, Any], name: str) -> dict[str, Any]:
    """The settings under a name; none where it is not there. Raises ConfigError for a value."""
    found = content.get(name)
    if not isinstance(found, dict | None):
        raise ConfigError(f"{name!r} is a group of settings, but {shown(found)} was given for it")
    return found or {}


def sets_everywhere(axis: Any, setting: str) -> bool:
    """Whether every point of an axis with labels has a setting."""
    return (
        isinstance(axis, dict) and axis != {} and all(_sets(one, setting) for one in axis.values())
    )


def _sets(point: Any, setting: str) -> bool:
    """Whether a point with a label has a setting; what is no point is refused elsewhere."""
    return isinstance(point, dict) and setting in flat(point)


def _values(axis: Any, value: Any) -> Any:
    """An axis with other values: one, a list of them, or labels of those that it has."""
    values = value if isinstance(value, list | dict) else [value]
    if not isinstance(axis, dict) or isinstance(values, dict):
        return values
    for label in map(str, values):
        if label not in axis:
            hint = nearest(label, list(axis)) or "."
            raise ConfigError(f"unknown label {shown(label)}{hint} There are: {some(axis)}")
    return {str(label): axis[str(label)] for label in values}
