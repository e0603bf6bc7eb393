"""What a soak kills with -9: servers, nodes of a cluster, their workers, a command."""

import ctypes
import os
import random
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import psutil

from bench.clocks import RAYS_OWN

CLUSTERS_OWN = (*RAYS_OWN, "ray::_AutoscalingCoordinatorActor")
"""The titles of processes that Ray keeps for whoever comes next."""
SUBREAPER = 36
"""Linux's number for the wish to be the parent of every orphan below."""
LOOPBACK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""Ray's variable: with a zero Ray keeps to loopback, and wants to have one node only."""
RAY = """
from ray._private import ray_constants
ray_constants.ENABLE_RAY_CLUSTER = True
from ray.scripts.scripts import main
main()
"""
PATIENCE = 300.0
"""Seconds that a program may take until it answers, on a crowded machine."""


class Victim(Protocol):
    """One of those that are killed."""

    def up(self) -> bool:
        """Whether there is something to kill."""
        ...

    def kill(self, moment: random.Random) -> str:
        """Kill it, or one of several. Returns which it was."""
        ...


class Program:
    """A command that is started, and started again. Its output goes to a file."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        log: Path,
        answers: Callable[[], bool] = lambda: True,
    ) -> None:
        """`answers`: whether it does by now what it is there for."""
        self.name, self.log = name, log
        self._command, self._environment, self._answers = command, environment, answers
        self._process: psutil.Popen | None = None
        self._answered = False

    @property
    def running(self) -> bool:
        """Whether it has been started and has not ended."""
        return self._process is not None and self.status is None

    @property
    def status(self) -> int | None:
        """The exit status, or None while it runs."""
        assert self._process is not None, "it has been started"
        status: int | None = self._process.poll()
        return status

    def up(self) -> bool:
        """Whether it runs, and has answered since it was started."""
        self._answered = self.running and (self._answered or self._answers())
        return self._answered

    def start(self) -> None:
        """Start it; `up` tells when it is there."""
        self._answered = False
        with self.log.open("wb") as log:
            self._process = psutil.Popen(
                self._command,
                env=dict(self._environment),
                cwd=self.log.parent,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait(self) -> None:
        """Wait until it answers, and start it again where it ends before.

        On a crowded machine Ray's nodes give up after half a minute. Ends the whole command where
        nothing helps.
        """
        until = time.monotonic() + PATIENCE
        while not self.up():
            if time.monotonic() > until:
                raise SystemExit(f"{self.name} does not start: {self.log.read_text()[-2000:]}")
            if not self.running:
                self.start()
            time.sleep(0.1)

    def processes(self) -> list[psutil.Process]:
        """Itself, and all that it has started, and they in turn."""
        return [self._process, *below(self._process)] if self.running else []

    def kill(self, moment: random.Random) -> str:
        """As Victim has it: with everything below it."""
        self.end()
        return self.name

    def end(self) -> None:
        """Kill it with everything below it."""
        kill(self.processes())
        if self._process is not None:
            self._process.wait()


class Command(Program):
    """One that is killed alone: what it has started has to end by itself."""

    def kill(self, moment: random.Random) -> str:
        """As Victim has it."""
        kill(self.processes()[:1])
        return self.name


class Node(Program):
    """A node of a Ray cluster, as `ray start` makes it."""

    def __init__(
        self, name: str, flags: Sequence[str], environment: Mapping[str, str], log: Path
    ) -> None:
        command = [sys.executable, "-c", RAY, "start", "--block", *flags]
        command += ["--node-ip-address=127.0.0.1", "--object-store-memory=80000000"]
        super().__init__(name, command, {**environment, LOOPBACK: "0"}, log, self._told)

    def up(self) -> bool:
        """As Program does."""
        return bool(super().up() and self._raylets())

    def kill(self, moment: random.Random) -> str:
        """As Victim has it: its raylet, with which the rest of it ends by itself."""
        kill(self._raylets())
        return f"raylet of node {self.name}"

    def workers(self) -> dict[psutil.Process, str]:
        """Its processes that do something for a command, with their titles."""
        titles = {one: title(one) for one in self.processes()}
        return {
            one: title
            for one, title in titles.items()
            if title.startswith("ray::") and not title.startswith(CLUSTERS_OWN)
        }

    def _raylets(self) -> list[psutil.Process]:
        return [one for one in self.processes() if Path(title(one).split(" ")[0]).name == "raylet"]

    def _told(self) -> bool:
        return "Ray runtime started" in self.log.read_text()


class OneOf:
    """One of several that are alike: any that is up."""

    def __init__(self, victims: Sequence[Victim]) -> None:
        self._victims = victims

    def up(self) -> bool:
        """As Victim has it."""
        return any(one.up() for one in self._victims)

    def kill(self, moment: random.Random) -> str:
        """As Victim has it."""
        return moment.choice([one for one in self._victims if one.up()]).kill(moment)


class Workers:
    """All processes of some nodes that do something: one of them."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self._nodes = nodes

    def up(self) -> bool:
        """As Victim has it."""
        return any(node.workers() for node in self._nodes)

    def kill(self, moment: random.Random) -> str:
        """As Victim has it."""
        workers = {one: title for node in self._nodes for one, title in node.workers().items()}
        if not workers:
            return "one that had just ended"
        chosen = moment.choice(sorted(workers, key=lambda one: one.pid))
        kill([chosen])
        return workers[chosen]


def adopt() -> None:
    """Be the parent of every process below this one whose own parent ends."""
    ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)


def orphans(programs: Sequence[Program]) -> list[psutil.Process]:
    """What runs below this process, but for some programs with all that is theirs.

    Those that have ended are let go, for which PostgreSQL waits before it starts again.
    """
    known = {one.pid for program in programs for one in program.processes()}
    found = []
    for one in psutil.Process().children():
        if one.pid in known:
            continue
        with suppress(psutil.NoSuchProcess, ChildProcessError):
            if one.status() == psutil.STATUS_ZOMBIE:
                os.waitpid(one.pid, os.WNOHANG)
            else:
                found += [one, *below(one)]
    return found


def below(process: psutil.Process) -> list[psutil.Process]:
    """All that a process has started, and they in turn."""
    with suppress(psutil.NoSuchProcess):
        found: list[psutil.Process] = process.children(recursive=True)
        return found
    return []


def kill(processes: Sequence[psutil.Process]) -> None:
    """With -9, in this order."""
    for one in processes:
        with suppress(psutil.NoSuchProcess):
            one.kill()


def title(process: psutil.Process) -> str:
    """What a list of processes shows of it; nothing where it has ended."""
    with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
        return " ".join(process.cmdline()).strip()
    return ""


def free_port() -> int:
    """A port of loopback on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def serves(url: str) -> bool:
    """Whether a server answers there."""
    with suppress(OSError):
        urllib.request.urlopen(url, timeout=1).close()  # noqa: S310
        return True
    return False
