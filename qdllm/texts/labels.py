"""Labels, and texts where they are compared, by one rule each.

A label is a text. It is taken in Unicode's composed form (NFC), without the characters that nobody
sees, with its white space collapsed. A number is the same however it is written: 1, 1.0 and "1" are
the label `1`, 0.50 is `0.5`; but 007 is a name, not a number. True and False are labels of their
own, apart from 1 and 0. What pandas reads as missing is a missing label.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from decimal import Decimal

from qdllm.visible import JOINERS

MISSING = frozenset(
    (
        "#N/A",
        "#N/A N/A",
        "#NA",
        "-1.#IND",
        "-1.#QNAN",
        "-NaN",
        "-nan",
        "1.#IND",
        "1.#QNAN",
        "<NA>",
        "N/A",
        "NA",
        "NULL",
        "NaN",
        "None",
        "n/a",
        "nan",
        "null",
    )
)
"""Words for a label that is not there."""

_INVISIBLE = re.compile(
    "[\xad\u034f\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff]"
)
_NUMBER = re.compile(r"([+-]?)(0|[1-9]\d*)(?:\.(\d+))?", re.ASCII)
_ALIKE = str.maketrans(
    "авеікмнорстухѕјԁɡӏΑΒΕΖΗΙΚΜΝΟΡΤΥΧαικνορτυχ‐‑‒–—―−_‘’`´“”",
    "abeikmhopctyxsjdglABEZHIKMNOPTYXaikvoptux--------''''\"\"",
)
"""Letters of other alphabets, dashes and quotes that look like these."""


def plain(text: str) -> str:
    """A text as it is compared: composed, without what nobody sees, white space collapsed."""
    if not text.isascii():
        text = _INVISIBLE.sub("", unicodedata.normalize("NFC", text))
    return " ".join(text.split())


def label(value: object) -> str:
    """The label that a value of a table means; an empty text where it means none.

    Raises ValueError for what is neither a text, a number nor a truth value.
    """
    if value is None or value != value:  # NaN is how pandas writes a missing number
        return ""
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, float):
        value = f"{Decimal(repr(value)):f}" if abs(value) < float("inf") else repr(value)
    if not isinstance(value, str | int):
        raise ValueError(refusal(value))
    name = plain(str(value)).strip(JOINERS)
    if name in MISSING:
        return ""
    if number := _NUMBER.fullmatch(name):
        sign, whole, part = number[1], number[2], (number[3] or "").rstrip("0")
        name = f"{whole}.{part}" if part else whole
        return f"-{name}" if sign == "-" and name != "0" else name
    return name


def refusal(value: object) -> str:
    """Why a value is no label."""
    return f"the label is {value!r}, but it must be a string or a number"


def in_order(labels: Iterable[str]) -> tuple[str, ...]:
    """Labels that are all numbers sort by value, others as strings."""
    names = sorted(labels)
    try:
        return tuple(sorted(names, key=float))
    except ValueError:
        return tuple(names)


def alike(names: Sequence[str]) -> list[list[str]]:
    """Groups of names that differ by case alone, or look alike."""
    groups = defaultdict(list)
    for name in names:
        seen = unicodedata.normalize("NFKC", name).translate(_ALIKE).casefold()
        seen = re.sub(f"[{JOINERS}\ufe00-\ufe0f]", "", seen).translate(_ALIKE)
        groups[" ".join(seen.split())].append(name)
    return [group for group in groups.values() if len(group) > 1]
