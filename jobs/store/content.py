"""What a record and its data hold, checked when somebody asks for it.

Digests tell that a result is what was written, not that what was written is what its kind declares.
So who asks gets a value of the declared type, or a DamagedError that names it. What nobody asks for
may be another version's.
"""

import json
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NamedTuple, TypeVar

import numpy as np
from pydantic import TypeAdapter, ValidationError

from jobs import kinds
from jobs.store.record import DamagedError, Record
from qdllm.errors import ConfigError
from qdllm.messages import shown

T = TypeVar("T")


class Place(NamedTuple):
    """Where a result lies."""

    store: str
    kind: str
    fingerprint: str

    def unfit(self, problem: str) -> DamagedError:
        """The error for a result that nobody can use, although its digests are right."""
        path = "/".join(filter(None, self))
        error = DamagedError(
            f"{path} {problem}; delete {path}/record.json and run the same command again to "
            "compute it anew"
        )
        error.problem = problem
        return error


class Content(dict[str, Any]):
    """A part of a record, or a dictionary inside of one."""

    def __init__(self, plain: Mapping[str, Any], place: Place, part: str) -> None:
        """`part`: what the record calls it, such as `summary.metrics`."""
        super().__init__(plain)
        self.place, self._part, self._checked = place, part, set[str]()

    def __getitem__(self, key: str) -> Any:
        if key in self._checked:
            return super().__getitem__(key)
        if key not in self:
            raise self.place.unfit(f"has no {self._part}.{key} in its record")
        value = super().__getitem__(key)
        if problem := _problem(self.place.kind, self._part, key, value):
            raise self.place.unfit(f"has in its record {self._part}.{key}: {problem}")
        if isinstance(value, dict):
            value = Content(value, self.place, f"{self._part}.{key}")
            self[key] = value
        self._checked.add(key)
        return value

    def get(self, key: str, default: Any = None) -> Any:
        """As of any dictionary, but for the type of what is there."""
        return self[key] if key in self else default  # noqa: SIM401

    def items(self) -> Any:
        """As of any dictionary, but for the types of what is there."""
        return {key: self[key] for key in self}.items()

    def __reduce__(self) -> Any:
        return Content, (dict(self), self.place, self._part)


class Arrays(dict[str, np.ndarray]):
    """The tensors of a result, each of the shape that its kind declares."""

    def __init__(self, plain: Mapping[str, np.ndarray], record: Record, store: str) -> None:
        super().__init__(plain)
        self._record, self.place = record, Place(store, record.kind, record.fingerprint)

    def __reduce__(self) -> Any:
        return dict, (dict(self),)

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self:
            raise self.place.unfit(f"has no tensor {shown(name)}")
        array = super().__getitem__(name)
        kind = kinds.kinds().get(self.place.kind)
        wanted = kind.shape(self._record, name) if kind else None
        if wanted is not None and not _fits(array, wanted):
            sizes = ", ".join("any" if size is None else str(size) for size in wanted)
            raise self.place.unfit(
                f"has a tensor {shown(name)} of the shape {array.shape} in {array.dtype}: "
                f"({sizes}) in numbers is needed"
            )
        return array

    def get(self, name: str, default: Any = None) -> Any:
        """As of any dictionary, but for the shape of what is there."""
        return self[name] if name in self else default  # noqa: SIM401


def inside(record: Record, store: str) -> Record:
    """The record with its parts as Content. `store`: the address of where it lies."""
    place = Place(store, record.kind, record.fingerprint)
    parts = ("spec", "made_from", "summary")
    checked = {part: Content(getattr(record, part), place, part) for part in parts}
    return record.model_copy(update=checked)


def _problem(kind: str, part: str, key: str, value: Any) -> str:
    """What is wrong with a value by what its kind declares; empty where nothing is."""
    adapter = _declared(kind, part, key)
    if adapter is None:
        return ""
    try:
        # As JSON, in which a list may be a tuple.
        adapter.validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        inside = "".join(f" at {part}" for part in first["loc"])
        return f"{shown(value)}{inside}: {first['msg']}"
    return ""


@cache
def _declared(kind: str, part: str, key: str) -> TypeAdapter[Any] | None:
    known = kinds.kinds().get(kind)
    if known is None:
        return None
    if part == "summary":
        declared = known.content.get(key, known.content.get("*"))
    else:
        fields = known.spec.model_fields if known.spec and part == "spec" else {}
        declared = fields[key].annotation if key in fields else None
    return None if declared is None else TypeAdapter(declared)


def _fits(array: np.ndarray, wanted: tuple[int | None, ...]) -> bool:
    sizes = zip(array.shape, wanted, strict=False)
    same = len(array.shape) == len(wanted) and all(b in (None, a) for a, b in sizes)
    return same and array.dtype.kind in "iuf"


def unfit(record: Record, problem: str) -> DamagedError:
    """The error for a result that nobody can use, although its digests are right."""
    place = getattr(record.summary, "place", Place("", record.kind, record.fingerprint))
    return place.unfit(problem)


def parsed(record: Record, parse: Callable[[Any], T], spec: Any = None) -> T:
    """What `parse` makes of a record's spec, or of another one that it holds.

    Raises DamagedError where `parse` raises ConfigError.
    """
    try:
        return parse(record.spec if spec is None else spec)
    except ConfigError as error:
        raise unfit(record, f"has a spec in its record that cannot be used: {error}") from None
