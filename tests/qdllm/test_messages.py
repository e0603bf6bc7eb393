"""What was given is repeated, and no message is too long to be read."""

import pytest

from qdllm.errors import ConfigError, nearest
from qdllm.messages import LONGEST, several, shown, some, told

GIVEN = ["x" * 10_000, 10**400, 10**5000, 1 << 10**6, [1] * 1000, ["x" * 1000] * 1000, b"\0" * 9999]


@pytest.mark.parametrize("value", GIVEN, ids=lambda value: type(value).__name__)
def test_a_value_is_shown_by_what_it_begins_with(value):
    assert 0 < len(shown(value)) < 450
    if not isinstance(value, int):
        assert shown(value).startswith(repr(value)[:20])


@pytest.mark.parametrize("value", [1, -1.5, "a b", None, True, [1, 2], {"a": {"b": []}}])
def test_a_short_value_is_its_repr(value):
    assert shown(value) == repr(value)


def test_deep_and_looping_values_are_shown():
    loop: list = []
    loop.append(loop)
    assert shown(loop) == "[[[[[...]]]]]"


def test_a_message_keeps_its_beginning_and_its_end():
    message = told("given: " + "x" * 10_000 + " there are: a, b")
    assert message.startswith("given: xxx")
    assert message.endswith("there are: a, b")
    assert len(message) <= LONGEST
    assert str(ConfigError("x" * 10_000)) == told("x" * 10_000)


def test_long_lists_are_cut():
    assert some(map(str, range(100))) == "0, 1, 2, 3, 4, 5, 6, 7, …"
    assert some([]) == "none"
    assert several(["a"] * 3) == "a"
    assert several(map(str, range(1002))).splitlines()[-1] == "and 994 more like these"


def test_a_name_that_is_none_has_no_neighbour():
    assert nearest("x" * 10**6, ["x"]) == ""
