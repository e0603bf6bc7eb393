"""What an operating system or a parser says no to is one ConfigError, with what was given."""

import os

import pytest

from qdllm import outside
from qdllm.errors import ConfigError
from qdllm.messages import LONGEST


def refused(call, *arguments) -> str:
    with pytest.raises(ConfigError) as caught:
        call(*arguments)
    assert len(str(caught.value)) <= LONGEST
    return str(caught.value)


NO_PATHS = {
    "~nobody-of-that-name/x": "there is no user of that name",
    "x" * 300: "File name too long",
    "x/" * 3000: "File name too long",
    "a\0b": "null byte",
    "\ud800": "surrogates not allowed",
    "": "at least one character",
}


@pytest.mark.parametrize("given", NO_PATHS)
def test_what_can_be_no_path_is_told(given):
    for use in (outside.path, outside.read, outside.text):
        message = refused(use, given)
        assert NO_PATHS[given] in message
        assert repr(given)[1:50] in message


def test_a_path_need_not_lead_anywhere(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert outside.path("~/a") == outside.path("a") == tmp_path / "a"


def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name, message in {
        tmp_path / "pipe": "it is no ordinary file",
        "/dev/zero": "it is no ordinary file",
        tmp_path: "it is no file",
        tmp_path / "loop": "symbolic links",
        tmp_path / "nothing": "No such file",
    }.items():
        assert message in refused(outside.read, name)


def test_a_file_is_read_up_to_a_size(tmp_path):
    (tmp_path / "file").write_bytes(b"\xef\xbb\xbf" + b"x" * 7)
    assert outside.text(tmp_path / "file", 10) == "x" * 7
    assert "larger than 9 bytes" in refused(outside.text, tmp_path / "file", 9)
    (tmp_path / "file").write_bytes(b"\xff")
    assert "is not UTF-8" in refused(outside.text, tmp_path / "file")


@pytest.mark.parametrize("value", [None, 1.5, {"a": [1, {"b": "c"}]}, 10**400, []])
def test_json_is_read(value):
    assert outside.parsed(str(value).replace("'", '"').replace("None", "null")) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Expecting value"),
        ("{'a': 1}", "Expecting property name"),
        ('{"a": 1, "b": 2, "a": 1}', "'a' stands twice"),
        ('[{"a": {"b": 1, "b": 2}}]', "'b' stands twice"),
        ("[NaN]", "NaN is no number"),
        ("-Infinity", "-Infinity is no number"),
        (r'["\ud800"]', r"'\ud800' is no text"),
        (r'{"\ud800": 1}', r"'\ud800' is no text"),
        ("[" * 100_000, "more than 20 objects and lists lie in each other"),
        ("[" * 21 + "]" * 21, "more than 20 objects and lists lie in each other"),
        ('{"a":' * 100_000 + "1" + "}" * 100_000, "lie in each other"),
        ("1" * 5000, "digits"),
        (b"\xff", "can't decode byte 0xff"),
    ],
)
def test_what_is_no_json_of_ours_is_told(text, message):
    assert message in refused(outside.parsed, text)
