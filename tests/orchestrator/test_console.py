"""What reaches the user, and what goes to the log."""

import contextlib
import os
import pty
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


LIVE = """
import os, pathlib, sys, time
from orchestrator.console import Terminal
with Terminal(pathlib.Path(sys.argv[1])) as terminal:
    with terminal.phase("students", 2) as phase:
        print("a library prints", flush=True)
        print("and complains", file=sys.stderr, flush=True)
        phase.update(1, note="halfway")
        time.sleep(0.5)
"""


def test_on_a_terminal_chatter_stays_in_the_log_beside_a_live_bar(tmp_path):
    log = tmp_path / "log"
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-c", LIVE, str(log)], stdout=theirs, stderr=theirs, check=True
    )
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # Linux ends a closed terminal's stream with an error
        while part := os.read(ours, 65536):
            shown += part
    os.close(ours)
    assert done.returncode == 0
    assert b"1/2" in shown
    assert b"halfway" in shown
    assert b"library" not in shown
    assert b"complains" not in shown
    assert "a library prints\nand complains\n" in log.read_text()


def test_the_descriptors_are_restored_after_an_error(tmp_path, capfd):
    with pytest.raises(KeyError), Terminal(tmp_path / "log"):
        raise KeyError
    print("heard")
    assert capfd.readouterr().out == "heard\n"


def test_without_a_terminal_a_phase_is_plain_lines(monkeypatch, capfd):
    monkeypatch.setattr(console, "PLAIN_INTERVAL", 0.0)
    with Terminal(None) as terminal, terminal.phase("students", 4) as phase:
        phase.update(1, note="first")
        phase.update(2, note="second")
        phase.update(4, note="all")
    lines = capfd.readouterr().out.splitlines()
    assert lines[0] == "students     1/4  first"  # nobody knows yet how long the others take
    assert lines[1].startswith("students     2/4, about")
    assert lines[1].endswith("left  second")
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
