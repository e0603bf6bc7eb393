"""What reaches the user, and what goes to the log."""

import subprocess
import sys

import pytest

from orchestrator import console
from orchestrator.console import Terminal, duration

CHATTER = """
import os, pathlib, subprocess, sys
from orchestrator.console import Terminal
with Terminal(pathlib.Path(sys.argv[1])) as terminal:
    print("a library prints")
    os.write(2, b"C++ writes to the descriptor")
    subprocess.run(["echo", "a child speaks"], check=True)
    terminal.print("ours")
print("afterwards")
"""


def test_others_chatter_goes_to_the_log_and_ours_to_the_user(tmp_path):
    log = tmp_path / "logs" / "log"
    done = subprocess.run(
        [sys.executable, "-c", CHATTER, str(log)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "ours\nafterwards\n"
    assert done.stderr == ""
    for chatter in ("a library prints", "C++ writes", "a child speaks"):
        assert chatter in log.read_text()


def test_the_descriptors_are_restored_after_an_error(tmp_path, capfd):
    with pytest.raises(KeyError), Terminal(tmp_path / "log"):
        raise KeyError
    print("heard")
    assert capfd.readouterr().out == "heard\n"


def test_without_a_terminal_a_phase_is_plain_lines(monkeypatch, capfd):
    monkeypatch.setattr(console, "PLAIN_INTERVAL", 0.0)
    with Terminal(None) as terminal, terminal.phase("students", 4) as phase:
        phase.update(1, note="first")
        phase.update(4, note="all")
    lines = capfd.readouterr().out.splitlines()
    assert lines[0].startswith("students     1/4, about")
    assert lines[0].endswith("left  first")
    assert lines[-1].startswith("students ")
    assert lines[-1].endswith("s  all")
    assert "\x1b" not in "".join(lines)


def test_long_text_is_not_broken(capfd):
    with Terminal(None) as terminal:
        terminal.print("word " * 100)
    assert len(capfd.readouterr().out.splitlines()) == 1


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (59.4, "59.4 s"), (245, "4 min 05 s"), (7800, "2 h 10 min")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text
