"""A small sweep whose students are really trained, on made-up features and soft labels."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jobs import evaluate, probe, student
from jobs.store import Record, Store
from orchestrator.grid import Grid, specs
from orchestrator.plan import Plan, plan
from orchestrator.report import findings
from qdllm.specs import EvaluationSpec
from qdllm.texts import data
from qdllm.texts.data import Dataset

WIDTH = 5
CLASSES = ("安い", "$dear$", "<script>alert('found')</script>")
"""Names that a font, a formula or a page could stumble over."""
AXES = {"circuit.layers": (1, 2), "loss.alpha": (0, 0.9), "fit.lr": (0.01, 0.1)}
BASE = {
    "circuit": {"qubits": 3},
    "fit": {"epochs": 3, "batch_size": 16},
    "seeds": (0, 1, 2),
}


@dataclass(frozen=True)
class SmallSweep:
    """What the tests look at."""

    definition: Grid
    dataset: Dataset
    plan: Plan
    store: Store
    record: Record
    """The sweep's own."""


def texts(folder: Path) -> Path:
    """Forty texts of each class, as a table."""
    rows = [f'"text {row} of {name}","{name}"' for name in CLASSES for row in range(40)]
    path = folder / "prices.csv"
    path.write_text("\n".join(["text,label", *rows]), encoding="utf-8")
    return path


def sweep(
    folder: Path,
    axes: dict | None = None,
    base: dict | None = None,
    name: str = "small",
    left_out: int = 1,
) -> SmallSweep:
    """Train all trials but the last `left_out`, the references, and evaluate the champion."""
    task = {"task": {"name": str(texts(folder))}}
    definition = Grid(
        name=name,
        description="A small grid",
        base=BASE | (base or {}) | task,
        axes=AXES if axes is None else axes,
    )
    every, store = specs(definition), Store(str(folder / "store"))
    dataset = data.load(every[0].task)
    made = plan(every, dataset, store)
    findings.publish_sweep(store, definition, made, dataset)
    generator = np.random.default_rng(0)
    centre_CH = generator.normal(size=(len(CLASSES), WIDTH))
    known_NC = np.eye(len(CLASSES))[dataset.labels_N]
    for job in made.features:
        noise_NH = generator.normal(size=(len(dataset.texts), WIDTH))
        told = {"width": WIDTH, "texts": len(dataset.texts)}
        publish(store, job, dataset, known_NC @ centre_CH + noise_NH, told)
    for job in made.teachers:
        logits_NC = 2 * known_NC + generator.normal(size=known_NC.shape)
        right_N = logits_NC.argmax(1) == dataset.labels_N
        accuracy = {split: float(part.mean()) for split, part in dataset.by_split(right_N).items()}
        publish(store, job, dataset, logits_NC, {"accuracy": accuracy, "parameters": 1234})
    gathered = {
        tuple(job.made_from.items()): student.gather(store, **job.made_from, dataset=dataset)
        for job in made.probes
    }
    for job in made.probes:
        arrays = gathered[tuple(job.made_from.items())]
        probe.run(job.spec, job.fingerprint, job.made_from, arrays, store, lambda *event: None)
    for trial in made.trials[: len(made.trials) - left_out]:
        arrays = gathered[tuple(trial.made_from.items())]
        student.run(trial.spec, trial.fingerprint, trial.made_from, arrays, store)
    record = store.record("sweeps", made.name)
    assert record is not None
    chosen = findings.findings(store, record).champion
    if chosen:
        evaluate.run(EvaluationSpec(), chosen.trial.fingerprint, dataset, store)
    return SmallSweep(definition, dataset, made, store, record)


def publish(store: Store, job, dataset: Dataset, rows: np.ndarray, summary: dict) -> None:
    """Features or soft labels, a row for each text."""
    store.publish(
        job.kind,
        job.fingerprint,
        tensors=dataset.by_split(rows.astype(np.float32)),
        spec=job.spec.model_dump(mode="json"),
        made_from=job.made_from,
        summary={"rows": dataset.rows} | summary,
        seconds=1.5,
    )
