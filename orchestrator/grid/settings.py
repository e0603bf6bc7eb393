"""Settings by dotted key: `fit.lr` is the field `lr` of StudentSpec's group `fit`."""

from collections.abc import Mapping
from typing import Any

from qdllm.errors import ConfigError, nearest
from qdllm.specs import Spec, StudentSpec


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted key. Raises ConfigError if a key is reached in two ways."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        below = (
            flat(value, f"{prefix}{key}.")
            if isinstance(value, Mapping)
            else {f"{prefix}{key}": value}
        )
        if twice := found.keys() & below.keys():
            raise ConfigError(f"{min(twice)!r} is set twice; keep one of them")
        found |= below
    return found


def nested(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by dotted key as StudentSpec takes them. A number n of seeds means 0 … n − 1."""
    result: dict[str, Any] = {}
    for key, value in settings.items():
        *groups, name = key.split(".")
        inner = result
        for group in groups:
            inner = inner.setdefault(group, {})
        inner[name] = list(range(value)) if key == "seeds" and type(value) is int else value
    return result


def kind(key: str) -> Any:
    """The type of the setting that a dotted key names. Raises ConfigError if it names none."""
    path = key.split(".")
    found: Any = StudentSpec
    for depth, name in enumerate(path):
        above = ".".join(path[:depth])
        if not _is_group(found):
            raise ConfigError(f"unknown key {key!r}: {above!r} is one setting, not a group of them")
        known = sorted(found.model_fields)
        if name not in known:
            where = f"{above}.{name}" if above else name
            hint = nearest(name, known) or "."
            raise ConfigError(f"unknown key {where!r}{hint} There are: {', '.join(known)}")
        found = found.model_fields[name].annotation
    if _is_group(found):
        one = next(iter(found.model_fields))
        raise ConfigError(
            f"{key!r} is a group of settings; name one of them, such as {key}.{one}. "
            f"There are: {', '.join(sorted(found.model_fields))}"
        )
    return found


def _is_group(found: Any) -> bool:
    return isinstance(found, type) and issubclass(found, Spec)
