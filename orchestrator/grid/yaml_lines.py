"""YAML as a person means it, with the line of every key, so that an error can name it."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from qdllm.errors import ConfigError

_TIMESTAMP, _FLOAT, _BINARY = (f"tag:yaml.org,2002:{n}" for n in ("timestamp", "float", "binary"))


class _Loader(yaml.SafeLoader):
    """What JSON can say. 1e-3 is a number, as in YAML 1.2, and a date is a text."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [(tag, pattern) for tag, pattern in resolvers if tag != _TIMESTAMP]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    yaml_constructors = {  # noqa: RUF012
        tag: construct
        for tag, construct in yaml.SafeLoader.yaml_constructors.items()
        if tag != _BINARY
    }


_Loader.add_implicit_resolver(
    _FLOAT, re.compile(r"[-+]?(\d[\d_]*(\.[\d_]*)?|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def read(path: Path) -> tuple[Any, dict[str, str]]:
    """A file's content, and where each dotted path of it stands, as `file:line`.

    Raises ConfigError, with the line, if it is not YAML or a mapping names a key twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not UTF-8 text; save it as UTF-8") from None
    return _parse(text, str(path))


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
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        origins = dict(_origins(root, source, "", ())) if root else {}
        return loader.construct_document(root) if root else None, {"": source} | origins
    except yaml.MarkedYAMLError as error:
        reason = " ".join(part for part in (error.context, error.problem) if part)
        mark = error.problem_mark
        raise ConfigError(f"{_at(source, mark.line if mark else 0)}{reason}") from None
    except ConfigError:
        raise
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{source}: {error}" if source else str(error)) from None


def _origins(
    node: yaml.Node, source: str, path: str, above: tuple[yaml.Node, ...]
) -> Iterator[tuple[str, str]]:
    """Dotted path and origin of everything below a node. Raises ConfigError for a repeated key."""
    line = node.start_mark.line
    if any(node is one for one in above):
        raise ConfigError(f"{_at(source, line)}this value holds itself; write it out")
    above = (*above, node)
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield f"{path}{index}", f"{source}:{item.start_mark.line + 1}"
            yield from _origins(item, source, f"{path}{index}.", above)
    elif isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, item in node.value:
            name, line = str(key.value), key.start_mark.line
            if name in seen:
                raise ConfigError(
                    f"{_at(source, line)}{name!r} stands in line {seen[name] + 1} already; "
                    "keep one of them"
                )
            seen[name] = line
            yield f"{path}{name}", f"{source}:{line + 1}"
            yield from _origins(item, source, f"{path}{name}.", above)


def _at(source: str, line: int) -> str:
    """Where an error is, before its text. A short text has no source and no lines."""
    return f"{source}:{line + 1}: " if source else ""
