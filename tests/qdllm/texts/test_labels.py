"""What counts as one label, what as none, and which of them people will take for each other."""

import pytest
from corpora import pairs, separated, write
from hypothesis import given
from hypothesis import strategies as st

from qdllm.specs import TaskSpec
from qdllm.texts.data import load
from qdllm.texts.labels import MISSING, alike, label, plain

RULES = [
    (1, "1"),
    (1.0, "1"),
    ("1", "1"),
    ("1.0", "1"),
    (" 1.00 ", "1"),
    ("+1", "1"),
    (-1, "-1"),
    (-0.0, "0"),
    ("-0", "0"),
    (0.5, "0.5"),
    ("0.50", "0.5"),
    (1e20, "1" + "0" * 20),
    ("9" * 40, "9" * 40),
    ("007", "007"),
    ("1e3", "1e3"),
    ("1.2.0", "1.2.0"),
    (True, "True"),
    (False, "False"),
    ("true", "true"),
    ("sci\u200b-tech", "sci-tech"),
    ("\ufeffmoney", "money"),
    ("cafe\u0301", "caf\u00e9"),
    ("two\n  words", "two words"),
    ("none", "none"),
    (None, ""),
    (float("nan"), ""),
    ("  ", ""),
    *((word, "") for word in sorted(MISSING)),
]


@pytest.mark.parametrize(("given", "expected"), RULES, ids=lambda value: repr(value)[:20])
def test_the_rule(given, expected):
    assert label(given) == expected


@pytest.mark.parametrize("value", [[], {}, b"x", 1 + 2j])
def test_what_is_no_label(value):
    with pytest.raises(ValueError, match="must be a string or a number"):
        label(value)


@given(st.one_of(st.text(), st.integers(), st.floats(allow_nan=False), st.booleans()))
def test_a_label_is_its_own_label(value):
    once = label(value)
    assert label(once) == once
    assert {"\n", "\r", "\u2028", "\u2029"}.isdisjoint(once)


@given(st.text())
def test_texts_that_are_compared_are_composed_and_plain(text):
    found = plain(text)
    assert plain(found) == found
    assert plain(f" {text}\u200b ") == found


def test_names_that_look_alike_are_found():
    names = ["money", "Money", "m\u043eney", "sci-tech", "sci_tech", "other", "1", "\uff11"]
    assert alike(names) == [
        ["money", "Money", "m\u043eney"],
        ["sci-tech", "sci_tech"],
        ["1", "\uff11"],
    ]


def test_classes_that_differ_in_capitals_are_warned_of(tmp_path):
    rows = [(text, name.title() if n % 2 else name) for n, (text, name) in enumerate(pairs(60))]
    dataset = load(TaskSpec(data=str(write(tmp_path / "t.csv", separated(",", rows)))))
    assert dataset.notes == tuple(
        f"classes '{name.title()}' (30) and '{name}' (30) differ in capitals alone; if they are "
        "one, give them one name"
        for name in ("money", "sport", "tech")
    )
    rows = [(text, f"{name}\u200d" if n % 2 else name) for n, (text, name) in enumerate(pairs(20))]
    dataset = load(TaskSpec(data=str(write(tmp_path / "u.csv", separated(",", rows)))))
    assert dataset.classes == ("money", "sport", "tech")


def test_small_and_lopsided_classes_are_told(tmp_path):
    rows = [(f"a text of number {n}", "many" if n > 5 else "few") for n in range(206)]
    dataset = load(TaskSpec(data=str(write(tmp_path / "t.csv", separated(",", rows)))))
    assert dataset.notes == (
        "few texts in 1 of 2 classes: few 6 (1 in test); whoever always says many is right in 97%",
    )
    even = load(TaskSpec(data=str(write(tmp_path / "u.csv", separated(",", pairs(20))))))
    assert even.notes == ()
