"""Records of trials that nobody trained, and what MLflow makes of them."""

from pathlib import Path

import numpy as np
from mlflow import MlflowClient

from jobs.store import DataFile, Record
from orchestrator.plan import Job
from orchestrator.plan.ranking import Result
from qdllm.families.quantum import StudentSpec

MEASURES = ("accuracy", "precision", "recall", "f1", "agreement", "calibration_error")
CREATED = 1_700_000_000.0
"""Unix time at which the first trial ended; the others follow by the second."""


def trial(
    number: int, seeds: int = 2, epochs: int = 3
) -> tuple[Result, dict[str, int], dict[str, np.ndarray]]:
    """A finished trial: its result, its settings, and its tensors."""
    spec = StudentSpec.parse({"circuit": {"layers": 1 + number}, "seeds": list(range(seeds))})
    generator = np.random.default_rng(number)
    names = ["train.loss", "val.loss", *(f"val.{name}" for name in MEASURES)]
    curves = {name: generator.random((seeds, epochs)) for name in names}
    metrics = {name: curve[:, -1].tolist() for name, curve in curves.items()}
    metrics |= {f"test.{name}": generator.random(seeds).tolist() for name in MEASURES}
    fingerprint = f"{number:016x}"
    record = Record(
        schema_version=1,
        kind="students",
        fingerprint=fingerprint,
        spec=spec.model_dump(mode="json"),
        made_from={"features": "f" * 16, "soft_labels": "5" * 16},
        summary={
            "metrics": metrics,
            "parameters": 8579 + number,
            "seconds_per_epoch": 0.25,
            "inference_us": 12.5,
        },
        data=DataFile(name="none.safetensors", sha256="0" * 64, bytes=0),
        created=CREATED + number,
        seconds=1.5,
        versions={},
    )
    job = Job("students", fingerprint, spec, dict(record.made_from), held=True)
    tensors = curves | {"parameters": np.zeros((seeds, 4), np.float32)}
    return Result(job, record), {"circuit.layers": 1 + number}, tensors


def contents(uri: str, experiment: str = "grid-task") -> dict[str, dict]:
    """All that MLflow holds of an experiment, by qdllm.id and without MLflow's own run ids.

    Fails where two runs have the same one.
    """
    client = MlflowClient(uri)
    number = client.get_experiment_by_name(experiment).experiment_id
    runs, token = [], None
    while token != "":
        page = client.search_runs([number], max_results=1000, page_token=token)
        runs, token = runs + list(page), page.token or ""
    names = {run.info.run_id: run.data.tags["qdllm.id"] for run in runs}
    assert len(set(names.values())) == len(runs), "a run is doubled"
    found = {}
    for run in runs:
        tags = {key: value for key, value in run.data.tags.items() if key.startswith("qdllm")}
        history = {
            metric: [(point.step, point.timestamp, point.value) for point in points]
            for metric in run.data.metrics
            if (points := client.get_metric_history(run.info.run_id, metric))
        }
        found[names[run.info.run_id]] = {
            "parent": names.get(run.data.tags.get("mlflow.parentRunId")),
            "name": run.info.run_name,
            "status": run.info.status,
            "times": (run.info.start_time, run.info.end_time),
            "params": run.data.params,
            "tags": tags,
            "metrics": history,
            "files": sorted(file.path for file in client.list_artifacts(run.info.run_id)),
        }
    return found


def database(template: Path, folder: Path) -> str:
    """The address of a fresh database: a copy, since MLflow takes seconds to make one."""
    (folder / "mlflow.db").write_bytes(template.read_bytes())
    return f"sqlite:///{folder / 'mlflow.db'}"
