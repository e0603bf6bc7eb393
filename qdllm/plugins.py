"""Modules that declare something of one sort: those of a package, and those of others' packages."""

import importlib
import pkgutil
from collections.abc import Iterable
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any, TypeVar

from qdllm.errors import ConfigError

Named = TypeVar("Named", bound=Any)


def modules(package: str, path: Iterable[str], attribute: str) -> list[ModuleType]:
    """The modules that have the attribute: a package's own by name, then others' by entry point.

    The entry points' group is the package's name: an installed package's module, named there,
    counts like one of ours.
    """
    own = sorted(f"{package}.{found.name}" for found in pkgutil.iter_modules(path))
    others = sorted({entry.value for entry in entry_points(group=package)})
    found = [importlib.import_module(name) for name in [*own, *others]]
    return [module for module in found if hasattr(module, attribute)]


def named_once(what: str, declared: Iterable[Named]) -> dict[str, Named]:
    """What was declared, by its name. Raises ConfigError where two have the same one."""
    found: dict[str, Named] = {}
    for each in declared:
        if each.name in found:
            raise ConfigError(
                f"{what} {each.name!r} is declared twice; remove one of the packages that do"
            )
        found[each.name] = each
    return found
