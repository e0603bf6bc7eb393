"""Machines of a Ray cluster as `ray start` makes them, side by side on this one.

Each has an environment of its own and, if it wants, a mount namespace, in which a folder may be
another one; so what differs between real machines can differ here.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psutil
from checkout import ROOT
from conftest import free_port
from waiting import DEADLINE, until

TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef0123456789abcdef"}
ENVIRONMENT = TOKEN | {"RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": str(ROOT)}

LOOK = """
import json, sys, time
from ray._raylet import GcsClient
until = time.monotonic() + 300
while True:
    try:
        client = GcsClient(address=sys.argv[1])
        break
    except Exception:
        if time.monotonic() > until:
            raise
for line in sys.stdin:
    nodes = client.get_all_node_info().values()
    alive = [node.node_id.hex() for node in nodes if node.state == 0]
    print(json.dumps({"alive": alive, "draining": client.get_draining_nodes()}), flush=True)
"""
"""Looks whenever it is sent a line; a process of its own, since Ray reads its token but once."""


class Machines:
    """A cluster's processes. `address` is its head's."""

    def __init__(self, folder: str) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        self.environment = os.environ | ENVIRONMENT
        for name in ("RAY_ADDRESS", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"):
            self.environment.pop(name, None)
        self._folder, self._started = folder, list[subprocess.Popen[bytes]]()
        self._looking: subprocess.Popen[str] | None = None

    def head(self, *flags: str, environment: Mapping[str, str | None] | None = None) -> None:
        """Start the head; it has no CPU."""
        port = self.address.rpartition(":")[2]
        where = ["--head", f"--port={port}", f"--temp-dir={self._folder}"]
        self._start([*where, "--include-dashboard=false", *flags], {"head": 1}, environment, [])

    def node(
        self,
        resources: Mapping[str, float],
        environment: Mapping[str, str | None] | None = None,
        inside: list[str] | None = None,
    ) -> None:
        """Start another one. `environment`: what differs there; None for what is not set.

        `inside`: a command that runs the one that follows it.
        """
        self._start([f"--address={self.address}"], resources, environment, inside or [])

    def draining(self) -> dict[str, int]:
        """Deadlines in Unix milliseconds, by node."""
        deadlines: dict[str, int] = self._look()["draining"]
        return deadlines

    def alive(self) -> list[str]:
        """The nodes' ids."""
        ids: list[str] = self._look()["alive"]
        return ids

    def _look(self) -> dict[str, Any]:
        if self._looking is None:
            self._looking = subprocess.Popen(
                [sys.executable, "-c", LOOK, self.address],
                env=self.environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        assert self._looking.stdin
        assert self._looking.stdout
        print(file=self._looking.stdin, flush=True)
        found: dict[str, Any] = json.loads(self._looking.stdout.readline())
        return found

    def close(self) -> None:
        """End all of them, and whatever they have started."""
        below = [psutil.Process(one.pid) for one in self._started if one.poll() is None]
        below += [child for one in below for child in one.children(recursive=True)]
        for one in reversed(below):
            try:
                one.kill()
            except psutil.NoSuchProcess:
                continue
        for process in self._started:
            process.wait(DEADLINE)
        if self._looking:
            self._looking.kill()
            self._looking.communicate()

    def _start(
        self,
        flags: list[str],
        resources: Mapping[str, float],
        environment: Mapping[str, str | None] | None,
        inside: list[str],
    ) -> None:
        own = {name: amount for name, amount in resources.items() if name not in ("CPU", "GPU")}
        command = [*inside, sys.executable, "-m", "ray.scripts.scripts", "start", "--block"]
        command += [*flags, "--node-ip-address=127.0.0.1", f"--resources={json.dumps(own)}"]
        command += ["--include-log-monitor=false"]  # nobody wants what it sends
        command += [f"--num-cpus={resources.get('CPU', 0)}", "--object-store-memory=80000000"]
        command += [f"--num-gpus={resources['GPU']}"] if "GPU" in resources else []
        mine = self.environment | dict(environment or {})
        self._started.append(
            subprocess.Popen(
                command,
                env={name: value for name, value in mine.items() if value is not None},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        )
        # Nodes of one machine that start at the same moment get into each other's way.
        until(lambda: len(self.alive()) >= len(self._started), "a node has not started")


@contextmanager
def machines() -> Iterator[Machines]:
    """An empty cluster, whose processes end with the block."""
    # A socket's path may have no more than 107 characters, which rules pytest's folders out.
    folder = tempfile.mkdtemp(prefix="ray")
    cluster = Machines(folder)
    try:
        yield cluster
    finally:
        cluster.close()
        shutil.rmtree(folder, ignore_errors=True)
