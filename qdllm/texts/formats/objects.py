"""Records in JSON: an array of them, one on each line, or in an object in one of a few ways."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from qdllm.errors import ConfigError
from qdllm.messages import some
from qdllm.specs import TaskSpec
from qdllm.texts import files
from qdllm.texts.columns import NoColumn, Record, Table, Wanted, listed, missing
from qdllm.texts.splits import split_of
from qdllm.visible import visible


def records_in(path: Path, wanted: Wanted, task: TaskSpec) -> Table:
    """An array of records, JSON lines, or an object that holds records in one of a few ways."""
    if files.named(path).suffix != ".json" and not _is_array(path, task):
        return _json_lines(path, wanted, files.lines(path, task.encoding, "\n"))
    text = files.text(path, task.encoding)
    begin = _next(text, 0)
    if text.startswith("[", begin) and text[_next(text, begin + 1) :][:1] in "[{":
        return _objects(path, wanted, lambda: _items(path, text, begin), "a JSON array")
    if text.startswith("{", begin):
        try:
            whole, end = _decoder().raw_decode(text, begin)
        except (ValueError, RecursionError):
            whole, end = {}, begin
        # Lists and objects are what records lie in; a lone record is one of JSON lines.
        if not text[end:].strip() and any(isinstance(one, list | dict) for one in whole.values()):
            return _container(path, wanted, whole)
    return _json_lines(path, wanted, text.split("\n"))


def _is_array(path: Path, task: TaskSpec) -> bool:
    lines = (line.strip() for line in files.lines(path, task.encoding, "\n"))
    first = "".join(islice(filter(None, lines), 2))
    return first.startswith("[") and first[1:].lstrip()[:1] in ("[", "{")


def _json_lines(path: Path, wanted: Wanted, lines: Iterable[str]) -> Table:
    text, label = wanted.texts[0], wanted.label

    def items() -> Iterator[tuple[int, Any]]:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                record = _decoder().decode(line)
            except (ValueError, RecursionError) as error:
                raise ConfigError(_not_json(path, number, error)) from None
            if not isinstance(record, dict):
                raise ConfigError(
                    f"{visible(path)}, line {number}: a JSON object such as "
                    f'{{"{text}": "…", "{label}": "…"}} must stand on each line'
                )
            yield number, record

    return _objects(path, wanted, items, "JSON lines")


def _items(path: Path, text: str, begin: int) -> Iterator[tuple[int, Any]]:
    """The items of the array at `begin`, one after another, each with the line it begins in."""
    decoder, at, counted, line = _decoder(), begin + 1, 0, 1
    while True:
        at = _next(text, at)
        line, counted = line + text.count("\n", counted, at), at
        try:
            item, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            raise ConfigError(_not_json(path, line, error)) from None
        yield line, item
        at = _next(text, at)
        if text[at : at + 1] != ",":
            break
        at += 1
    if text[at:].strip() != "]":
        line += text.count("\n", counted, at)
        raise ConfigError(
            f"{visible(path)}, line {line}: the array of records must end here, or go on after a "
            "comma"
        )


def _container(path: Path, wanted: Wanted, whole: Mapping[str, Any]) -> Table:
    """An object that holds records: under one key, by split, by column, or by number."""
    lists = {key: value for key, value in whole.items() if isinstance(value, list)}
    splits = {key: split_of(key, strict=False) for key in lists}
    names = [column for _, column in wanted.settings]

    def numbered(records: Iterable[Any]) -> Callable[[], Iterator[tuple[int, Any]]]:
        return lambda: enumerate(records, 1)

    if lists and all(splits.values()):
        told = f"a JSON object with {', '.join(map(visible, lists))}"
        tables = {
            key: _objects(path, wanted, numbered(value), told, f"record of {visible(key)}")
            for key, value in lists.items()
        }
        records: Iterable[Record] = (
            (f"{number} of {visible(key)}", [*values, key])
            for key, table in tables.items()
            for number, values in table.records
        )
        return Table(told, records, "record")
    if all(name in whole for name in names):
        told = "a JSON object with a list for each column"
        columns = [whole[name] for name in names if isinstance(name, str)]
        parts = [list(one.values()) if isinstance(one, dict) else one for one in columns]
        if all(isinstance(part, list) for part in parts) and len(set(map(len, parts))) == 1:
            return Table(told, enumerate(zip(*parts, strict=True), 1), "row", list(whole))
    if isinstance(lists.get("columns"), list) and isinstance(lists.get("data"), list):
        rows = [lists["columns"], *lists["data"]]
        return _objects(path, wanted, numbered(rows), "a JSON table", "row")
    if whole and all(isinstance(value, dict) for value in whole.values()):
        told = "a JSON object of records"
        return _objects(path, wanted, numbered(whole.values()), told, "record")
    found = [key for key, value in lists.items() if value and isinstance(value[0], dict | list)]
    if len(found) == 1:
        told = f"a JSON array under {found[0]!r}"
        return _objects(path, wanted, numbered(lists[found[0]]), told, "record")
    raise ConfigError(
        f"{visible(path)} holds one JSON object with the keys {some(list(whole))}; where its "
        "records are cannot be told. Give an array of records, one record on each line, or an "
        "object with one array of records"
    )


def _objects(
    path: Path,
    wanted: Wanted,
    items: Callable[[], Iterator[tuple[int, Any]]],
    told: str,
    unit: str = "line",
) -> Table:
    """A table whose records are JSON objects, or arrays that are read as lines with fields."""
    first: Any = next(items(), (1, {}))[1] if told != "JSON lines" else {}
    if isinstance(first, list):

        def rows() -> Iterator[tuple[int, list[Any]]]:
            for number, record in items():
                if not isinstance(record, list):
                    raise ConfigError(
                        f"{visible(path)}, {unit} {number}: the records before it are arrays, but "
                        f"this is {_brief(record)}"
                    )
                yield number, record

        return listed(path, wanted, rows, told)
    columns = list(first) if isinstance(first, dict) else []

    def records() -> Iterator[Record]:
        seen: dict[str, None] = {}
        names: list[str] = []
        for number, record in items():
            if not isinstance(record, dict):
                raise ConfigError(
                    f"{visible(path)}, {unit} {number}: a record must be a JSON object such as "
                    f"{{{_brief(wanted.texts[0])}: …}}, but this is {_brief(record)}"
                )
            names = names or [
                (list(record) + [""] * column)[column - 1] if isinstance(column, int) else column
                for _, column in wanted.settings
            ]
            if len(seen) < 1000:
                seen |= dict.fromkeys(record)
            yield number, [record.get(name) for name in names]
        for setting, column in wanted.settings:
            if isinstance(column, str) and column not in seen:
                message = missing(path, setting, column, list(seen) or columns)
                raise NoColumn(message, setting, column)

    return Table(told, records(), unit, columns)


def _brief(value: Any) -> str:
    """The beginning of a value as JSON."""
    return visible(json.dumps(value, ensure_ascii=False))[:60]


def _not_json(path: Path, line: int, error: ValueError | RecursionError) -> str:
    """What is wrong with a record that begins in that line."""
    why = str(error)
    if isinstance(error, RecursionError):
        why = "more lists and objects lie in each other than can be read"
    elif isinstance(error, json.JSONDecodeError):
        why = error.msg.removesuffix(" starting at")
    return f"{visible(path)}, line {line}: not JSON: {why}"


def _decoder() -> json.JSONDecoder:
    return json.JSONDecoder(object_pairs_hook=_once)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
        raise ValueError(f"a record names {twice[0]!r} twice")
    return found


_SPACE = re.compile(r"\s*")


def _next(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    assert found, "it matches everywhere"
    return found.end()
