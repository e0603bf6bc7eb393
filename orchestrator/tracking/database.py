"""A database that this version of MLflow can use: made whole, and never changed in silence.

Left alone, MLflow migrates what it is pointed at, and two processes that meet at a new file get in
each other's way.
"""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from enum import Enum
from pathlib import Path
from typing import NamedTuple

import mlflow
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from filelock import FileLock
from mlflow.exceptions import MlflowException
from mlflow.store.db.utils import _initialize_tables, _upgrade_db
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.engine import Engine
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from orchestrator.tracking.causes import line
from orchestrator.tracking.process import Refused

SQLITE = "sqlite:///"
TABLES = {"experiments", "metrics", "params", "runs", "tags"}
"""Those that every version of MLflow has."""
REVISION = "alembic_version"
"""The table in which a migration writes down how far it came; other programs have one too."""
VERSION = f"SELECT version_num FROM {REVISION}"  # noqa: S608  nothing of it comes from elsewhere
ADVISORY = {"postgresql": "SELECT pg_advisory_lock(7102005)"}
"""How a server lets one at a time; a connection that ends lets go."""
PATIENCE = 20.0
"""Seconds that a copy waits for whoever holds a database, as MLflow does."""


class State(Enum):
    """What a database is to this version of MLflow."""

    NEW = "a new database"
    READY = "a database"
    OLDER = "a database of an older MLflow, of which a sweep makes a copy before it migrates it"


class Found(NamedTuple):
    """What stands in a database."""

    tables: frozenset[str]
    revision: str
    """Of its schema; empty where no migration has run, or has come to an end."""


def state(uri: str) -> State:
    """What a database is. Changes nothing there.

    Raises Refused for one of a newer MLflow, and for another program's.
    """
    found = _look(uri)
    if found.tables <= {REVISION} and not found.revision:
        return State.NEW
    if not found.tables >= TABLES:
        some = ", ".join(sorted(found.tables)[:3])
        raise Refused(
            f"the database is another program's (it has the tables {some}): give MLflow one of its "
            "own with --tracking"
        )
    scripts = ScriptDirectory(str(Path(mlflow.__file__).parent / "store" / "db_migrations"))
    if found.revision == scripts.get_current_head():
        return State.READY
    if found.revision not in {"", *(script.revision for script in scripts.walk_revisions())}:
        raise Refused(
            f"the database is of a newer MLflow than {mlflow.__version__}, which is installed here "
            f"(its schema is {found.revision}): install that version, or give another database "
            "with --tracking"
        )
    return State.OLDER


def prepare(uri: str) -> str:
    """Have the tables there that this MLflow wants. Returns what a person should know of it.

    A file of an older MLflow is migrated, after a copy of it was made beside it. Several processes
    may call this at once, and may be killed at any moment: what they leave is whole.
    Raises Refused where `state` does, and for an older database on a server.
    """
    if state(uri) is State.READY:
        return ""
    with _alone(uri):
        found = state(uri)
        if found is State.READY:  # another process was faster
            return ""
        if uri.startswith(SQLITE):
            path = _file(uri)
            return _migrate(path) if found is State.OLDER else _make(path)
        if found is State.OLDER:
            raise Refused(
                "the database is of an older MLflow: have it backed up, then run `mlflow db "
                "upgrade` with its address, or give another with --tracking"
            )
        with _engine(uri) as engine:
            _initialize_tables(engine)
    return ""


def _file(uri: str) -> Path:
    return Path(uri.removeprefix(SQLITE).partition("?")[0])


def _look(uri: str) -> Found:
    if uri.startswith(SQLITE):
        path = _file(uri)
        if not path.exists():
            folder = next(above for above in path.parents if above.exists())
            if not (folder.is_dir() and os.access(folder, os.W_OK)):
                raise Refused(f"there is no such file, and none can be made in {folder}")
            return Found(frozenset(), "")
        # Not as MLflow opens it, which makes a file, or changes one's journal.
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True)) as file:
            rows = file.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            names = frozenset(name for (name,) in rows)
            rows = file.execute(VERSION).fetchall() if REVISION in names else []
    else:
        with _engine(uri) as engine, engine.connect() as connection:
            names = frozenset(inspect(connection).get_table_names())
            rows = [*connection.execute(text(VERSION))] if REVISION in names else []
    return Found(names, "".join(name for (name,) in rows))


@contextmanager
def _alone(uri: str) -> Iterator[None]:
    """While the block runs, no other process is in it for the same database."""
    if uri.startswith(SQLITE):
        path = Path(f"{_file(uri)}-lock")
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path):
            try:
                yield
            finally:
                path.unlink()  # whoever waits for it sees that, and makes another
        return
    with _engine(uri) as engine, engine.connect() as connection:
        if lock := ADVISORY.get(engine.dialect.name):
            connection.execute(text(lock))
        yield


@contextmanager
def _engine(uri: str) -> Iterator[Engine]:
    """Without connections that stay."""
    try:
        engine = create_engine(uri)
    except NoSuchModuleError:
        raise
    except (ArgumentError, ValueError):
        raise Refused("this is no address of a database: check user, host and port") from None
    try:
        yield engine
    finally:
        engine.dispose()


def _make(path: Path) -> str:
    """Returns nothing that a person should know."""
    with _aside(path) as aside:
        with _engine(f"{SQLITE}{aside}") as engine:
            _initialize_tables(engine)
        _copy(aside, path)
    return ""


def _migrate(path: Path) -> str:
    """Returns where the file is kept as it was, in a sentence."""
    revision = _look(f"{SQLITE}{path}").revision or "old"
    kept = path.with_name(f"{path.stem}-{revision}{path.suffix}")
    with _aside(path) as aside:
        _copy(path, aside)
        if not kept.exists():
            aside.rename(kept)
            _copy(path, aside)
        with _engine(f"{SQLITE}{aside}") as engine:
            try:
                _upgrade_db(engine)
            except (CommandError, MlflowException, SQLAlchemyError) as error:
                raise Refused(
                    f"the database is of an older MLflow and cannot be migrated ({line(error)}), "
                    "so it is left as it was: give another with --tracking"
                ) from None
        _copy(aside, path)
    return f"{path} was of an older MLflow and is migrated; as it was, it is kept in {kept}"


@contextmanager
def _aside(path: Path) -> Iterator[Path]:
    """A place to make a file that then appears at one stroke: who is killed leaves half of one."""

    def clear() -> None:
        for ending in ("", "-journal", "-shm", "-wal"):
            Path(f"{aside}{ending}").unlink(missing_ok=True)

    aside = path.with_name(f"{path.name}-new")
    clear()
    try:
        yield aside
    finally:
        clear()


def _copy(source: Path, target: Path) -> None:
    """All at once: what is read there meanwhile is the one or the other."""
    until = time.monotonic() + PATIENCE

    def wait(status: int, remaining: int, total: int) -> None:
        if status in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) and time.monotonic() > until:
            raise sqlite3.OperationalError("database is locked")

    with closing(sqlite3.connect(source)) as here, closing(sqlite3.connect(target)) as there:
        here.backup(there, progress=wait)
