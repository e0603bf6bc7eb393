"""What a spec is: frozen, validated settings, and the fingerprint that names what they make.

If a setting can change a number it is in a spec; if it cannot (device, workers, log level) it is
not.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Self, get_args, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)
from pydantic_core import to_json

from qdllm.errors import ConfigError, nearest
from qdllm.messages import several, shown

MANY = 1000
"""Problems after which nobody looks for more."""
SCHEMA = 1
"""Part of every fingerprint. Raise it when the same spec would give different numbers."""
_HASHED = "hashed"
"""What the serialiser of specs is told as context where a fingerprint is made."""

RULES = {
    "bool_type": "true or false",
    "dict_type": "a group of settings",
    "finite_number": "a finite number",
    "float_type": "a number",
    "greater_than": "greater than {gt}",
    "greater_than_equal": "at least {ge}",
    "int_from_float": "a whole number, written without point and exponent",
    "int_type": "a whole number",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "literal_error": "{expected}",
    "list_type": "a list",
    "model_type": "a group of settings",
    "string_too_long": "a text of at most {max_length} characters",
    "string_type": "a text",
    "string_pattern_mismatch": "of the form {pattern}",
    "too_long": "no longer than {max_length}",
    "too_short": "a list or group of at least {min_length}",
    "tuple_type": "a list",
}
"""What a value must be, by the kind of pydantic's problem with it."""


class Spec(BaseModel):
    """Base of all specs: immutable, hashable, and strict about unknown keys."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, ser_json_inf_nan="constants"
    )

    unhashed: ClassVar[frozenset[str]] = frozenset()
    """Fields left out of the fingerprint: they change no number, or enter it as a dependency."""
    joined: ClassVar[frozenset[str]] = frozenset()
    """Fields that joined when results had names: left out of the fingerprint at their defaults."""

    @classmethod
    def parse(cls, data: Mapping[str, Any], origin: Callable[[str], str] = lambda key: "") -> Self:
        """Validate plain data. Raises ConfigError naming each bad key and the nearest known one.

        `origin(key)` goes before what is said about a dotted key: a file and its line, say.
        """
        try:
            # As JSON: strict about numbers, which `yes` and "0.1" are not, yet lists are tuples.
            plain = to_json(data, inf_nan_mode="constants")
        except ValueError:
            key, value = _unwritable(data)
            problem = f"{shown(value)} in {shown(key)} is no value that JSON has"
            raise ConfigError(origin(key) + problem) from None
        try:
            return cls.model_validate_json(plain, strict=True)
        except ValidationError as error:
            problems = [
                problem
                for problem in error.errors()[:MANY]
                # A default that hangs on another field is not called where that one is wrong.
                if problem["type"] != "default_factory_not_called"
            ]
            raise ConfigError(several(_explained(cls, problems, origin))) from None

    def hashed(self, plain: dict[str, Any]) -> dict[str, Any]:
        """What of the settings as plain data names results."""
        default = {name: type(self).model_fields[name].default for name in self.joined}
        return {
            name: value
            for name, value in plain.items()
            if name not in default or getattr(self, name) != default[name]
        }

    @model_serializer(mode="wrap")
    def _serialized(
        self, handler: SerializerFunctionWrapHandler, info: SerializationInfo
    ) -> dict[str, Any]:
        plain: dict[str, Any] = handler(self)
        return self.hashed(plain) if info.context == _HASHED else plain


def _unwritable(data: Any, key: str = "") -> tuple[str, Any]:
    """The dotted key and the value of what is no JSON, such as half a pair of surrogates."""
    pairs: Iterable[tuple[Any, Any]] = ()
    if isinstance(data, Mapping):
        pairs = data.items()
    elif isinstance(data, list | tuple):
        pairs = enumerate(data)
    for name, value in pairs:
        inner = f"{key}.{name}" if key else str(name)
        if not _writable(name):
            return inner, name
        if not _writable(value):
            return _unwritable(value, inner)
    return key, data


def _writable(value: Any) -> bool:
    try:
        to_json(value, inf_nan_mode="constants")
    except ValueError:
        return False
    return True


def _explained(
    model: type[BaseModel], problems: Iterable[Any], origin: Callable[[str], str]
) -> list[str]:
    """A line for each place that is wrong.

    Of a value that may have several forms pydantic says what it is not by each. Where one form is
    met but for something within, the others were not meant.
    """
    places: dict[str, list[Any]] = {}
    for problem in problems:
        places.setdefault(".".join(_path(model, problem["loc"])[0]), []).append(problem)
    lines = []
    for where, found in places.items():
        forms = [problem for problem in found if problem["type"] == "literal_error"]
        others = [problem for problem in found if problem["type"] != "literal_error"]
        within = any(place.startswith(f"{where}.") for place in places)
        place = origin(".".join(map(str, found[0]["loc"])))
        if forms and others and (form := _rule(others[0])):
            word = isinstance(forms[0]["input"], str)
            line = explain(model, forms[0] if word else others[0])
            lines.append(f"{place}{line}; or give {form if word else _rule(forms[0])}")
        elif not (forms and within):
            lines += [place + explain(model, problem) for problem in found]
    return lines


def explain(model: type[BaseModel], problem: Any) -> str:
    """One line for one pydantic problem: the key's path, what was given, what is allowed."""
    path, model = _path(model, problem["loc"])
    given, where = problem["input"], ".".join(path)
    if problem["type"] == "extra_forbidden":
        known = sorted(model.model_fields)
        hint = nearest(path[-1], known) or "."
        return f"unknown key {shown(where)}{hint} There are: {', '.join(known)}"
    if problem["type"] == "literal_error":
        known = [
            choice.strip(" '")
            for choice in problem["ctx"]["expected"].replace(" or ", ",").split(",")
        ]
        hint = nearest(str(given), known) or "."
        return f"unknown {where} {shown(given)}{hint} There are: {', '.join(known)}"
    if problem["type"] == "value_error":
        # Ours, which says what was given; of a whole that does not fit together, there is no place.
        return ": ".join(filter(None, (where, str(problem["ctx"]["error"]))))
    if problem["type"] == "missing":
        return f"{where} is missing"
    rule = _rule(problem)
    told = f" must be {rule}" if rule else f": {problem['msg']}"
    return f"{where}{told}, but {shown(given)} was given"


def _rule(problem: Any) -> str | None:
    """What a value must be; None where there are no words of ours for that."""
    kind, context = problem["type"], problem.get("ctx", {})
    if kind == "int_type" and isinstance(problem["input"], float):
        kind = "int_from_float"
    limits = {key: f"{limit:g}" for key, limit in context.items() if isinstance(limit, float)}
    return RULES[kind].format(**context | limits) if kind in RULES else None


def _path(model: type[BaseModel], loc: Iterable[int | str]) -> tuple[list[str], type[BaseModel]]:
    """The keys and indices of a problem's place, and the innermost group of settings there.

    Beside them pydantic names members of unions, as `literal['all']`, which a user never wrote.
    """
    path, kind = [], model
    found: Any = model
    for part in loc:
        if isinstance(part, int) or get_origin(found) is dict:
            path.append(str(part))
            # A list's members may be groups too.
            found = found if hasattr(found, "model_fields") else None
        elif found is not None and hasattr(found, "model_fields"):
            path.append(part)
            kind = found
            annotation = getattr(kind.model_fields.get(part), "annotation", None)
            members = (annotation, *get_args(annotation))
            groups = [each for each in members if hasattr(each, "model_fields")]
            found = groups[0] if groups else annotation
    return path, kind


def canonical(value: Any) -> str:
    """The one JSON text of a value: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def fingerprint(spec: Spec, **depends_on: str) -> str:
    """16 hex digits that name a result: its spec, the schema, and the digests it depends on."""
    payload = {
        "kind": type(spec).__name__,
        "schema": SCHEMA,
        "spec": spec.model_dump(mode="json", exclude=set(spec.unhashed), context=_HASHED),
        "from": depends_on,
    }
    return hashlib.sha256(canonical(payload).encode()).hexdigest()[:16]


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted key. Raises ConfigError if a key is reached in two ways.

    A group without settings stays one: it is nothing that could be set.
    """
    found: dict[str, Any] = {}
    for key, value in settings.items():
        below = (
            flat(value, f"{prefix}{key}.")
            if isinstance(value, Mapping) and value
            else {f"{prefix}{key}": value}
        )
        if twice := found.keys() & below.keys():
            raise ConfigError(f"{shown(min(twice))} is set twice; keep one of them")
        found |= below
    return found
