"""Databases that MLflow is pointed at: new ones, old ones, other people's."""

import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest
from alembic import command
from mlflow import MlflowClient
from mlflow.store.db.utils import _get_alembic_config
from mlflow.store.tracking.dbmodels.initial_models import Base
from openers import SWEEPS, openers
from sqlalchemy import create_engine
from sweep_records import contents, trial

from orchestrator.cluster import checks
from orchestrator.tracking import CURVES, Tracker, database
from orchestrator.tracking.database import State
from orchestrator.tracking.process import Refused
from qdllm.errors import ConfigError

OLD = "acf3f17fdcc7"
"""The schema of MLflow 1.30."""
RUN = "0123456789abcdef0123456789abcdef"


def old(path: Path, revision: str = OLD) -> Path:
    """A database as an older MLflow left it, with a run in it."""
    uri = f"sqlite:///{path}"
    engine = create_engine(uri)
    Base.metadata.create_all(engine)
    engine.dispose()
    command.upgrade(_get_alembic_config(uri), revision)
    with closing(sqlite3.connect(path)) as file:
        file.execute(
            "INSERT INTO experiments VALUES (0, 'Default', '/tmp/artifacts', 'active', 1, 1)"
        )
        file.execute(
            "INSERT INTO runs (run_uuid, name, source_type, user_id, status, start_time, "
            "lifecycle_stage, experiment_id) "
            "VALUES (?, 'an old run', 'LOCAL', 'somebody', 'FINISHED', 1, 'active', 0)",
            [RUN],
        )
        file.execute("INSERT INTO params VALUES ('lr', '0.1', ?)", [RUN])
        file.commit()
        file.execute("PRAGMA journal_mode = DELETE")
    return path


def newer(path: Path) -> Path:
    database.prepare(f"sqlite:///{path}")
    with closing(sqlite3.connect(path)) as file:
        file.execute("UPDATE alembic_version SET version_num = 'ffffffffffff'")
        file.commit()
        file.execute("PRAGMA journal_mode = DELETE")
    return path


def music(path: Path, *statements: str) -> Path:
    with closing(sqlite3.connect(path)) as file:
        for statement in ("CREATE TABLE artists (name TEXT)", *statements):
            file.execute(statement)
        file.commit()
    return path


VERSIONED = (
    "CREATE TABLE alembic_version (version_num TEXT)",
    "INSERT INTO alembic_version VALUES ('v3.2.0.a')",
)


def music_with_migrations(path: Path) -> Path:
    return music(path, *VERSIONED)


def music_to_come(path: Path) -> Path:
    return music(path, *VERSIONED, "DROP TABLE artists")


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (newer, r"newer MLflow than \d+\.\d+\.\d+.*schema is ffffffffffff.*install that version"),
        (music, r"another program's \(it has the tables artists\).*one of its own with --tracking"),
        (music_with_migrations, "another program's"),
        (music_to_come, "another program's"),
    ],
)
def test_what_is_not_ours_is_refused_and_left_as_it_is(tmp_path, make, message):
    path = make(tmp_path / "mlflow.db")
    before, uri = files(tmp_path), f"sqlite:///{path}"
    tracker = Tracker(uri, tmp_path / "artifacts", "grid-task", "5" * 16, {}, alone=True)
    with pytest.raises(ConfigError, match=message):
        tracker.ready()
    tracker.close(None)
    assert not checks.tracking(uri).ok
    assert files(tmp_path) == before


def test_an_older_database_is_copied_then_migrated_and_that_is_said(tmp_path):
    path = old(tmp_path / "mlflow.db")
    before, uri = path.read_bytes(), f"sqlite:///{path}"
    assert checks.tracking(uri) == checks.Diagnosis("MLflow", True, State.OLDER.value)
    assert files(tmp_path) == {"mlflow.db": before}
    tracker = Tracker(uri, tmp_path / "artifacts", "grid-task", "5" * 16, {}, alone=True)
    copy = tmp_path / f"mlflow-{OLD}.db"
    note = tracker.ready()
    assert note == f"{path} was of an older MLflow and is migrated; as it was, it is kept in {copy}"
    result, axes, tensors = trial(0)
    tracker.write_trial(result, axes, {name: tensors[name] for name in CURVES})
    tracker.wait()
    tracker.close(None)
    assert result.trial.fingerprint in contents(uri)
    run = MlflowClient(uri).get_run(RUN)
    assert run.info.run_name == "an old run"
    assert run.data.params == {"lr": "0.1"}
    with closing(sqlite3.connect(copy)) as kept:
        assert kept.execute("SELECT version_num FROM alembic_version").fetchall() == [(OLD,)]
        assert kept.execute("SELECT name FROM runs").fetchall() == [("an old run",)]
    assert database.prepare(uri) == ""


class Broken(BaseException):
    """What stands for a kill -9 in the middle."""


@pytest.mark.parametrize("make", [lambda path: path, old], ids=["new", "old"])
def test_a_migration_that_is_killed_leaves_what_was_there(tmp_path, monkeypatch, make):
    path = make(tmp_path / "mlflow.db")
    uri, before = f"sqlite:///{path}", path.read_bytes() if path.exists() else None
    steps = ("_copy", "_initialize_tables", "_upgrade_db")

    def break_off(at: int) -> int:
        """Break off before the step of that number. Returns how many were taken."""
        taken = 0

        def breaking(original: Callable[..., None]) -> Callable[..., None]:
            def step(*arguments: object) -> None:
                nonlocal taken
                taken += 1
                if taken == at:
                    raise Broken
                original(*arguments)

            return step

        with monkeypatch.context() as patch, suppress(Broken):
            for name in steps:
                patch.setattr(database, name, breaking(getattr(database, name)))
            database.prepare(uri)
        return taken

    at = 1
    while break_off(at) == at:
        assert (path.read_bytes() if path.exists() else None) == before
        at += 1
    assert at > 2
    assert database.state(uri) is State.READY
    kept = {f"mlflow-{OLD}.db"} if before else set()
    assert set(files(tmp_path)) == {"mlflow.db"} | kept


def test_an_old_database_that_cannot_be_migrated_is_left_as_it_was(tmp_path):
    path = old(tmp_path / "mlflow.db")
    with closing(sqlite3.connect(path)) as file:
        file.execute("CREATE TABLE logged_models (of_mine TEXT)")
        file.commit()
    before = path.read_bytes()
    with pytest.raises(Refused, match=r"cannot be migrated \(table logged_models already exists\)"):
        database.prepare(f"sqlite:///{path}")
    assert path.read_bytes() == before


def sweeps_in(uri: str) -> set[str]:
    """The fingerprints of the sweeps that have a run there."""
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("grid-task").experiment_id
    return {run.data.tags["qdllm.sweep"] for run in client.search_runs([experiment])}


@pytest.mark.slow
def test_several_sweeps_may_begin_at_the_same_moment(tmp_path):
    with openers() as open_at_once:
        for number, make in enumerate((lambda path: path, old) * 2):
            folder = tmp_path / str(number)
            folder.mkdir()
            uri = f"sqlite:///{make(folder / 'mlflow.db')}"
            open_at_once(uri, folder / "artifacts")
            assert sweeps_in(uri) == set(SWEEPS)
