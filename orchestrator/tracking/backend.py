"""MLflow's own end: reach it, translate its errors, keep SQLite quick, and set its pages up."""

import json
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request
from sqlalchemy import create_engine, event
from sqlalchemy.engine import Engine
from sqlalchemy.exc import SQLAlchemyError

from orchestrator.tracking.process import Away, Refused

TOO_MANY_REQUESTS = 429
VIEW = "trials"
"""The saved view, as its menu and the end of its address name it."""
COLUMNS = (
    "val.accuracy.mean",
    "val.accuracy.ci95",
    "test.accuracy.mean",
    "test.accuracy.ci95",
    "parameters",
    "seconds_per_epoch",
)
"""Metrics in that view. The page has no metric's column by itself, even if it is sorted by one."""


def connect(uri: str) -> MlflowClient:
    """A client of a database or server that answers. Raises Away or Refused within seconds."""
    with translated():
        if not uri.startswith("http"):
            _open(uri)
        client = MlflowClient(uri)
        client.search_experiments(max_results=1)
    return client


def reach(uri: str) -> str:
    """What answers there. Makes nothing, where `connect` makes a database's tables.

    Raises Away or Refused within seconds.
    """
    if uri.startswith("http"):
        connect(uri)
        with translated():
            answer = http_request(get_default_host_creds(uri), "/version", "GET")
        return f"server, version {answer.text}" if answer.ok else "server"
    path = Path(uri.removeprefix("sqlite:///"))
    if uri.startswith("sqlite") and not path.exists():
        folder = next(above for above in path.parents if above.exists())
        if not os.access(folder, os.W_OK):
            raise Refused(f"there is no such file, and none can be made in {folder}")
        return "a new file"
    with translated():
        _open(uri)
    return "a database"


def _open(uri: str) -> None:
    # MLflow itself tries a database ten times, which takes it a hundred seconds.
    try:
        engine = create_engine(uri)
    except (ImportError, ValueError) as error:
        raise Refused(_reason(error)) from None
    with engine.connect():
        pass
    engine.dispose()


@contextmanager
def translated() -> Iterator[None]:
    """MLflow's errors as Away, where the same call may succeed later, or else as Refused."""
    try:
        yield
    except MlflowException as error:
        status = error.get_http_status_code()
        ours = 400 <= status < 500 and status != TOO_MANY_REQUESTS
        raise (Refused if ours else Away)(_reason(error)) from None
    except (OSError, SQLAlchemyError, sqlite3.Error) as error:
        raise Away(_reason(error)) from None


def opening() -> dict[str, str]:
    """Tags of an experiment whose page opens on training runs, with a saved view of the trials.

    MLflow's own start is language models' traces. Its page keeps the views that users save in tags
    of this form.
    """
    state = {
        "searchFilter": "tags.`qdllm.kind` = 'trial'",
        "orderByKey": f"metrics.`{COLUMNS[0]}`",
        "orderByAsc": False,
        "selectedColumns": [f"metrics.`{name}`" for name in COLUMNS],
    }
    view = {"name": VIEW, "createdAt": round(time.time() * 1000), "state": json.dumps(state)}
    return {
        "mlflow.experimentKind": "custom_model_development",
        f"mlflow.sharedViewState.{VIEW}": json.dumps(view),
    }


def analyze(uri: str) -> None:
    """Let SQLite count its rows: without that it sorts runs by a metric in quadratic time."""
    if uri.startswith("sqlite"):
        engine = create_engine(uri)
        with translated(), engine.begin() as connection:
            connection.exec_driver_sql("ANALYZE")
        engine.dispose()


@event.listens_for(Engine, "connect")
def _quicken(connection: Any, _: Any) -> None:
    """Write-ahead logging: readers do not block the writer, and a commit waits for no disk.

    Losing power can cost the last commits, which the next run writes again from the store, but
    does not damage the database.
    """
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
