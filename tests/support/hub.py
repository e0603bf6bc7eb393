"""A small Hugging Face hub on loopback."""

import hashlib
import json
import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import huggingface_hub.constants
import pytest

from qdllm import models

FIRST, SECOND = "1" * 40, "2" * 40
"""Two commits."""


class Hub:
    """A small Hugging Face hub on loopback: what a branch is, and the files of a commit."""

    def __init__(self) -> None:
        self.commits = {"org/name": {"main": FIRST, "a/tag": SECOND}}
        """Of models and data sets: what branches and tags are."""
        self.files: dict[str, Path] = {}
        self.sent: list[str] = []
        """The files that were asked for."""
        self.asked: list[tuple[str, str | None]] = []
        """What was asked about revisions, each with the token that came with it."""
        self.moves = False
        """Whether a branch goes to the second commit as soon as it has been asked for."""
        self.silent = threading.Event()
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                hub.answer(self)

            do_HEAD = do_GET

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """What a branch is, what files a commit has, and one of them."""
        if self.silent.is_set():
            time.sleep(3)
            return
        status, headers, body = 404, {"X-Error-Code": "EntryNotFound"}, b""
        path = request.path.partition("?")[0].replace("%2F", "/")
        if found := re.fullmatch(r"/api/(?:models|datasets)/(.+?/.+?)/revision/(.+)", path):
            self.asked.append((request.path, request.headers["Authorization"]))
            repository, revision = found[1], found[2]
            commits = self.commits.get(repository)
            missing = "RepoNotFound" if commits is None else "RevisionNotFound"
            headers["X-Error-Code"] = missing
            if commits and revision in (*commits, *commits.values()):
                told = {"id": repository, "sha": commits.get(revision, revision)}
                status, body = 200, json.dumps(told).encode()
                if self.moves and revision in commits:
                    commits[revision] = SECOND
        elif found := re.fullmatch(r"/api/datasets/org/name/tree/(.+)", path):
            self.asked.append((request.path, request.headers["Authorization"]))
            folder = self.files[found[1]]
            listed = [
                {
                    "type": "file",
                    "path": str(file.relative_to(folder)),
                    "size": file.stat().st_size,
                    "oid": hashlib.sha1(file.read_bytes()).hexdigest(),
                }
                for file in sorted(folder.rglob("*"))
                if file.is_file()
            ]
            status, body = 200, json.dumps(listed).encode()
            headers["Content-Type"] = "application/json"
        elif found := re.fullmatch(r"(?:/datasets)?/org/name/resolve/(.+?)/(.+)", path):
            file = self.files.get(found[1], Path("/nowhere")) / unquote(found[2])
            if file.is_file():
                status, body = 200, file.read_bytes()
                self.sent.append(found[2])
                headers = {"X-Repo-Commit": found[1], "ETag": f'"{found[1][:4]}-{file.name}"'}
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        if request.command == "GET":
            request.wfile.write(body)


@contextmanager
def only_hub(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Iterator[Hub]:
    """A hub that this process takes for the only one, and an empty cache in a folder."""
    hub, constants = Hub(), huggingface_hub.constants
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, hub.url)
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    models.commit.cache_clear()
    try:
        yield hub
    finally:
        models.commit.cache_clear()
        hub.server.shutdown()
        hub.server.server_close()


def environment(hub: Hub, folder: Path, **more: str) -> dict[str, str]:
    """For a process that takes it for the only hub, as a user would say so."""
    return os.environ | {"HF_ENDPOINT": hub.url, "HF_HUB_CACHE": str(folder / "cache")} | more
