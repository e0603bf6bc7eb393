"""Whether a sweep that was disturbed is what it would have been: its store, MLflow, its table."""

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bench.bucket import Entry
from jobs import kinds
from jobs.kinds.sweeps import SWEEPS
from jobs.kinds.teachers import CHECKPOINTS, SOFT_LABELS
from jobs.store import Store
from jobs.store.results import RECORD
from orchestrator.tracking import CURVES, ENVIRONMENT

Name = tuple[str, str]
"""A result's kind and fingerprint."""
WRITTEN = re.compile(r"/([\w-]+)/([0-9a-f]{16})/(record\.json|\w+\.safetensors)$")
BEGUN = re.compile(r"^(\S+) ([\w-]+)/([0-9a-f]{16}) begins$", re.MULTILINE)
BESIDE = {SWEEPS.name, CHECKPOINTS.name}
"""Kinds of which nothing is made."""
CLOCKED = ("seconds_per_epoch", "inference_us", "accuracy_per_t_kd")
"""What MLflow has of times, which differ however calm it is."""
ROW = re.compile(r" +(\d+( ★)? |logistic|classical)")


class Verdict(NamedTuple):
    """What is not as it was to be, a line each."""

    lost: list[str]
    twice: list[str]
    other: list[str]

    @property
    def good(self) -> bool:
        """Whether there is nothing."""
        return not any(self)


def results(store: Store) -> dict[Name, Any]:
    """All that the results of a store are, to the bit, but for times."""
    found = {}
    for kind in kinds.kinds().keys() - BESIDE:
        for fingerprint in store.fingerprints(kind):
            record, tensors = store.load(kind, fingerprint)
            bits = {key: np.asarray(value).tobytes() for key, value in tensors.items()}
            summary = {key: record.summary.get(key) for key in ("metrics", "parameters", "rows")}
            found[kind, fingerprint] = record.spec, record.made_from, summary, bits
    return found


def told(uri: str, experiment: str) -> tuple[dict[str, Any], list[str]]:
    """All that MLflow has of an experiment's only sweep, but for times, by each run's own name.

    And the names that more than one run has.
    """
    os.environ |= ENVIRONMENT
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    number = client.get_experiment_by_name(experiment).experiment_id
    runs, token = list[Any](), None
    while token != "":
        page = client.search_runs([number], max_results=1000, page_token=token)
        runs, token = [*runs, *page], page.token or ""
    names = {run.info.run_id: run.data.tags["qdllm.id"] for run in runs}
    found: dict[str, Any] = {
        names[run.info.run_id]: {
            "parent": names.get(run.data.tags.get("mlflow.parentRunId")),
            "name": run.info.run_name,
            "status": run.info.status,
            "params": run.data.params,
            "failure": run.data.tags.get("qdllm.failure"),
            "metrics": {
                key: value for key, value in run.data.metrics.items() if key not in CLOCKED
            },
            "curves": {
                metric: [
                    (point.step, point.value)
                    for point in client.get_metric_history(run.info.run_id, metric)
                ]
                for metric in CURVES
                if run.data.tags["qdllm.kind"] == "seed" and metric in run.data.metrics
            },
            "files": sorted(
                re.sub(r"-[0-9a-f]{16}", "", file.path)
                for file in client.list_artifacts(run.info.run_id)
            ),
        }
        for run in runs
    }
    champion = client.get_model_version_by_alias(f"qdllm-{experiment}", "champion")
    found["champion"] = champion.tags["qdllm.id"]
    return found, [name for name, times in Counter(names.values()).items() if times > 1]


def published(entries: Iterable[Entry]) -> dict[Name, float]:
    """When each result's record was written, in Unix time."""
    return {
        (written[1], written[2]): entry.when
        for entry in entries
        if entry.method == "PUT"
        and (written := WRITTEN.search(entry.path))
        and written[3] == RECORD
        and written[1] not in BESIDE
    }


def twice(entries: Iterable[Entry], logs: Iterable[Path]) -> list[str]:
    """Which results were made again when they were there already.

    Of trials the workers' own logs tell when each was begun; of others it counts that they, or a
    teacher's checkpoints, were written.
    """
    entries = list(entries)
    stood, found = published(entries), []
    for log in logs:
        for when, *name in BEGUN.findall(log.read_text(errors="replace")):
            since = stood.get((name[0], name[1]))
            if since is not None and datetime.fromisoformat(when).timestamp() > since:
                found.append(f"{'/'.join(name)} was begun again at {when}, in {log.name}")
    for entry in entries:
        if entry.method == "PUT" and (written := WRITTEN.search(entry.path)):
            kind, fingerprint, file = written.groups()
            made = SOFT_LABELS.name if kind == CHECKPOINTS.name else kind
            since = stood.get((made, fingerprint))
            if since is not None and entry.when > since and kinds.kind(kind).holds != "trial":
                found.append(f"{kind}/{fingerprint}/{file} was written again")
    return found


def table(output: str) -> list[str]:
    """The rows of the final table without times."""
    rows = output.split("by validation accuracy")[-1].splitlines()
    return [re.sub(r" +\d+\.\d\d *$", "", row).rstrip() for row in rows if ROW.match(row)]


def apart(what: str, found: Mapping[Any, Any], expected: Mapping[Any, Any]) -> list[str]:
    """Where two mappings with the same keys differ."""
    return [
        f"{what} {_named(key)} is another than undisturbed"
        for key in expected.keys() & found.keys()
        if found[key] != expected[key]
    ] + [f"{what} {_named(key)} should not be there" for key in found.keys() - expected.keys()]


def lacking(what: str, found: Mapping[Any, Any], expected: Mapping[Any, Any]) -> list[str]:
    """What is not there."""
    return [f"{what} {_named(key)} is not there" for key in expected.keys() - found.keys()]


def _named(key: Any) -> str:
    return "/".join(key) if isinstance(key, tuple) else str(key)
