"""Labelled texts from files, row by row, checked and with their labels normalised."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from qdllm.errors import ConfigError
from qdllm.messages import some
from qdllm.specs import TaskSpec
from qdllm.texts import files, labels
from qdllm.texts.columns import NoColumn, Table, Wanted
from qdllm.texts.formats.columnar import arrow, parquet
from qdllm.texts.formats.marked import lines
from qdllm.texts.formats.objects import records_in
from qdllm.texts.formats.separated import separated
from qdllm.texts.layouts import Part
from qdllm.texts.splits import split_of
from qdllm.visible import visible


@dataclass
class Rows:
    """Texts without white space at their ends, their labels and splits; empty where unsaid."""

    texts: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    splits: list[str] = field(default_factory=list)
    words: Counter[str] = field(default_factory=Counter)
    """What stood in place of labels, and meant that there is none."""
    names: tuple[str, ...] = ()
    """All labels that there can be, in order, where the source lists them."""
    forms: dict[str, None] = field(default_factory=dict)
    """How its tables are written, in words."""
    columns: dict[str, None] = field(default_factory=dict)
    """Columns that nobody asked for."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Files that turned out to lack a wanted column, and which."""

    def add(self, text: str, label: str, split: str) -> None:
        """One more row."""
        self.texts.append(text.strip())
        self.labels.append(label)
        self.splits.append(split)


def read(parts: Iterable[Part], task: TaskSpec, names: tuple[str, ...] = ()) -> Rows:
    """All rows of some files. `names`: of numbers as labels, where files do not tell them.

    A label may be missing. Raises ConfigError for a column or a record that is missing or
    malformed, naming its place, and OSError for a file that cannot be opened.
    """
    rows = Rows(names=names)
    for part in parts:
        if part.whole:
            rows.add(files.text(part.path, task.encoding), part.label, part.split)
        elif part.label:
            _read_class_file(part, task, rows)
        else:
            _read_table(part, task, rows)
    return rows


def _read_class_file(part: Part, task: TaskSpec, rows: Rows) -> None:
    """One text on each line, LF or CRLF; blank lines are empty texts."""
    before = len(rows.texts)
    for line in files.lines(part.path, task.encoding, "\n"):
        rows.add(line, part.label, part.split)
    if not any(islice(rows.texts, before, None)):
        raise ConfigError(
            f"class file {visible(part.path)} holds no text; write one text per line into it"
        )


def _read_table(part: Part, task: TaskSpec, rows: Rows) -> None:
    """The wanted columns of a file with one of the suffixes of READERS."""
    path = part.path
    reader = READERS.get(files.named(path).suffix)
    if reader is None:
        remedy = files.OTHERS.get(path.suffix.lower())
        raise ConfigError(
            f"cannot read texts from {visible(path)}: "
            + (f"{remedy}, for " if remedy else "")
            + f"its name must end in {', '.join(filter(None, READERS))}, each also with .gz or "
            ".zst after it, or it must be a folder with one *.txt file for each class"
        )
    before = len(rows.texts)
    try:
        table = reader(path, Wanted.of(task), task)
        table.names = table.names or rows.names
        _add_records(path, Wanted.of(task), table, rows, part.split)
    except NoColumn as error:
        # Who sets a task often keeps the labels of its test to himself, and its columns differ.
        if part.split != "test" and (part.split != "validation" or error.what != "label_column"):
            raise
        del rows.texts[before:], rows.labels[before:], rows.splits[before:]
        rows.left_out[path.name] = error.column
        return
    rows.forms[table.told] = None
    asked = {column for _, column in Wanted.of(task).settings}
    rows.columns |= dict.fromkeys(name for name in table.columns if name not in asked)
    if rows.names and table.names and rows.names != table.names:
        raise ConfigError(
            f"{visible(path)} names the classes {some(table.names)}, but the files before it "
            f"{some(rows.names)}; give files that agree"
        )
    rows.names = rows.names or tuple(table.names)


def _add_records(path: Path, wanted: Wanted, table: Table, rows: Rows, split: str) -> None:
    many, known = len(wanted.texts), dict[Any, str]()
    for number, values in table.records:
        try:
            text, value = _text(values[:many]), values[many]
            if isinstance(value, list | dict):
                raise ValueError(labels.refusal(value))
            key = (type(value), value) if value == value else None  # NaN is like no other
            if key not in known:
                named = _name(value, table.names) if table.names else value
                known[key] = labels.label(named)
                _check_surrogates(known[key])
            label = known[key]
            if not label and isinstance(value, str) and value.strip() and text.strip():
                rows.words[value.strip()] += 1
            rows.add(text, label, _split(values[many + 1 :], wanted) or split)
        except ValueError as error:
            raise ConfigError(f"{visible(path)}, {table.unit} {number}: {error}") from None


def _split(said: Sequence[Any], wanted: Wanted) -> str:
    """The split that a column says, or else the place of the record."""
    if wanted.split and not said[0]:
        raise ValueError(f"column {wanted.split!r} does not say which split it is of")
    return split_of(said[0]) if said else ""


def _text(parts: Sequence[Any]) -> str:
    for part in parts:
        if not isinstance(part, str | None):
            raise ValueError(f"the text is {part!r}, but it must be a string")
        if part and not part.isascii():
            _check_surrogates(part)
    if len(parts) == 1:
        return parts[0] or ""
    return " ".join(part.strip() for part in parts if part and part.strip())


def _check_surrogates(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = visible(text[error.start])
        raise ValueError(
            f"{half} is half of a character, which JSON can spell and no text can hold; write both "
            "halves, or leave it out"
        ) from None


def _name(value: Any, names: Sequence[str]) -> Any:
    if isinstance(value, str) and re.fullmatch(r"-1|\d{1,9}", value, re.ASCII):
        value = int(value)
    if not isinstance(value, int):
        return value
    if value == -1:  # what the Hugging Face hub writes where a label is withheld
        return None
    if not 0 <= value < len(names):
        raise ValueError(f"the label is {value}, but the file names {len(names)}: {some(names)}")
    return names[value]


Reader = Callable[[Path, Wanted, TaskSpec], Table]
READERS: dict[str, Reader] = {
    ".csv": separated,
    ".tsv": separated,
    ".jsonl": records_in,
    ".parquet": parquet,
    ".json": records_in,
    ".ndjson": records_in,
    ".arrow": arrow,
    ".feather": arrow,
    **dict.fromkeys(files.LINES, lines),
}
