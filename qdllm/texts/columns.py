"""What readers of tables share: the wanted columns, where they stand, whether there is a header."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from qdllm.errors import ConfigError, nearest
from qdllm.messages import some
from qdllm.specs import Column, TaskSpec
from qdllm.texts import labels
from qdllm.visible import visible

SAMPLE = 500
"""Lines by which a table's separator is recognised, and its columns are told apart in an error."""

Record = tuple[int | str, Sequence[Any]]
"""Where a record stands, and its values."""


class Malformed(ConfigError):
    """A line that does not have the form that the lines before it have."""


class NoColumn(ConfigError):
    """A table lacks a wanted column; `what` is the setting that names it."""

    def __init__(self, message: str, what: str = "", column: str = "") -> None:
        """All of them."""
        super().__init__(message)
        self.what, self.column = what, column

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.what, self.column)


class Wanted(NamedTuple):
    """The columns that are read, by name or by number from 1."""

    texts: tuple[Column, ...]
    label: Column
    split: Column | None

    @classmethod
    def of(cls, task: TaskSpec) -> "Wanted":
        """Those that a task names."""
        texts, split = task.text_column, task.split
        several = texts if isinstance(texts, tuple) else (texts,)
        return cls(several, task.label_column, None if isinstance(split, tuple) else split)

    @property
    def settings(self) -> list[tuple[str, Column]]:
        """Each with the setting that names it: the texts', the label's, the split's."""
        columns = [("text_column", text) for text in self.texts]
        columns.append(("label_column", self.label))
        return columns + ([("split", self.split)] if self.split else [])

    @property
    def numbered(self) -> bool:
        """Whether all of them are numbers, which need no header."""
        return all(isinstance(column, int) for _, column in self.settings)


@dataclass
class Table:
    """A file that has been looked at: its records, and how they are read."""

    told: str
    """In words."""
    records: Iterable[Record]
    """The values of the wanted columns, in the order of `Wanted.settings`, and then the split that
    the place of the record says, if it does."""
    unit: str = "line"
    """What the number of a record counts."""
    columns: Sequence[str] = ()
    """All that it has, where they have names."""
    names: Sequence[str] = ()
    """The label that each number stands for, if numbers stand for labels."""


def positions(path: Path, wanted: Wanted, columns: Sequence[str], hint: str = "") -> list[int]:
    """Where each wanted column stands. Raises ConfigError for one that is missing or twofold."""
    places = []
    for setting, column in wanted.settings:
        if isinstance(column, int):
            if column > len(columns):
                raise NoColumn(
                    f"{visible(path)} has {len(columns)} columns, so --set task.{setting}={column} "
                    "names none",
                    setting,
                    str(column),
                )
            places.append(column - 1)
            continue
        # White space around a name, or what nobody sees in it, makes it no other name.
        spelt = columns if column in columns else [labels.plain(name) for name in columns]
        if column not in spelt:
            message = missing(path, setting, column, columns, hint)
            raise NoColumn(message, setting, column)
        if spelt.count(column) > 1:
            numbers = [place for place, name in enumerate(spelt, 1) if name == column]
            raise ConfigError(
                f"{visible(path)} has {len(numbers)} columns {column!r}, the numbers "
                f"{' and '.join(map(str, numbers))}; rename one of them, or name all wanted "
                "columns by number"
            )
        places.append(spelt.index(column))
    return places


def missing(path: Path, setting: str, column: str, columns: Sequence[str], hint: str = "") -> str:
    """Why a table has no such column. `hint`: about a table that has no header at all."""
    if hint:
        return f"{visible(path)} has no column {column!r}: {hint}"
    if len(columns) < 2 and not "".join(columns).strip():
        return f"{visible(path)} is empty"
    names = [name for name in columns if name.strip()]
    unnamed = len(columns) - len(names)
    same = [name for name in names if name.strip().casefold() == column.casefold()]
    near = f"; did you mean {same[0]!r}?" if same else nearest(column, names)
    more = f", and {unnamed} without a name" if unnamed else ""
    return (
        f"{visible(path)} has no column {column!r}{near or '.'} There are: {some(names)}{more}. "
        f"Name one with --set task.{setting}=…"
    )


def listed(
    path: Path,
    wanted: Wanted,
    rows: Callable[[], Iterator[tuple[int, list[Any]]]],
    told: str,
) -> Table:
    """A table whose records are lists of fields. `rows` begins anew with each call."""
    first = next(rows(), (1, []))[1]
    columns = [str(name) for name in first]
    if not wanted.numbered:
        hint = ""
        if not set(columns) >= {name for _, name in wanted.settings if isinstance(name, str)}:
            hint = _headerless(columns, [values for _, values in islice(rows(), 1, SAMPLE)])
        places, header = positions(path, wanted, columns, hint), True
    else:
        places = positions(path, wanted, columns)
        at = places[len(wanted.texts)]
        # A header's word for the labels is no label; any label stands in several lines.
        mine = labels.plain(columns[at])
        header = all(
            len(values) <= at or labels.plain(str(values[at])) != mine
            for _, values in islice(rows(), 1, None)
        )

    def records() -> Iterator[Record]:
        for number, values in islice(rows(), int(header), None):
            if len(values) != len(columns):
                those = "the header" if header else "the first line"
                raise Malformed(
                    f"{visible(path)}, line {number}: {len(values)} field"
                    f"{'s' * (len(values) != 1)}, but {those} has {len(columns)}"
                    f"{'' if not told else f' ({told})'}. Put double quotes around a field that "
                    "holds a separator, a quote or a line break, and double each quote in it"
                )
            yield number, [values[place] for place in places]

    told += "" if header else ", without a header"
    return Table(told, records(), columns=columns if header else ())


def _headerless(first: Sequence[str], others: Sequence[Sequence[Any]]) -> str:
    """Advice for a table whose first line looks like a record; else an empty text."""
    alike = (map(str, row) for row in others if len(row) == len(first))
    columns = list(zip(*alike, strict=True))
    if len(first) < 2 or len(columns) != len(first):
        return ""
    recur = [name in column for name, column in zip(first, columns, strict=True) if name.strip()]
    numbers = [name for name in first if re.fullmatch(r"[+-]?\d+(\.\d+)?", name.strip())]
    if not (any(recur) or numbers or any(len(name) > 60 for name in first)):
        return ""
    text = max(range(len(first)), key=lambda at: sum(map(len, columns[at])))
    rest = [at for at in range(len(first)) if at != text]
    label = min(rest, key=lambda at: len(set(columns[at])))
    begin = [f"{at} {name[:24]!r}" for at, name in enumerate(first, 1)]
    return (
        "its first line looks like a record, not like a header. Name the columns by number, such "
        f"as --set task.text_column={text + 1} --set task.label_column={label + 1}; the first "
        f"line has {', '.join(begin)}"
    )
