"""Every number that a spec takes has bounds, and what is beyond them is told."""

import importlib
import pkgutil
from collections.abc import Iterator
from typing import Any

import pytest

import jobs
import orchestrator
import qdllm
from qdllm.errors import ConfigError
from qdllm.spec import Spec

PACKAGES = (qdllm, jobs, orchestrator)
APART = ("__main__", "tracking.serving")
"""Modules that do something when they are imported."""
BEYOND = (10**400, -(10**400), -(10**20), 1e308, -1e308, float("inf"), float("nan"))
OPEN = {"base", "axes", "one_at_a_time", "seeds", "space", "trial", "spec"}
"""Fields that hold settings of other specs, which are parsed as such."""


def every() -> list[type[Spec]]:
    """All specs of all modules."""
    for package in PACKAGES:
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith(APART):
                importlib.import_module(module.name)
    found, new = [], [Spec]
    while new:
        new = [each for parent in new for each in parent.__subclasses__()]
        found += new
    ours = {package.__name__ for package in PACKAGES}
    return [each for each in found if each.__module__.partition(".")[0] in ours]


def numbers(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Where a JSON schema has numbers, and what it says of each."""
    if schema.get("type") in ("integer", "number") and not {"enum", "const"} & schema.keys():
        yield path, schema
    if path and not schema.keys() - {"title", "default", "description"}:
        assert path.rpartition(".")[2] in OPEN, f"{path} takes anything"
    for name in ("properties", "$defs"):
        for key, part in schema.get(name, {}).items():
            yield from numbers(part, f"{path}.{key}")
    for name in ("anyOf", "allOf", "oneOf", "prefixItems"):
        for part in schema.get(name, []):
            yield from numbers(part, path)
    if isinstance(schema.get("items"), dict):
        yield from numbers(schema["items"], path)


SPECS = every()


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.__name__)
def test_every_number_has_bounds(spec):
    for path, schema in numbers(spec.model_json_schema()):
        for bounds in ({"minimum", "exclusiveMinimum"}, {"maximum", "exclusiveMaximum"}):
            assert bounds & schema.keys(), f"{path} of {spec.__name__} has no end"


def test_the_numbers_are_found():
    named = {spec.__name__: spec for spec in SPECS}
    assert named.keys() >= {"TaskSpec", "TeacherSpec", "Grid", "Search", "Reals", "Resources"}
    paths = {path for path, _ in numbers(named["StudentSpec"].model_json_schema())}
    assert {".FitSpec.lr", ".CircuitSpec.layers", ".TaskSpec.text_column", ".seeds"} <= paths


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.__name__)
def test_what_is_beyond_them_is_told(spec):
    places = [path.split(".")[1:] for path, _ in numbers(spec.model_json_schema())]
    for field in {place[0] for place in places if len(place) == 1} & spec.model_fields.keys():
        for value in BEYOND:
            for given in (value, [value]):
                with pytest.raises(ConfigError) as caught:
                    spec.parse({field: given})
                assert field in str(caught.value)
                assert len(str(caught.value)) < 2000
