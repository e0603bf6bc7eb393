"""Text files whose lines begin with their labels: fastText's, and TREC's."""

import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from qdllm.errors import ConfigError
from qdllm.specs import TaskSpec
from qdllm.texts import files
from qdllm.texts.columns import Malformed, NoColumn, Record, Table, Wanted, positions
from qdllm.texts.formats.separated import separated
from qdllm.visible import visible

FASTTEXT = "__label__"


def marked(path: Path, task: TaskSpec) -> str:
    """`fasttext` or `trec` where a file's lines begin with their labels in that form, or nothing.

    It is fastText's by its first text, TREC's (`LABEL:sub text`) if all of them are.
    """
    every = (line for line in files.lines(path, task.encoding, "\n") if line.strip())
    first = next(every, "")
    if first.lstrip().startswith(FASTTEXT):
        return "fasttext"
    return "trec" if all(_TREC.match(line) for line in chain([first], every)) else ""


_TREC = re.compile(r"\s*([A-Z][A-Z0-9_]+):([\w-]+)\s+(.*)", re.DOTALL)


def _marked(path: Path, wanted: Wanted, task: TaskSpec, form: str) -> Table:
    columns = ["text", "label"] + ["sub"] * (form == "trec")
    places = positions(path, wanted, columns)

    def records() -> Iterator[Record]:
        for number, line in enumerate(files.lines(path, task.encoding, "\n"), 1):
            if line.strip():
                values = _trec(line) if form == "trec" else _fasttext(line)
                if isinstance(values, str):
                    raise Malformed(f"{visible(path)}, line {number}: {values}")
                yield number, [values[place] for place in places]

    told = "fastText's lines" if form == "fasttext" else "LABEL:sub lines (both: column sub)"
    return Table(told, records())


def _fasttext(line: str) -> tuple[str, ...] | str:
    """The text and the label of a line, or what is wrong with it."""
    words = line.split(maxsplit=1)
    if not words[0].startswith(FASTTEXT):
        return f"it has no {FASTTEXT}, which the lines before it begin with"
    text = words[1] if len(words) > 1 else ""
    if text.startswith(FASTTEXT):
        return f"it has two labels, {words[0]} and {text.split()[0]}; one is needed"
    return text, words[0].removeprefix(FASTTEXT)


def _trec(line: str) -> tuple[str, ...]:
    found = _TREC.match(line)
    assert found, "all lines were looked at"
    return found[3], found[1], f"{found[1]}:{found[2]}"


def lines(path: Path, wanted: Wanted, task: TaskSpec) -> Table:
    """A text file that is a table: of lines that begin with their labels, or of separated ones."""
    if not task.separator and (form := marked(path, task)):
        return _marked(path, wanted, task, form)
    try:
        return separated(path, wanted, task)
    except NoColumn as error:
        if "looks like a record" in str(error) or task.separator:
            raise
        raise ConfigError(
            f"{visible(path)} holds lines, but what label each has is not said: they begin neither "
            f"with {FASTTEXT}NAME nor with LABEL:sub, and no header names columns. For a file for "
            "each class, give their folder with --data; for columns without a header, name them by "
            "number: --set task.text_column=2 --set task.label_column=1"
        ) from None
