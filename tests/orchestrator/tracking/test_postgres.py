"""MLflow's database on a PostgreSQL server."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import psycopg
import pytest
from conftest import free_port
from mlflow import MlflowClient
from openers import SWEEPS, openers
from sweep_records import CREATED, contents, trial

from orchestrator.tracking import CURVES, Tracker, database
from orchestrator.tracking.process import Refused

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """The address of an empty database."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not programs:
        pytest.skip("needs PostgreSQL; see `make tools`")
    # The server refuses to run as root.
    other = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    folder, port = Path(tempfile.mkdtemp()), free_port()
    if other:
        shutil.chown(folder, "postgres")

    def run(program: str, *arguments: str) -> None:
        command = [*other, str(programs[-1] / program), "-D", str(folder / "data"), *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=folder)

    run("initdb", "-A", "trust", "-E", "UTF8", "--no-locale", "-N", "-U", "postgres")
    options = f"-p {port} -c listen_addresses=127.0.0.1 -k {folder}"
    run("pg_ctl", "-w", "-l", str(folder / "log"), "-o", options, "start")
    try:
        yield f"postgresql://postgres@127.0.0.1:{port}/postgres"
    finally:
        run("pg_ctl", "-m", "immediate", "stop")
        shutil.rmtree(folder)


def test_it_holds_what_sqlite_would(postgres, tmp_path):
    sqlite = f"sqlite:///{tmp_path / 'mlflow.db'}"
    for uri in (sqlite, postgres):
        MlflowClient(uri).search_experiments()  # makes the tables
        tracker = Tracker(uri, tmp_path / "artifacts", "grid-task", "5" * 16, {"fit.epochs": "3"})
        tracker.ready()
        for number in range(3):
            result, axes, tensors = trial(number)
            tracker.write_trial(result, axes, {name: tensors[name] for name in CURVES})
        tracker.write_failure("f" * 16, {"circuit.layers": 9}, "it diverged", CREATED)
        tracker.wait()
        tracker.close(None)
    there, here = contents(postgres), contents(sqlite)
    assert len(there) == 1 + 3 * 3 + 1  # the sweep, three trials of two seeds, one that failed
    for held in (there, here):
        held["sweep"].pop("times")  # when it was opened
    assert there == here


@pytest.fixture
def another(postgres) -> str:
    """The address of one more empty database."""
    name = f"made_{next(NUMBERS)}"
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return f"{postgres.rpartition('/')[0]}/{name}"


NUMBERS = count()


def test_several_sweeps_may_begin_at_the_same_moment(another, tmp_path):
    with openers() as open_at_once:
        open_at_once(another, tmp_path / "artifacts")
    client = MlflowClient(another)
    experiment = client.get_experiment_by_name("grid-task").experiment_id
    assert {run.data.tags["qdllm.sweep"] for run in client.search_runs([experiment])} == set(SWEEPS)


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE alembic_version SET version_num = 'acf3f17fdcc7'", "have it backed up, then run"),
        ("UPDATE alembic_version SET version_num = 'ffffffffffff'", "of a newer MLflow than"),
        ("DROP TABLE runs CASCADE", "the database is another program's"),
    ],
)
def test_other_peoples_databases_are_left_alone(another, statement, message):
    database.prepare(another)
    with psycopg.connect(another, autocommit=True) as connection:
        connection.execute(statement)
    with pytest.raises(Refused, match=message):
        database.prepare(another)
