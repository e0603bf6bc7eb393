"""One sweep's runs in MLflow: sweep run → trial runs → seed runs. Lives in the writing process.

Runs are found again by the tag `qdllm.id`, written with timestamps taken from their records, and
left alone once they stand there finished. So each method may be called twice and changes nothing
the second time, even where the first call broke off in the middle.
"""

import json
import math
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from jobs.store import Record
from orchestrator.plan.ranking import Result
from orchestrator.tracking import models
from orchestrator.tracking.backend import analyze, connect, opening, page, prepare, translated
from orchestrator.tracking.process import Away
from qdllm.errors import ConfigError
from qdllm.intervals import interval
from qdllm.visible import visible

SWEEP = "sweep"
"""The sweep run's own `qdllm.id`; a trial's is its fingerprint, a seed's <fingerprint>/<seed>."""
REFERENCE = "reference"
"""The `qdllm.kind` of a trial that stands beside the sweep's, which are of kind `trial`."""
FAILURE = "qdllm.failure"
"""Tag with the reason of a trial that failed."""
REASON_LENGTH = 5000
"""Characters of that reason; MLflow takes 8,000."""
NAME_LENGTH = 250
"""Characters of a run's name, MLflow's own limit."""
PARENT = "mlflow.parentRunId"
ALREADY = "RESOURCE_ALREADY_EXISTS"
PER_CALL = 1000
"""Metrics that one log_batch takes and runs that one search gives, MLflow's own limits."""


class Run(NamedTuple):
    """What has to be known of a run that MLflow holds."""

    id: str
    status: str
    began: int
    tags: Mapping[str, str]
    params: Mapping[str, str]
    """Those that stand there, which MLflow lets nobody change."""


class Opened(NamedTuple):
    """What stands in MLflow as a sweep begins."""

    finished: frozenset[str]
    """The fingerprints of the trials that stand there whole."""
    page: str
    """Where their table is, below MLflow's own address."""
    note: str
    """What a person should know of the database, or nothing."""


class Runs:
    """Writes one sweep's runs. Every method raises Away or Refused where MLflow does."""

    def __init__(
        self, uri: str, artifacts: Path, experiment: str, sweep: str, params: Mapping[str, str]
    ) -> None:
        """Make database, experiment and sweep run where they are missing.

        `sweep`: the sweep's fingerprint; `params`: the settings that all its trials share.
        Raises ConfigError for an experiment that was deleted.
        """
        self._uri, self._sweep = uri, sweep
        self._note = prepare(uri)
        self._client = connect(uri)
        with translated():
            # A server knows best where its artifacts belong; a database has no such location.
            location = None if uri.startswith("http") else artifacts.as_uri()
            self._experiment = self._named(experiment, location)
            self._runs: dict[str, Run] = {}
            self._runs |= self._find("tags.`qdllm.kind` != 'seed'")
            self._begun: set[str] = set()
            self._again = False
            self._run = self._take(SWEEP, f"{experiment} {sweep}", "sweep", None, None)
            if self._runs[SWEEP].status != "FINISHED":
                self._log(self._run, params=self._new(SWEEP, params))
                self._client.update_run(self._run, "RUNNING")
            for name in self._runs.keys() - {SWEEP}:
                # Their sweep's run may have been deleted, by a user or as one of two.
                self._take(name, "", self._runs[name].tags["qdllm.kind"], self._run, None)

    def opened(self) -> Opened:
        """What stands there."""
        whole = (name for name, run in self._runs.items() if run.status == "FINISHED")
        return Opened(frozenset(whole), page(self._experiment), self._note)

    def write_trial(
        self,
        result: Result,
        axes: Mapping[str, Any],
        curves: Mapping[str, np.ndarray],
        reference: bool = False,
    ) -> None:
        """The trial's run and its seeds' runs. `curves`: one value per seed and epoch."""
        trial, record = result.trial, result.record
        end = round(record.created * 1000)
        began = end - round(record.seconds * 1000)
        with translated():
            run = self._trial(trial.fingerprint, axes, began, reference)
            if self._runs[trial.fingerprint].status == "FINISHED":
                return
            for index, seed in enumerate(trial.spec.seeds):
                name = f"{trial.fingerprint}/{seed}"
                child = self._take(name, f"seed {seed}", "seed", run, began)
                if self._runs[name].status != "FINISHED":
                    measured = {
                        metric: curves[metric][index]
                        if metric in curves
                        else [result.by_seed(metric)[index]]
                        for metric in record.summary["metrics"]
                    }
                    self._log(child, _points(measured, end), {"seed": seed})
                    self._end(name, "FINISHED", end)
            summary = {name: [value] for name, value in summarised(record).items()}
            self._log(run, _points(summary, end), self._new(trial.fingerprint, axes))
            spec = trial.spec.model_dump(mode="json")
            self._artifact(run, "spec.json", json.dumps(spec, indent=1).encode())
            if FAILURE in self._runs[trial.fingerprint].tags:
                self._client.delete_tag(run, FAILURE)
            self._end(trial.fingerprint, "FINISHED", end)

    def write_failure(
        self,
        fingerprint: str,
        axes: Mapping[str, Any],
        reason: str,
        when: float,
        reference: bool = False,
    ) -> None:
        """The run of a trial that failed, with its reason. `when`: Unix time in seconds."""
        end = round(when * 1000)
        with translated():
            run = self._trial(fingerprint, axes, end, reference)
            told = {FAILURE: reason[:REASON_LENGTH]}
            self._log(run, params=self._new(fingerprint, axes), tags=told)
            self._end(fingerprint, "FAILED", end)

    def write_file(self, name: str, content: bytes) -> None:
        """An artifact of the sweep's run; `name` may have folders."""
        with translated():
            self._artifact(self._run, name, content)

    def register(self, name: str, folder: Path, tags: Mapping[str, str]) -> str:
        """See models.register."""
        with translated():
            return models.register(
                self._client, self._uri, self._experiment, self._run, name, folder, tags
            )

    def finish(self, metrics: Mapping[str, float], status: str, when: float) -> None:
        """The sweep's own figures and its end; one that stands there with them is left alone."""
        end = round(when * 1000)
        with translated():
            if self._again:
                # What a server was asked before it went away may have been done after all.
                self._runs |= self._find()
            held = self._client.get_run(self._run).data.metrics
            # A search that goes on has found more since it ended.
            other = any(held.get(name) != value for name, value in metrics.items())
            if other or self._runs[SWEEP].status != "FINISHED":
                self._log(self._run, _points({name: [v] for name, v in metrics.items()}, end))
                self._end(SWEEP, status, end)
        analyze(self._uri)

    def _named(self, experiment: str, location: str | None) -> str:
        """The experiment's id, once it is made where it is missing."""
        existing = self._client.get_experiment_by_name(experiment)
        if existing is None:
            try:
                return str(self._client.create_experiment(experiment, location, tags=opening()))
            except MlflowException as error:
                if error.error_code != ALREADY:
                    raise
                # Another sweep of its name has begun at the same moment.
                existing = self._client.get_experiment_by_name(experiment)
        if existing.lifecycle_stage != "active":
            raise ConfigError(
                f"MLflow's experiment {experiment!r} is deleted; restore it (mlflow experiments "
                f"restore -x {existing.experiment_id}), or choose another --home"
            )
        for key, value in opening().items():
            if key not in existing.tags:
                self._client.set_experiment_tag(existing.experiment_id, key, value)
        return str(existing.experiment_id)

    def _find(self, condition: str = "") -> dict[str, Run]:
        """The sweep's runs by qdllm.id. Of two with the same one, one is deleted."""
        terms = [f"tags.`qdllm.sweep` = '{self._sweep}'", *filter(None, [condition])]
        entries: list[Any] = []
        token = None
        while token != "":
            page = self._client.search_runs(
                [self._experiment], " AND ".join(terms), max_results=PER_CALL, page_token=token
            )
            entries += page
            token = page.token or ""
        runs: dict[str, Run] = {}
        for entry in entries:
            name, run = entry.data.tags["qdllm.id"], _run(entry)
            if name in runs:
                run, surplus = sorted((runs[name], run), key=self._rank)
                self._client.delete_run(surplus.id)
            runs[name] = run
        return runs

    def _rank(self, run: Run) -> tuple[bool, bool, int]:
        """The first of two runs with one identity is the one to keep."""
        known = self._runs.get(run.tags["qdllm.id"])
        return run.status != "FINISHED", known is None or known.id != run.id, run.began

    def _trial(self, fingerprint: str, axes: Mapping[str, Any], began: int, reference: bool) -> str:
        if fingerprint in self._begun or fingerprint in self._runs:
            self._again = self._again or fingerprint in self._begun
            self._runs |= self._find(f"tags.`qdllm.id` LIKE '{fingerprint}%'")
        self._begun.add(fingerprint)
        name = " ".join(f"{key.rpartition('.')[2]}={value}" for key, value in axes.items())
        name = visible(name)[:NAME_LENGTH] or fingerprint
        kind = REFERENCE if reference else "trial"
        return self._take(fingerprint, name, kind, self._run, began)

    def _take(
        self, identity: str, name: str, kind: str, parent: str | None, began: int | None
    ) -> str:
        """Take over the run, or create it. Returns its MLflow id."""
        known = self._runs.get(identity)
        tags = {"qdllm.id": identity, "qdllm.sweep": self._sweep, "qdllm.kind": kind}
        if parent:
            tags[PARENT] = parent
        if known is None:
            known = _run(self._client.create_run(self._experiment, began, tags, name))
            self._runs[identity] = known
        elif known.tags.get(PARENT) != parent:
            self._log(known.id, tags=tags)
        return known.id

    def _new(self, identity: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """The params that a run lacks: one that changes no result, such as where a model lies, may
        be another than when the run began."""
        held = self._runs[identity].params
        return {key: value for key, value in params.items() if key not in held}

    def _log(
        self,
        run: str,
        points: Iterable[Metric] = (),
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        finite = [point for point in points if math.isfinite(point.value)]
        self._client.log_batch(
            run,
            finite,
            [Param(key, visible(value)) for key, value in (params or {}).items()],
            [RunTag(key, visible(value)) for key, value in (tags or {}).items()],
        )

    def _end(self, identity: str, status: str, end: int) -> None:
        run = self._runs[identity]
        self._client.set_terminated(run.id, status, end)
        self._runs[identity] = run._replace(status=status)

    def _artifact(self, run: str, name: str, content: bytes) -> None:
        try:
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder, name)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
                self._client.log_artifacts(run, folder)
        except (MlflowException, OSError):
            raise
        except Exception as error:
            # Where artifacts go to a bucket, its client has errors of its own.
            raise Away(f"{type(error).__name__}: {error}") from None


def _run(entry: Any) -> Run:
    info, data = entry.info, entry.data
    return Run(info.run_id, info.status, info.start_time, data.tags, data.params)


def summarised(record: Record) -> dict[str, float]:
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


def _points(values: Mapping[str, Iterable[float]], end: int) -> Iterator[Metric]:
    """Each metric's values at steps counted from 1: a curve over epochs, or a single value."""
    for name, course in values.items():
        for step, value in enumerate(course, start=1):
            yield Metric(name, float(value), end, step)
