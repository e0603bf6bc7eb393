"""Servers in processes of their own, on loopback."""

import os
import signal
import subprocess
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from waiting import until


@contextmanager
def serving(
    command: Sequence[str], url: str, log: Path, **environment: str
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
        until(lambda: server.poll() is not None or _answers(url))
        assert server.returncode is None, log.read_text()
        yield server
    finally:
        kill(server)


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=10).close()
    except OSError:
        return False
    return True


def kill(server: subprocess.Popen[bytes]) -> None:
    """With -9, and all that it has started; nothing where it has ended."""
    if server.poll() is None:
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()
