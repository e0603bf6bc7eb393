"""YAML as a person means it, with the line of every key, so that an error can name it.

PyYAML's nodes know their lines. So do those of ruamel.yaml 0.19, but all that is written here would
stand beside it too, and it was slower when measured: 0.13 s more for every start, a tenth of a dry
run, and 1.6 to 1.9 times as long for a grid, short or of 2,000 lines. It takes `.1e5` for a text
and answers `%YAML 1.3` with a traceback; and yes, 010 and 1:30 would mean something else than they
do in the grids that people have.
"""

import re
from collections.abc import Hashable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from qdllm import outside
from qdllm.errors import ConfigError
from qdllm.messages import shown

DEPTH = 20
"""Lists and mappings that may lie in each other."""
VALUES = 100_000
"""Values that a text may mean: with aliases of aliases, 300 bytes can mean billions."""

_DEEP = f"more than {DEPTH} lists and mappings lie in each other here; a grid needs six"
_FLOAT = "tag:yaml.org,2002:float"
_NOT_JSON = {
    f"tag:yaml.org,2002:{kind}" for kind in ("binary", "omap", "pairs", "set", "timestamp")
}


class _Loader(yaml.SafeLoader):
    """What JSON can say. 1e-3 is a number, as in YAML 1.2, and a date is a text."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [(tag, pattern) for tag, pattern in resolvers if tag not in _NOT_JSON]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    yaml_constructors = {  # noqa: RUF012
        tag: construct
        for tag, construct in yaml.SafeLoader.yaml_constructors.items()
        if tag not in _NOT_JSON
    }

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """A node's value. PyYAML itself lets `!!int ""` end in an IndexError, without a line."""
        try:
            if isinstance(node, yaml.ScalarNode):
                node.value.encode()  # half a pair of surrogates is no text
            value = super().construct_object(node, deep)
            if isinstance(value, int):
                str(value)  # Python writes no number of more than 4,300 digits
            return value
        except (ValueError, LookupError, ArithmeticError, TypeError, AttributeError):
            kind = node.tag.rpartition(":")[2]
            raise _refusal(node, f"{shown(node.value)} cannot be read as {kind}") from None

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """A mapping by its keys' texts, as JSON has them: `yes` and `on` are two labels."""
        self.flatten_mapping(node)
        found: dict[Hashable, Any] = {}
        for key, value in node.value:
            self.construct_object(key)
            found[key.value] = self.construct_object(value, deep)
        return found


_Loader.add_implicit_resolver(
    _FLOAT, re.compile(r"[-+]?(\d[\d_]*(\.[\d_]*)?|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def read(path: Path) -> tuple[Any, dict[str, str]]:
    """A file's content, and where each dotted path of it stands, as `file:line`.

    Raises ConfigError, with the line, if it is not YAML or a mapping names a key twice.
    """
    return _parse(outside.text(path), str(path))


def value(text: str) -> Any:
    """The value that a short YAML text means. Raises ConfigError if it means none."""
    try:
        return _parse(text, "")[0]
    except ConfigError as error:
        raise ConfigError(f"the value is not YAML: {error}") from None


def origin(origins: Mapping[str, str], path: str) -> str:
    """`file:line: ` of a dotted path, or of what it lies in, as far as that is known."""
    while path and path not in origins:
        path = path.rpartition(".")[0]
    return f"{origins[path]}: " if path in origins else ""


def _parse(text: str, source: str) -> tuple[Any, dict[str, str]]:
    """A text's value, and where its parts stand. A short text has no source and no lines."""
    line: int | None = None
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        origins = {"": source}
        for number, (path, node) in enumerate(_walk(root, "", ()) if root else ()):
            origins.setdefault(path, f"{source}:{node.start_mark.line + 1}")
            if number >= VALUES:
                raise yaml.YAMLError(f"more than {VALUES:,} values, with its aliases written out")
        return loader.construct_document(root) if root else None, origins
    except yaml.MarkedYAMLError as error:
        reason = " ".join(part for part in (error.context, error.problem) if part)
        line = error.problem_mark.line if error.problem_mark else 0
    except yaml.YAMLError as error:
        reason = str(error)
    except RecursionError:
        reason, line = _DEEP, loader.line
    where = source if line is None else f"{source}:{line + 1}"
    raise ConfigError(f"{where}: {reason}" if source else reason)


def _walk(
    node: yaml.Node, path: str, above: tuple[yaml.Node, ...]
) -> Iterator[tuple[str, yaml.Node]]:
    """Dotted path of everything below a node, with what stands in its line: the key or the item.

    Raises MarkedYAMLError for what has no such paths, or several values for one.
    """
    if node in above:
        raise _refusal(node, "this value holds itself; write it out")
    if len(above) > DEPTH:
        raise _refusal(node, _DEEP)
    above = (*above, node)
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield f"{path}{index}", item
            yield from _walk(item, f"{path}{index}.", above)
    elif isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, item in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _refusal(key, "a key must be a word, not a list or a mapping")
            name = key.value
            if name in seen:
                raise _refusal(
                    key, f"{name!r} stands in line {seen[name] + 1} already; keep one of them"
                )
            seen[name] = key.start_mark.line
            yield f"{path}{name}", key
            yield from _walk(item, f"{path}{name}.", above)


def _refusal(node: yaml.Node, reason: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=reason, problem_mark=node.start_mark)
