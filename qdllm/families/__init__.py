"""Families of trainable models: one file each here, or a module of a package of one's own.

A file's `FAMILY` is its family. A package of one's own names its module as an entry point:

    [project.entry-points."qdllm.families"]
    mine = "my_package.my_family"

A trial's spec is a union told apart by `family`; it is that of the paper's student where a spec
names none. Torch-free, so that a plan can be made without.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

from qdllm.errors import ConfigError, nearest
from qdllm.families.family import Family, Model
from qdllm.messages import shown
from qdllm.plugins import modules, named_once
from qdllm.specs import TrialSpec

__all__ = ["DEFAULT", "Family", "Model", "families", "family", "of", "parse"]

DEFAULT = "quantum"
"""The family of a spec that names none: the paper's student."""


@cache
def families() -> dict[str, Family[Any]]:
    """Every family by its name."""
    found = modules(__name__, __path__, "FAMILY")
    return named_once("family", (module.FAMILY for module in found))


def family(name: object) -> Family[Any]:
    """The family of that name. Raises ConfigError, naming those that there are."""
    known = families()
    if isinstance(name, str) and name in known:
        return known[name]
    hint = nearest(str(name), list(known)) or "."
    raise ConfigError(f"unknown family {shown(name)}{hint} There are: {', '.join(known)}")


def of(spec: TrialSpec) -> Family[Any]:
    """The family whose trial a spec describes."""
    return family(spec.family)


def parse(data: Mapping[str, Any]) -> TrialSpec:
    """A trial's spec from plain data. Raises ConfigError for a family or a key that is unknown."""
    spec: TrialSpec = family(data.get("family", DEFAULT)).spec.parse(data)
    return spec
