"""Labelled texts from files: one text file for each class, or a table with two columns."""

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from qdllm.errors import ConfigError, nearest

Rows = list[tuple[str, str]]
"""Texts as they stand in their source, each with the name of its class."""

Table = tuple[list[str], list[tuple[str, dict[str, Any]]]]
"""The columns of a file, and its records, each after a phrase that says where it stands."""


def some(names: Sequence[str]) -> str:
    """The first names of what may be a long list, for a message."""
    return ", ".join([*names[:8], *["…"] * (len(names) > 8)]) or "none"


def read_class_files(files: Mapping[str, Path]) -> Rows:
    """One text per line of each class's file, LF or CRLF, UTF-8; blank lines are empty texts.

    Raises ConfigError for a file without text or that is not UTF-8, OSError for one that cannot
    be opened.
    """
    rows: Rows = []
    for label, path in files.items():
        text = _decode(path)
        if not text.strip():
            raise ConfigError(f"class file {path} holds no text; write one text per line into it")
        rows += [(line, label) for line in text.removesuffix("\n").split("\n")]
    return rows


def read_table(path: Path, text_column: str, label_column: str) -> Rows:
    """The texts and labels of a file with one of the suffixes of READERS.

    A label may be text or a number, and may be missing only where the text is empty. Raises
    ConfigError for a column, label or record that is missing or malformed, naming its place, and
    OSError for a file that cannot be opened.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise ConfigError(
            f"cannot read texts from {path}: its name must end in {', '.join(READERS)}, or it must "
            "be a folder with one *.txt file for each class"
        )
    columns, records = reader(path, [text_column, label_column])
    for key, column in (("text_column", text_column), ("label_column", label_column)):
        if column not in columns:
            raise ConfigError(
                f"{path} has no column {column!r}{nearest(column, columns)}. There are: "
                f"{some(columns)}. Name one with --set task.{key}=…"
            )
    rows = []
    for where, record in records:
        text, label = record.get(text_column), record.get(label_column)
        try:
            rows.append(_row("" if text is None else text, label))
        except ValueError as error:
            raise ConfigError(f"{path}, {where}: {error}") from None
    return rows


def _row(text: object, label: object) -> tuple[str, str]:
    if not isinstance(text, str):
        raise ValueError(f"the text is {text!r}, but it must be a string")
    if label is None or label != label:  # NaN is how pandas writes a missing number
        label = ""
    if not isinstance(label, str | int | float):
        raise ValueError(f"the label is {label!r}, but it must be a string or a number")
    name = str(label).strip()
    if text.strip() and not name:
        raise ValueError("the label is missing; fill it in or remove the record")
    if not (text + name).isascii():
        (text + name).encode()  # half of a surrogate pair, which JSON can spell, is a ValueError
    return text, name


def _csv(path: Path, wanted: list[str]) -> Table:
    separator = "\t" if path.suffix.lower() == ".tsv" else ","
    lines = csv.reader(io.StringIO(_decode(path), newline=""), delimiter=separator, strict=True)
    records = []
    try:
        header = next(lines, [])
        for fields in lines:
            if len(fields) not in (0, len(header)):
                raise csv.Error(f"{len(fields)} fields, but the header has {len(header)}")
            if fields:
                record = dict(zip(header, fields, strict=True))
                records.append((f"line {lines.line_num}", record))
    except csv.Error as error:
        raise ConfigError(
            f"{path}, line {lines.line_num}: {error}. Put double quotes around a field that holds "
            "a separator, a quote or a line break, and double each quote in it"
        ) from None
    return header, records


def _jsonl(path: Path, wanted: list[str]) -> Table:
    records = []
    for number, line in enumerate(_decode(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"{path}, line {number}: not JSON: {error}") from None
        if not isinstance(record, dict):
            raise ConfigError(
                f"{path}, line {number}: a JSON object such as "
                f'{{"{wanted[0]}": "…", "{wanted[1]}": "…"}} must stand on each line'
            )
        records.append((f"line {number}", record))
    return list(dict.fromkeys(key for _, record in records for key in record)), records


def _parquet(path: Path, wanted: list[str]) -> Table:
    import pyarrow.parquet  # 0.2 s that other sources spare

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            columns = file.schema_arrow.names
            table = file.read([column for column in wanted if column in columns])
            records = table.to_pylist()
    except (ValueError, OSError, pyarrow.ArrowException) as error:
        raise ConfigError(f"{path} is not a Parquet file that can be read: {error}") from None
    return columns, [(f"row {number}", record) for number, record in enumerate(records, 1)]


READERS: dict[str, Callable[[Path, list[str]], Table]] = {
    ".csv": _csv,
    ".tsv": _csv,
    ".jsonl": _jsonl,
    ".parquet": _parquet,
}


def _decode(path: Path) -> str:
    raw = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"{path}, line {line}: byte 0x{raw[error.start]:02x} is not UTF-8. "
            "Save the file as UTF-8"
        ) from None
