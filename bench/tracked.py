"""What MLflow costs for each trial, and how long it takes to sort trials by a metric."""

import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil

from jobs.store.record import DataFile, Record
from orchestrator.plan import Trial
from orchestrator.plan.ranking import Result
from orchestrator.tracking import CURVES, ENVIRONMENT
from qdllm.families.quantum import FAMILY, StudentSpec
from qdllm.spec import SCHEMA

FILE, EXPERIMENT, SWEEP = "mlflow.db", "scale", "5" * 16
MEASURES = ("accuracy", "precision", "recall", "f1", "agreement", "calibration_error")
METRIC = "val.accuracy.mean"
PAGE = 100
"""Runs that a page of MLflow's list begins with."""
POINTS = "SELECT (SELECT count(*) FROM metrics) + (SELECT count(*) FROM latest_metrics)"
"""How many rows hold what is measured: all values, and the last one of each."""
SWEEPS_RUN = "SELECT run_uuid FROM tags WHERE key = 'qdllm.id' AND value = 'sweep'"


class Written(NamedTuple):
    """What one trial cost."""

    cpu: float
    """Seconds of the process that writes."""
    bytes: float
    """Of the database."""
    points: float
    """Rows of values."""
    memory: float
    """Resident bytes that the process keeps."""


class Asked(NamedTuple):
    """Seconds that MLflow needs for an answer, with so many trials."""

    trials: int
    stale: float
    """The first page by a metric, while SQLite has not counted its rows since there were fewer."""
    page: float
    """And after a sweep's end, when it has."""
    among: float
    """The same among trials alone, without their seeds."""
    reopened: float
    """All that the next run of the same sweep wants to know."""


def written(home: Path, count: int) -> Written:
    """Write made-up trials by what writes a sweep's own."""
    runs, file = _runs(home), home / FILE
    before, held = _database(file), psutil.Process().memory_info().rss
    began = time.process_time()
    for index in range(count):
        result, curves = trial(index)
        runs.write_trial(result, {"fit.lr": index, "loss.alpha": index % 10}, curves)
    cpu, kept = time.process_time() - began, psutil.Process().memory_info().rss - held
    grown = np.subtract(_database(file), before) / count
    return Written(cpu / count, *grown.tolist(), kept / count)


def multiply(home: Path, times: int) -> None:
    """Have every trial so many times, by copying its rows: writing them would take hours."""
    with closing(sqlite3.connect(home / FILE)) as connection:
        for table in ("runs", "metrics", "latest_metrics", "params", "tags"):
            columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            values = {column: f'"{column}"' for column in columns} | {"run_uuid": "run_uuid || ?1"}
            if table == "tags":
                values["value"] = (
                    "value || CASE WHEN key = 'qdllm.id' OR key = 'mlflow.parentRunId' "
                    f"AND value != ({SWEEPS_RUN}) THEN ?1 ELSE '' END"
                )
            copy = (
                f"INSERT INTO {table} ({', '.join(map(repr, values))}) "  # noqa: S608
                f"SELECT {', '.join(values.values())} FROM {table} "
                f"WHERE length(run_uuid) = 32 AND run_uuid != ({SWEEPS_RUN})"
            )
            for number in range(1, times):
                connection.execute(copy, (f"-{number}",))
        connection.commit()


def asked(home: Path) -> Asked:
    """Ask what a user asks, and then what the next sweep does."""
    runs, client = _runs(home), _client(home)
    number = client.get_experiment_by_name(EXPERIMENT).experiment_id

    def page(condition: str = "") -> float:
        order = [f"metrics.`{METRIC}` DESC"]
        return _seconds(
            lambda: client.search_runs([number], condition, order_by=order, max_results=PAGE)
        )

    page()
    stale = page()
    runs.finish({}, "FINISHED", time.time())
    found = page(), page("tags.`qdllm.kind` = 'trial'"), _seconds(lambda: _runs(home))
    return Asked(len(runs.opened().finished - {"sweep"}), stale, *found)


def _runs(home: Path) -> Any:
    os.environ |= ENVIRONMENT
    from orchestrator.tracking.runs import Runs

    return Runs(f"sqlite:///{home / FILE}", home / "artifacts", EXPERIMENT, SWEEP, {})


def _client(home: Path) -> Any:
    from orchestrator.tracking.backend import connect

    return connect(f"sqlite:///{home / FILE}")


def trial(number: int) -> tuple[Result, dict[str, np.ndarray]]:
    """A finished trial that nobody trained, with the default's seeds and epochs, and its curves."""
    spec = StudentSpec()
    generator = np.random.default_rng(number)
    shape = len(spec.seeds), spec.fit.epochs
    names = ("train.loss", "val.loss", *(f"val.{name}" for name in MEASURES))
    curves = {name: generator.random(shape) for name in names}
    metrics = {name: curve_SE[:, -1].tolist() for name, curve_SE in curves.items()}
    metrics |= {f"test.{name}": generator.random(shape[0]).tolist() for name in MEASURES}
    record = Record(
        schema_version=SCHEMA,
        kind=FAMILY.kind,
        fingerprint=f"{number:016x}",
        spec=spec.model_dump(mode="json"),
        made_from={"features": "f" * 16, "soft_labels": "5" * 16},
        summary={
            "metrics": metrics,
            "parameters": 8579,
            "seconds_per_epoch": 0.25,
            "inference_us": 12.5,
        },
        data=DataFile(name="none.safetensors", sha256="0" * 64, bytes=0),
        created=time.time(),
        seconds=1.5,
        versions={},
    )
    held = Trial(FAMILY.kind, record.fingerprint, spec, dict(record.made_from), True)
    return Result(held, record), {name: curves[name] for name in CURVES}


def _database(file: Path) -> tuple[int, int]:
    """Its bytes and its rows of values."""
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (points,) = connection.execute(POINTS).fetchone()
    return file.stat().st_size, points


def _seconds(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
