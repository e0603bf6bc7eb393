"""`python -m bench.bucket PORT JOURNAL`: moto's S3 server, whose state outlives a kill.

Moto keeps everything in memory. Here each request that changed something stands in a journal
before it is answered, and a server that starts makes the journal's requests again.
"""

import json
import re
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

UPLOAD = re.compile(rb"<UploadId>(\w+)</UploadId>")


class Entry(NamedTuple):
    """A request that changed something."""

    when: float
    """Unix time of its answer."""
    environ: dict[str, str]
    """What WSGI says of it."""
    upload: str
    """The number of the upload in parts that it began, or else nothing."""
    size: int
    """Bytes of its body."""

    @property
    def method(self) -> str:
        """PUT, POST or DELETE."""
        return self.environ["REQUEST_METHOD"]

    @property
    def path(self) -> str:
        """/bucket/key."""
        return self.environ["PATH_INFO"]


class Journal:
    """What a server has written down so far, for whoever looks at it from beside."""

    def __init__(self, file: Path) -> None:
        self._file, self._read = file, 0

    def new(self) -> list[Entry]:
        """The requests since the last call."""
        found = []
        with self._file.open("rb") as file:
            file.seek(self._read)
            for entry, _ in entries(file):
                found.append(entry)
                self._read = file.tell()
        return found


def entries(file: BinaryIO) -> Iterator[tuple[Entry, bytes]]:
    """A journal's requests with their bodies, from the file's position on.

    A last one that was cut off in the middle was not answered, and does not count.
    """
    while (line := file.readline()).endswith(b"\n"):
        entry = Entry(*json.loads(line))
        body = file.read(entry.size)
        if len(body) < entry.size:
            return
        yield entry, body


class Journaled:
    """The server as a WSGI application, with a journal before it."""

    def __init__(self, application: Callable[..., Iterable[bytes]], journal: Path) -> None:
        """Make the journal's requests again."""
        self._application, self._lock = application, threading.Lock()
        self._uploads: dict[str, str] = {}
        """The numbers that uploads in parts have now, by those that their clients know."""
        journal.touch()
        whole = 0
        with journal.open("rb") as file:
            for entry, body in entries(file):
                answer = self._answer(entry.environ, body)
                if entry.upload:
                    self._uploads[entry.upload] = _upload(answer.data)
                whole = file.tell()
        self._journal = journal.open("r+b", buffering=0)
        self._journal.truncate(whole)
        self._journal.seek(whole)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer a request; those that change something one after the other."""
        from werkzeug import Request

        if environ["REQUEST_METHOD"] in ("GET", "HEAD"):
            return self._answer(environ, b"")(environ, start_response)
        body = Request(environ).get_data()
        with self._lock:
            answer = self._answer(environ, body)
            if answer.status_code < 300:
                texts = {key: each for key, each in environ.items() if isinstance(each, str)}
                entry = Entry(time.time(), texts, _upload(answer.data), len(body))
                self._journal.write(json.dumps(entry).encode() + b"\n" + body)
        return answer(environ, start_response)

    def _answer(self, environ: dict[str, Any], body: bytes) -> Any:
        from werkzeug import Response

        query = environ["QUERY_STRING"]
        for known, now in self._uploads.items():
            query = query.replace(known, now)
        whole = environ | {"QUERY_STRING": query, "wsgi.input": BytesIO(body)}
        return Response.from_app(self._application, whole, buffered=True)


def _upload(answer: bytes) -> str:
    found = UPLOAD.search(answer)
    return found[1].decode() if found else ""


def main() -> None:
    from moto.moto_server.werkzeug_app import (
        DomainDispatcherApplication,
        MotoRequestHandler,
        create_backend_app,
    )
    from werkzeug.serving import run_simple

    _, port, journal = sys.argv
    server = Journaled(DomainDispatcherApplication(create_backend_app), Path(journal))
    run_simple("127.0.0.1", int(port), server, threaded=True, request_handler=MotoRequestHandler)


if __name__ == "__main__":
    main()
