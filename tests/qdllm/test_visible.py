"""What comes from outside is shown as one line of characters that can be seen."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qdllm.errors import ConfigError, StoreError
from qdllm.messages import some
from qdllm.visible import visible, visible_lines


@pytest.mark.parametrize(
    ("raw", "seen"),
    [
        ("\x1b[31mred\x1b[0m\x07", r"\x1b[31mred\x1b[0m\x07"),
        ("abc\u202egpj.exe", r"abc\u202egpj.exe"),
        ("two\r\nlines", r"two\r\nlines"),
        ("\u2028", r"\u2028"),
        ("\x9b31m", r"\x9b31m"),
        ("安い café हिन्दी 👩\u200d💻", "安い café हिन्दी 👩\u200d💻"),
    ],
)
def test_letters_stay_and_the_rest_is_escaped(raw, seen):
    assert visible(raw) == seen


@given(st.text())
def test_nothing_that_a_terminal_obeys_gets_through(text):
    seen = visible(text)
    assert visible(seen) == seen
    assert all(letter.isprintable() or letter in "\u200c\u200d" for letter in seen)
    assert visible_lines(f"{text}\nb").endswith("\nb")


@pytest.mark.parametrize("error", [ConfigError, StoreError])
def test_errors_show_what_they_repeat(error):
    raised = pickle.loads(pickle.dumps(error("class '\x1b[2J'\nand more")))
    assert str(raised) == "class '\\x1b[2J'\nand more"


def test_a_long_list_is_cut():
    assert some("abcdefghij") == "a, b, c, d, e, f, g, h, …"
    assert some([]) == "none"
