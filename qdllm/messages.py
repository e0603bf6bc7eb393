"""How a message repeats what was given: not too long, visible, and without secrets."""

import reprlib
from collections.abc import Iterable

from qdllm.addresses import without_secrets
from qdllm.visible import visible, visible_lines

LONGEST = 1900
"""Characters of a message: what is longer nobody reads, and may be a file that came as a value."""
MOST = 200
"""Of one thing that was given."""
NAMED = 8
"""Things that a message lists of what may be many."""


class _Shown(reprlib.Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxother = 4, MOST, MOST
        self.maxlist = self.maxtuple = self.maxdict = NAMED

    def repr_int(self, x: int, level: int) -> str:
        # Python itself writes no more than 4,300 digits.
        return cut(repr(x) if x.bit_length() < 10_000 else hex(x))


_SHOWN = _Shown()


def shown(value: object) -> str:
    """What was given: its repr, or what of a long one tells which it is."""
    return cut(_SHOWN.repr(value), 2 * MOST)


def cut(text: str, most: int = MOST) -> str:
    """A text, or the beginning of a long one."""
    return text if len(text) <= most else f"{text[:most]}…"


def some(names: Iterable[object]) -> str:
    """The first names of what may be a long list."""
    told = [cut(visible(name)) for name in names]
    return ", ".join([*told[:NAMED], *["…"] * (len(told) > NAMED)]) or "none"


def several(lines: Iterable[str]) -> str:
    """The first of what may be many problems, a line for each."""
    lines = list(dict.fromkeys(lines))
    more = len(lines) - NAMED
    return "\n".join([*lines[:NAMED], *[f"and {more:,} more like these"] * (more > 0)])


def told(message: str) -> str:
    """A message as anybody may read it."""
    text = visible_lines(without_secrets(message))
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 400]} … {text[-390:]}"
