"""A Ray cluster of several nodes on this machine, in a process of its own.

The process reads a line for each thing to do, `add NAME CPUS [RESOURCE]` or `kill NAME`, and
answers each with a line. It ends with its input.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

ENVIRONMENT = {
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": "0123456789abcdef" * 2,
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # it keeps Ray on loopback
    "RAY_USAGE_STATS_ENABLED": "0",
}
SILENT = {"include_log_monitor": False}
"""Without a process on each node that sends what its workers print to drivers who want none."""


class Nodes:
    """A head without CPUs, and nodes that come and go."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        """`environment`: what the nodes' processes have beside this process's own."""
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__))],
            env=os.environ | ENVIRONMENT | dict(environment or {}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.address = self._answer()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.communicate()

    @property
    def environment(self) -> dict[str, str]:
        """What a driver needs to join."""
        return ENVIRONMENT | {"RAY_ADDRESS": self.address}

    def add(self, name: str, cpus: int = 0, resource: str = "") -> None:
        """Start a node, and wait until the head knows it. `resource`: one of which it has one."""
        self._do(f"add {name} {cpus} {resource}".strip())

    def kill(self, name: str) -> None:
        """Take a node away, as if its plug were pulled: `head` is one, too."""
        self._do(f"kill {name}")

    def _do(self, line: str) -> None:
        assert self._process.stdin
        print(line, file=self._process.stdin, flush=True)
        assert self._answer() == line

    def _answer(self) -> str:
        assert self._process.stdout
        answer = self._process.stdout.readline().strip()
        assert answer, "the cluster has ended"
        return answer


def main() -> None:
    """Be the process."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0} | SILENT)
    nodes = {"head": cluster.head_node}
    print(cluster.address, flush=True)
    for line in map(str.strip, sys.stdin):
        match line.split():
            case "add", name, cpus, *own:
                resources = dict.fromkeys(own, 1)
                nodes[name] = cluster.add_node(num_cpus=int(cpus), resources=resources, **SILENT)
            case "kill", name:
                cluster.remove_node(nodes.pop(name), allow_graceful=False)
        print(line, flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    main()
