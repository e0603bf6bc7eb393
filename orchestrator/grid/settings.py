"""Settings by dotted key: `fit.lr` is the field `lr` of the group `fit` of a trial's spec."""

from collections.abc import Callable, Mapping
from functools import cache
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from qdllm.circuits import openqasm
from qdllm.errors import ConfigError, nearest
from qdllm.families import DEFAULT, families
from qdllm.messages import shown
from qdllm.spec import Spec
from qdllm.specs import MOST_SEEDS

SHARED = ("family", "task", "teacher", "encoder", "seeds")
"""What is settled before a search begins: what its trials are made from, and what they are."""


def nested(
    settings: Mapping[str, Any], origin: Callable[[str], str] = lambda key: ""
) -> dict[str, Any]:
    """Settings by dotted key as specs take them. A number n of seeds means 0 … n − 1.

    Raises ConfigError for a number that is none of seeds; `origin` goes before what is said of it.
    """
    result: dict[str, Any] = {}
    for key, value in settings.items():
        *groups, name = key.split(".")
        inner = result
        for group in groups:
            inner = inner.setdefault(group, {})
        inner[name] = value
        if key == "seeds" and not isinstance(value, list | tuple):
            if type(value) is not int or not 1 <= value <= MOST_SEEDS:
                problem = (
                    f"seeds: a trial has 1 to {MOST_SEEDS:,}, given as their number or as a list "
                    f"such as [0, 1, 2], but {shown(value)} was given"
                )
                raise ConfigError(origin(key) + problem)
            inner[name] = list(range(value))
    return result


def with_circuits(content: Any, path: str = "") -> Any:
    """A grid's plain content with the circuits themselves in place of the files that hold them.

    So a sweep can be had again where the files are not. One that cannot be used stays a path: its
    trials' specs tell what is wrong with it.
    """
    if isinstance(content, Mapping):
        return {key: with_circuits(value, f"{path}.{key}") for key, value in content.items()}
    if isinstance(content, list):
        return [with_circuits(value, path) for value in content]
    if path.endswith((".circuit.file", ".circuit.ansatz")) and str(content).endswith(".qasm"):
        try:
            return openqasm.read(content)
        except ConfigError:
            return content
    return content


def readable(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as a person reads them: a circuit of one's own by its file's name and a digest."""
    return {
        key: openqasm.label(value) if isinstance(value, str) and openqasm.is_text(value) else value
        for key, value in settings.items()
    }


def searchable() -> list[str]:
    """The groups of settings that a search may vary."""
    return [name for name in _known() if name not in SHARED]


@cache
def kind(key: str) -> Any:
    """The type of the setting that a dotted key names, in the first family that has it.

    Raises ConfigError if it names none in any, of the family that has the most of it.
    """
    in_order = sorted(families().values(), key=lambda family: family.name != DEFAULT)
    return _kind(
        key, max((each.spec for each in in_order), key=lambda spec: _followed(key, spec)[0])
    )


@cache
def single(key: str) -> bool:
    """Whether the setting that a dotted key names is one value, and no list in any form."""
    try:
        return not _listed(kind(key))
    except ConfigError:
        return False


@cache
def has(spec: type[Spec], key: str) -> bool:
    """Whether the settings of that class have the dotted key."""
    try:
        _kind(key, spec)
    except ConfigError:
        return False
    return True


def _listed(found: Any) -> bool:
    outer = get_origin(found)
    if outer in (Annotated, Union, UnionType):
        return any(_listed(member) for member in get_args(found))
    return outer in (list, tuple)


def _known() -> list[str]:
    """The first words of all families' settings, those of the default one first."""
    specs = sorted(families().values(), key=lambda family: family.name != DEFAULT)
    return list(dict.fromkeys(name for family in specs for name in family.spec.model_fields))


def _kind(key: str, spec: type[Spec]) -> Any:
    path = key.split(".")
    depth, found = _followed(key, spec)
    above = ".".join(path[:depth])
    if depth < len(path) and not _is_group(found):
        raise ConfigError(
            f"unknown key {shown(key)}: {above!r} is one setting, not a group of them"
        )
    if depth < len(path):
        known = sorted(found.model_fields if above else _known())
        hint = nearest(path[depth], known) or "."
        where = ".".join(path[: depth + 1])
        raise ConfigError(f"unknown key {shown(where)}{hint} There are: {', '.join(known)}")
    if _is_group(found):
        first = next(iter(found.model_fields))
        raise ConfigError(
            f"{key!r} is a group of settings; name one of them, such as {key}.{first}. "
            f"There are: {', '.join(sorted(found.model_fields))}"
        )
    return found


def _followed(key: str, found: Any) -> tuple[int, Any]:
    """How many of a dotted key's names there are, from the first, and the type of the last."""
    path = key.split(".")
    for depth, name in enumerate(path):
        if not _is_group(found) or name not in found.model_fields:
            return depth, found
        found = found.model_fields[name].annotation
    return len(path), found


def _is_group(found: Any) -> bool:
    return isinstance(found, type) and issubclass(found, Spec)
