"""Runs of pytest that are cut off, by Ctrl-C or kill -9: nothing that they started stays."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import leftovers
import psutil
import pytest
from checkout import ROOT
from driven import alive
from hosts import lacking
from waiting import DEADLINE, until

pytestmark = pytest.mark.slow

TEST = """
import os, subprocess, sys, time
from pathlib import Path
from conftest import free_port
from hosts import Hosts, lacking
from servers import serving

HERE, LONG = Path(__file__).parent, "LONG" in os.environ
DAEMON = "import os, sys, time; os.fork() and sys.exit(); os.setsid(); time.sleep(600)"

def test_what_tests_start():
    port = free_port()
    server = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port)]
    with serving(server, f"http://127.0.0.1:{port}", HERE / "log"):
        if reason := lacking():
            print(reason)
        else:
            hosts = Hosts(os.environ["PATH"], HERE)
            hosts.up("one", 1)
            hosts.start("one", "sleep 600")
            (HERE / "link").write_text(hosts.link)
        if LONG:
            subprocess.run([sys.executable, "-c", DAEMON], check=True)
        (HERE / "begun").touch()
        while LONG:
            time.sleep(1)
        if not reason:
            hosts.close()
"""


class Run:
    """A run of that test as `make test` has it, on one of xdist's workers."""

    def __init__(self, folder: Path, **environment: str) -> None:
        (folder / "test_started.py").write_text(TEST)
        paths = (ROOT / "tests", ROOT / "tests" / "support", ROOT)
        shown = {"PYTHONPATH": os.pathsep.join(map(str, paths))}
        command = [sys.executable, "-m", "pytest", "-p", "conftest", "-p", "no:cacheprovider"]
        command += ["--config-file", str(ROOT / "pyproject.toml"), "--numprocesses", "1"]
        self.process = subprocess.Popen(
            [*command, f"--basetemp={folder / 'base'}", str(folder)],
            env=os.environ | shown | environment,
            start_new_session=True,
        )

    def names(self) -> set[str]:
        """Its own, as its variable has it, and its worker's."""
        mine = psutil.Process(self.process.pid)
        return {leftovers.name(one) for one in (mine, *mine.children(recursive=True))}


@pytest.fixture
def begun(tmp_path) -> Iterator[tuple[Run, list[psutil.Process]]]:
    """A run in the middle of its test, and what it has started so far."""
    run = Run(tmp_path, LONG="1")
    until(lambda: run.process.poll() is not None or (tmp_path / "begun").exists())
    assert run.process.returncode is None
    started = list(leftovers.carriers(run.names().__contains__))
    names = [one.name() for one in started]
    # The worker, the server, and a daemon that has left its family; and the hosts', with root.
    assert len(names) >= 3
    if not lacking():
        assert {"sleep", "unshare"} <= set(names)
        assert link(tmp_path)
    yield run, started
    for one in alive(started):
        one.kill()


def link(folder: Path) -> bool:
    """Whether the hosts' link is there."""
    return Path("/sys/class/net", (folder / "link").read_text()).exists()


def see_them_end(started: list[psutil.Process], folder: Path) -> None:
    """They, and their link, to which the kernel comes after its namespace's processes."""
    until(lambda: not alive(started), "some are left")
    until(lambda: lacking() or not link(folder), "the link is left")


def test_a_run_that_is_interrupted_leaves_nothing(begun, tmp_path):
    run, started = begun
    os.killpg(run.process.pid, signal.SIGINT)
    run.process.wait(DEADLINE)
    see_them_end(started, tmp_path)


def test_a_run_that_is_killed_leaves_nothing(begun, tmp_path):
    run, started = begun
    run.process.kill()
    run.process.wait()
    see_them_end(started, tmp_path)


def test_a_run_whose_watchers_are_killed_too_is_ended_by_the_next_one(begun, tmp_path):
    run, started = begun
    for one in psutil.process_iter(["cmdline"]):
        if run.names() & set(one.info["cmdline"] or ()):
            one.kill()
    for one in (*psutil.Process(run.process.pid).children(), run.process):
        one.kill()
    run.process.wait()
    time.sleep(1)
    assert alive(started), "nobody was there to end them"
    assert Run(tmp_path).process.wait(DEADLINE) == 0
    see_them_end(started, tmp_path)
