"""An S3 server of this machine's own (moto's), and what it was asked."""

import importlib.util
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch
from urllib.parse import parse_qs, urlsplit

BUCKET = "scale"
KEYS = {"AWS_ACCESS_KEY_ID": "scale", "AWS_SECRET_ACCESS_KEY": "scale", "AWS_REGION": "us-east-1"}
REQUEST = re.compile(r'"([A-Z]+) (\S+) HTTP')
PATIENCE = 60.0
"""Seconds for which the server may start."""


class Request(NamedTuple):
    """What was asked of which result: `LIST students`, `GET students/0123456789abcdef`."""

    method: str
    kind: str
    name: str = ""


class Log:
    """The requests that a server has answered."""

    def __init__(self, file: Path) -> None:
        self._file, self._read = file, 0

    def new(self) -> Counter[Request]:
        """Those since the last call."""
        with self._file.open() as lines:
            lines.seek(self._read)
            text = lines.read()
            self._read = lines.tell()
        return counted(text)


def counted(text: str) -> Counter[Request]:
    """The requests in a server's log. What is deleted is named in a request's body, not there."""
    found: Counter[Request] = Counter()
    for method, target in REQUEST.findall(text):
        address = urlsplit(target)
        asked = parse_qs(address.query)
        if "list-type" in asked:
            (prefix,) = asked.get("prefix", [""])
            found[Request("LIST", prefix.strip("/").partition("/")[0])] += 1
        else:
            _, _, path = address.path.removeprefix("/").partition("/")
            kind, _, rest = path.partition("/")
            found[Request(method, kind, rest.partition("/")[0])] += 1
    return found


def installed() -> bool:
    """Whether moto's server is here: it comes with the extra `dev`."""
    return all(importlib.util.find_spec(name) for name in ("moto", "flask"))


@contextmanager
def server(folder: Path) -> Iterator[Log]:
    """A server with one empty bucket; the environment names it as long as the block runs."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address, file = f"http://127.0.0.1:{port}", folder / "requests.log"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with (
        file.open("wb") as log,
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log) as process,
        patch.dict(os.environ, {"AWS_ENDPOINT_URL": address, **KEYS}),
    ):
        try:
            _make_bucket(f"{address}/{BUCKET}")
            found = Log(file)
            found.new()
            yield found
        finally:
            process.terminate()


def _make_bucket(url: str) -> None:
    until = time.monotonic() + PATIENCE
    request = urllib.request.Request(url, method="PUT")  # noqa: S310
    while True:
        try:
            urllib.request.urlopen(request, timeout=10).close()  # noqa: S310
            return
        except urllib.error.URLError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)
