"""What a sweep stands on, all on this machine: an S3 server, PostgreSQL and MLflow, a cluster."""

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from bench.victims import Node, Program, free_port, serves

BUCKET, PREFIX = "soak", "sweep"
KEYS = {"AWS_ACCESS_KEY_ID": "soak", "AWS_SECRET_ACCESS_KEY": "soak", "AWS_REGION": "us-east-1"}
NODES = ("one", "two")
"""Nodes with a core each; the head has none."""


class Ground:
    """Its programs by name, in the order in which they are started."""

    def __init__(self, folder: Path, socket_folder: Path) -> None:
        """`socket_folder`: one with a short path, of which sockets may have no more than 107
        characters.
        """
        self.folder = folder
        s3, database, mlflow, ray = (free_port() for _ in range(4))
        self.journal = folder / "journal"
        self.store, self._s3 = f"s3://{BUCKET}/{PREFIX}", f"http://127.0.0.1:{s3}"
        self.tracking, self.address = f"http://127.0.0.1:{mlflow}", f"127.0.0.1:{ray}"
        self.keys = {**KEYS, "AWS_ENDPOINT_URL": self._s3}
        """What whoever opens the store has in its environment."""
        self.environment = os.environ | self.keys | {
            "PYTHONPATH": str(Path(__file__).parents[1]),
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(16),
            "RAY_USAGE_STATS_ENABLED": "0",
        }  # fmt: skip
        self._ray_folder = socket_folder
        bucket = [sys.executable, "-m", "bench.bucket", str(s3), str(self.journal)]
        head = ["--head", f"--port={ray}", f"--temp-dir={socket_folder}"]
        self.programs = {
            "S3 server": self._program("S3 server", bucket, lambda: serves(self._s3)),
            "PostgreSQL": self._postgres(database, socket_folder),
            "MLflow's server": self._mlflow(mlflow, database),
            "head": self._node("head", *head, "--include-dashboard=false", "--num-cpus=0"),
        } | {name: self._node(name, f"--address={self.address}", "--num-cpus=1") for name in NODES}

    @property
    def nodes(self) -> list[Node]:
        """The cluster's, its head first."""
        return [one for one in self.programs.values() if isinstance(one, Node)]

    @property
    def logs(self) -> list[Path]:
        """The output of every worker process that the cluster has had."""
        return sorted(self._ray_folder.glob("session_2*/logs/worker-*.out"))

    def start(self) -> None:
        """Start everything, one after the other."""
        for name, program in self.programs.items():
            program.start()
            program.wait()
            if name == "S3 server":
                request = urllib.request.Request(f"{self._s3}/{BUCKET}", method="PUT")  # noqa: S310
                urllib.request.urlopen(request, timeout=10).close()  # noqa: S310

    def ready(self, name: str) -> bool:
        """Whether what one of the programs needs is there, so that it can be started again."""
        if name == "MLflow's server":
            return self.programs["PostgreSQL"].up()
        # Ray's nodes of one machine that start at the same moment get into each other's way.
        return name not in NODES or all(
            node.up() for node in self.nodes if node.name != name and node.running
        )

    def close(self) -> None:
        """Kill everything."""
        for program in reversed(self.programs.values()):
            program.end()

    def _program(self, name: str, command: list[str], answers: Callable[[], bool]) -> Program:
        log = self.folder / f"{name}.txt"
        return Program(name, command, self.environment, log, answers)

    def _node(self, name: str, *flags: str) -> Node:
        return Node(name, flags, self.environment, self.folder / f"node {name}.txt")

    def _postgres(self, port: int, folder: Path) -> Program:
        programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
        if not programs:
            raise SystemExit("needs PostgreSQL; see `make tools`")
        # The server refuses to run as root.
        other = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        data = folder / "database"
        data.mkdir()
        if other:
            shutil.chown(data, "postgres")
        flags = ["-A", "trust", "-E", "UTF8", "--no-locale", "-N", "-U", "postgres"]
        command = [*other, str(programs[-1] / "initdb"), "-D", str(data), *flags]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=data)
        serve = [*other, str(programs[-1] / "postgres"), "-D", str(data), "-p", str(port)]
        serve += ["-c", "listen_addresses=127.0.0.1", "-k", str(data)]
        ask = [str(programs[-1] / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
        return self._program(
            "PostgreSQL", serve, lambda: subprocess.run(ask, check=False).returncode == 0
        )

    def _mlflow(self, port: int, database: int) -> Program:
        command = [sys.executable, "-m", "mlflow", "server", "--host=127.0.0.1", f"--port={port}"]
        command += ["--workers=1", f"--artifacts-destination={self.folder / 'artifacts'}"]
        command += [f"--backend-store-uri=postgresql://postgres@127.0.0.1:{database}/postgres"]
        return self._program("MLflow's server", command, lambda: serves(f"{self.tracking}/health"))


@contextmanager
def ground(folder: Path) -> Iterator[Ground]:
    """All of it started, as long as the block runs; the environment names the store's server."""
    with tempfile.TemporaryDirectory(
        prefix="soak", dir="/tmp", ignore_cleanup_errors=True
    ) as short:
        # PostgreSQL's user has to get there.
        Path(short).chmod(0o755)
        made = Ground(folder, Path(short))
        try:
            made.start()
            with patch.dict(os.environ, made.keys):
                yield made
        finally:
            made.close()
