"""Each thing that stands in MLflow's way is told in a sentence of its own, with what to do."""

import http.server
import json
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import free_port

from orchestrator.cluster import checks
from orchestrator.tracking import database

LIBRARIES = (
    "sqlalchemy",
    "sqlite3.",
    "(psycopg",
    "HTTPConnectionPool",
    "sqlalche.me",
    "[SQL",
    "API request",
)


class Answering(http.server.ThreadingHTTPServer):
    """A server that gives everybody the same answer."""

    answer: tuple[int, str]


class Handler(http.server.BaseHTTPRequestHandler):
    server: Answering

    def do_POST(self) -> None:
        status, body = self.server.answer
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        """Not on the terminal."""


@pytest.fixture(scope="module")
def answering() -> Iterator[Answering]:
    with Answering(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def told(uri: str) -> str:
    """What is said of an address that cannot be used."""
    diagnosis = checks.tracking(uri)
    assert not diagnosis.ok
    assert not [word for word in LIBRARIES if word in diagnosis.seen], diagnosis.seen
    return diagnosis.seen.partition(" cannot be used: ")[2]


HOST = "Invalid Host header - possible DNS rebinding attack detected"
MISSING = json.dumps({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "No Run with id=1"})


@pytest.mark.parametrize(
    ("status", "body", "sentence"),
    [
        (
            401,
            "You are not authenticated.",
            "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASS",
        ),
        (403, "Permission denied", "have whoever runs it grant the right to write"),
        (403, HOST, "start it with --allowed-hosts"),
        (404, "<html>no such page</html>", "something else than MLflow answers there"),
        (200, "<html>welcome</html>", "something else than MLflow answers there"),
        (302, "", "something else than MLflow answers there"),
        (503, "", r"it answers with an error \(503\): it may be starting"),
        (500, "<h1>oops</h1>", r"it answers with an error \(500\)"),
        (429, "slow down", r"it answers with an error \(429\)"),
        (404, MISSING, "RESOURCE_DOES_NOT_EXIST: No Run with id=1"),
    ],
)
def test_an_answer_that_is_not_mlflows_is_named(answering, status, body, sentence):
    answering.answer = status, body
    assert sentence.replace("\\", "") in told(f"http://127.0.0.1:{answering.server_port}")


def test_where_nobody_answers_the_address_is_to_be_checked(answering):
    away = "nobody answers there (Connection refused): check the address, and that MLflow runs"
    assert away in told(f"http://127.0.0.1:{free_port()}")
    away = "nobody answers there (Connection refused): check the address, and that the database"
    assert away in told(f"postgresql://me:secret@127.0.0.1:{free_port()}/runs")
    assert "no machine of that name is known" in told("http://nowhere.invalid:5000")
    assert "check http:// and https://" in told(f"https://127.0.0.1:{answering.server_port}")
    assert "leave out what the address has behind a +" in told("postgresql+none://127.0.0.1/runs")
    assert "(No module named 'pg8000'): for PostgreSQL" in told(
        "postgresql+pg8000://localhost/runs"
    )


def test_a_locked_database_is_to_be_closed(tmp_path):
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    database.prepare(uri)
    holder = sqlite3.connect(tmp_path / "mlflow.db", isolation_level=None)
    holder.execute("PRAGMA locking_mode = EXCLUSIVE")
    holder.execute("BEGIN EXCLUSIVE")
    assert (
        told(uri) == "another program has locked the database: close it, or wait until it is done"
    )
    holder.close()


def test_a_file_that_is_no_database_is_named(tmp_path):
    assert "not a database of SQLite's: give another" in told(f"sqlite:///{Path(__file__)}")
    assert "none can be made in" in told(f"sqlite:///{Path(__file__)}/mlflow.db")
