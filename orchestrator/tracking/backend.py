"""MLflow's own end: reach it, translate its errors, keep SQLite quick, and set its pages up."""

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request
from sqlalchemy import create_engine, event
from sqlalchemy.engine import Engine
from sqlalchemy.exc import SQLAlchemyError

from orchestrator.tracking import causes, database
from orchestrator.tracking.process import Refused

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
"""Metrics in that view, from the left: it is sorted by the first, which any window shows.

The page has no metric's column by itself, and puts those it has in the alphabet's order.
"""


def prepare(uri: str) -> str:
    """Have MLflow's tables in a database. Returns what a person should know of it.

    See database.prepare. Raises Away or Refused within seconds.
    """
    with translated():
        return "" if uri.startswith("http") else database.prepare(uri)


def connect(uri: str) -> MlflowClient:
    """A client of a database or server that answers. Raises Away or Refused within seconds."""
    with translated():
        client = MlflowClient(uri)
        client.search_experiments(max_results=1)
    return client


def existing(uri: str) -> MlflowClient | None:
    """A client of what a sweep has set up; None where there is nothing yet. Changes nothing.

    Raises Away or Refused within seconds.
    """
    if not uri.startswith("http"):
        with translated():
            found = database.state(uri)
        if found is database.State.NEW:
            return None
        if found is database.State.OLDER:
            raise Refused(
                "the database is of an older MLflow: begin a sweep with it, which makes a copy "
                "before it migrates it"
            )
    return connect(uri)


def reach(uri: str) -> str:
    """What answers there. Makes nothing, and changes nothing.

    Raises Away or Refused within seconds.
    """
    if not uri.startswith("http"):
        with translated():
            return database.state(uri).value
    connect(uri)
    with translated():
        answer = http_request(get_default_host_creds(uri), "/version", "GET")
    return f"server, version {answer.text}" if answer.ok else "server"


@contextmanager
def translated() -> Iterator[None]:
    """MLflow's errors as Away, where the same call may succeed later, or else as Refused."""
    try:
        yield
    except (ImportError, MlflowException, OSError, SQLAlchemyError, sqlite3.Error) as error:
        raise causes.named(error) from None


def page(experiment: str) -> str:
    """Where the saved view of an experiment's trials is, below MLflow's own address.

    A browser remembers whether its user trains models or looks at language models' traces, and at
    first takes the latter for granted, whatever an experiment's tags say; an address can tell it.
    """
    return f"#/experiments/{experiment}/runs?workflowType=machine_learning&viewStateShareKey={VIEW}"


def opening() -> dict[str, str]:
    """Tags of an experiment that say what it is, and have the saved view of its trials.

    MLflow's page keeps the views that users save in tags of this form.
    """
    columns = [f"metrics.`{name}`" for name in COLUMNS]
    state = {
        "searchFilter": "tags.`qdllm.kind` = 'trial'",
        "orderByKey": columns[0],
        "orderByAsc": False,
        "selectedColumns": columns,
        "columnOrder": columns,
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
