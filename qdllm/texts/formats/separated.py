"""Tables whose fields are separated by a character: what separates them is looked up before.

Quotes enclose fields, except in files with tabs that make no sense so; and no quote may make one
record of what look like several.
"""

import csv
import re
import sys
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

from qdllm.errors import ConfigError
from qdllm.specs import TaskSpec
from qdllm.texts import files
from qdllm.texts.columns import SAMPLE, Malformed, Record, Table, Wanted, listed
from qdllm.visible import visible

SEPARATORS = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|"}
WORDS = {mark: word for word, mark in SEPARATORS.items()}
_SAID = re.compile(r"sep=([,;\t|])\s*")
"""What Excel reads in a first line as the separator of those below it."""


def separated(path: Path, wanted: Wanted, task: TaskSpec) -> Table:
    csv.field_size_limit(sys.maxsize)  # a text may be as long as it likes
    suffix = files.named(path).suffix
    own = {".csv": "comma", ".tsv": "tab"}.get(suffix, "")
    sample = list(islice(files.lines(path, task.encoding, ""), SAMPLE))
    said = _SAID.fullmatch(sample[0]) if sample else None
    sample = sample[1:] if said else sample
    own = WORDS[said[1]] if said else own
    word = task.separator or _separator(path, wanted, sample, own)
    mark = SEPARATORS[word]
    quoted = word != "tab" or _quotes(path, wanted, task)
    watch = _Watch(wanted, mark)

    def rows() -> Iterator[tuple[int, list[str]]]:
        for number, span, values in _separated(path, task, mark, quoted):
            watch.see(number, span, values)
            yield number, values

    told = f"fields separated by {word}s" + (
        "" if quoted else ", where quotes are letters like others"
    )
    table = listed(path, wanted, rows, told)
    table.records = chain(table.records, watch.complaints(path))
    return table


def _quotes(path: Path, wanted: Wanted, task: TaskSpec) -> bool:
    """Whether quotes enclose fields in a file with tabs, which are often written without.

    They do unless the file makes no sense with them, and has no line out of place without.
    """
    mark = SEPARATORS["tab"]
    watch, widths = _Watch(wanted, mark), set()
    try:
        for number, span, values in _separated(path, task, mark, True):
            watch.see(number, span, values)
            widths.add(len(values))
        list(watch.complaints(path))
        if len(widths) < 2:
            return True
    except Malformed:
        pass
    at, widths = watch.place or 0, set()
    for _, _, values in _separated(path, task, mark, False):
        widths.add(len(values))
        if len(widths) > 1 or any(value.startswith('"') for value in values[at : at + 1]):
            return True
    return False


def _separator(path: Path, wanted: Wanted, sample: Sequence[str], own: str) -> str:
    """The separator under which the wanted columns are there, or which all lines agree with."""
    parsed = {
        word: list(_parsed(sample, mark))
        for word, mark in sorted(SEPARATORS.items(), key=lambda item: item[0] != own)
    }
    names = {column for _, column in wanted.settings if isinstance(column, str)}
    for word, rows in parsed.items():
        if names and rows and names <= set(rows[0]):
            return word
    least = max([2, *(column for _, column in wanted.settings if isinstance(column, int))])
    fits = [
        word
        for word, rows in parsed.items()
        if rows and len(rows[0]) >= least and all(len(row) == len(rows[0]) for row in rows)
    ]
    if own == "tab" and own in fits:
        return own  # as the file's name says
    if len(fits) > 1 and not names:
        raise ConfigError(
            f"{visible(path)} may be separated by {' or '.join(f'{word}s' for word in fits)}; say "
            f"which with --set task.separator={fits[0]}"
        )
    return fits[0] if fits else own or "tab"


def _parsed(sample: Sequence[str], mark: str) -> Iterator[list[str]]:
    reader = csv.reader(sample, delimiter=mark, strict=True)
    try:
        yield from filter(None, reader)
    except csv.Error:
        return  # the sample may end inside a field


def _separated(
    path: Path, task: TaskSpec, mark: str, quoted: bool
) -> Iterator[tuple[int, int, list[str]]]:
    """Each record: the line that it begins in, how many lines it has, its fields."""
    source = files.lines(path, task.encoding, "")
    first = next(source, "")
    said = bool(_SAID.fullmatch(first))
    source = source if said else chain([first], source)
    reader = (
        csv.reader(source, delimiter=mark, strict=True)
        if quoted
        else csv.reader(source, delimiter=mark, quoting=csv.QUOTE_NONE, strict=True)
    )
    begin = 1 + said
    try:
        for values in reader:
            after = reader.line_num + 1 + said
            if values:
                yield begin, after - begin, values
            begin = after
    except csv.Error as error:
        what = str(error)
        if "end of data" in what:
            what += ": the quote that opens here does not close"
        raise Malformed(
            f"{visible(path)}, line {begin}: {what}. Put double quotes around a field that holds "
            "a separator, a quote or a line break, and double each quote in it"
        ) from None


class _Watch:
    """Looks for records that a quote has made of what look like several.

    They do if each of a record's lines has as many fields as a record, and a label that others
    have.
    """

    def __init__(self, wanted: Wanted, mark: str) -> None:
        self._label, self._mark, self._width = wanted.label, mark, 0
        self.place: int | None = None
        """Where a record's label stands."""
        self._known: set[str] = set()
        self._suspects: dict[int, tuple[int, set[str]]] = {}

    def see(self, number: int, span: int, values: Sequence[str]) -> None:
        """The next record: the line it begins in, how many lines it has, its fields."""
        if not self._width:
            self._width, at = len(values), self._label
            self.place = at - 1 if isinstance(at, int) else values.index(at) if at in values else 0
        place = self.place or 0
        if span == 1:
            self._known.update(values[place : place + 1])
            return
        lines = _lines_of(values, self._mark)
        if all(len(line) == self._width for line in lines):
            self._suspects[number] = span, {line[place].rstrip("\r") for line in lines}

    def complaints(self, path: Path) -> Iterator[Record]:
        """No record; Malformed for the first of them, once all have been seen."""
        for number, (span, found) in self._suspects.items():
            if found <= self._known:
                raise Malformed(
                    f"{visible(path)}, line {number}: a quote opens here, and makes one record of "
                    f"{span} lines that look like records; double it, or enclose its field in "
                    "quotes"
                )
        yield from ()


def _lines_of(values: Sequence[str], mark: str) -> list[list[str]]:
    """The lines of a record, each cut into fields as if no quote went beyond it."""
    lines: list[list[str]] = [[]]
    for value in values:
        head, *rest = value.split("\n")
        lines[-1] += head.split(mark)
        lines += (line.split(mark) for line in rest)
    return lines
