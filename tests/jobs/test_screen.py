"""On the screen nothing that comes from outside has power."""

import io

import pytest
from rich.table import Table

from jobs.screen import Screen, say

EVIL = "\x1b[31mred\x1b[0m\x07-\u202eback-[bold]name[/]-[/]-:six:"
SEEN = r"\x1b[31mred\x1b[0m\x07-\u202eback-[bold]name[/]-[/]-:six:"


def shown(renderable, **how):
    stream = io.StringIO()
    Screen(file=stream, width=200, force_terminal=True, color_system="truecolor").print(
        renderable, **how
    )
    return stream.getvalue()


def test_a_line_is_shown_as_it_is():
    assert shown(EVIL, soft_wrap=True) == f"{SEEN}\n"


@pytest.mark.parametrize("place", ["title", "caption", "heading", "cell"])
def test_a_table_shows_all_of_its_parts(place):
    parts = dict.fromkeys(("title", "caption", "heading", "cell"), "p" * len(SEEN))
    parts[place] = EVIL
    table = Table(title=parts["title"], caption=parts["caption"])
    table.add_column(parts["heading"])
    table.add_row(parts["cell"])
    seen = shown(table)
    assert "\x1b[31m" not in seen
    assert "\u202e" not in seen
    assert SEEN in seen


def test_said_lines_are_shown_too(capsys):
    say("a\x1b[2Jb", "two\nlines")
    assert capsys.readouterr().out == "a\\x1b[2Jb\ntwo\nlines\n"
