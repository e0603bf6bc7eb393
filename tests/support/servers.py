"""Servers in processes of their own, on loopback."""

import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def serving(
    command: Sequence[str], url: str, log: Path, within: float, **environment: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a server, wait until `url` answers, and kill it and all it has started at the end."""
    with log.open("ab") as stream:
        server = subprocess.Popen(
            command,
            env=os.environ | environment,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
            cwd=log.parent,
        )
    try:
        deadline = time.monotonic() + within
        while True:
            try:
                urllib.request.urlopen(url, timeout=1).close()
                break
            except OSError:
                assert server.poll() is None, log.read_text()
                assert time.monotonic() < deadline
                time.sleep(0.1)
        yield server
    finally:
        kill(server)


def kill(server: subprocess.Popen[bytes]) -> None:
    """With -9, and all that it has started; nothing where it has ended."""
    if server.poll() is None:
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()
