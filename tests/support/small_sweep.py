"""A small sweep whose students are really trained, on made-up features and soft labels."""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jobs import kinds, trial, words
from jobs.inputs import gather
from jobs.kinds import Job
from jobs.kinds.features import FEATURES
from jobs.kinds.job import Sources
from jobs.kinds.sweeps import SWEEPS
from jobs.kinds.teachers import SHORT, SOFT_LABELS
from jobs.kinds.words import WORDS
from jobs.store import Record, Store
from orchestrator.grid import Grid, specs
from orchestrator.plan import History, Listed, Plan, Trial, plan
from orchestrator.report import findings, sweeps
from orchestrator.report.evaluations import agreements, of_champion, under_noise
from orchestrator.report.findings import Findings
from qdllm import families
from qdllm.specs import TrialSpec
from qdllm.texts import data
from qdllm.texts.data import Dataset

WIDTH = 5
CLASSES = ("安い\x1b[7m", "$dear$", "<script>alert('found')</script>")
"""Names that a font, a formula, a page or a terminal could stumble over."""
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

    @property
    def history(self) -> History:
        """The store, nothing of it read yet."""
        return History(self.store)

    @property
    def found(self) -> Findings:
        """What a report would gather now."""
        return findings.findings(self.history, self.record)

    @property
    def trials(self) -> tuple[Trial, ...]:
        """What was asked for."""
        assert isinstance(self.plan.sweep, Listed)
        return self.plan.sweep.trials

    @property
    def references(self) -> tuple[Trial, ...]:
        """What stands beside it."""
        assert isinstance(self.plan.sweep, Listed)
        return self.plan.sweep.references


def sources(made: Plan, kind: str) -> list[Job]:
    """What a plan's trials are made from, of one kind."""
    return [job for job in made.sources if job.kind == kind]


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
    champion: dict | None = None,
    evaluations: Sequence[str] | None = None,
) -> SmallSweep:
    """Train all trials but the last `left_out`, the references, and evaluate the champion."""
    task = {"task": {"name": str(texts(folder))}}
    definition = Grid(
        name=name,
        description="A small grid",
        base=BASE | (base or {}) | task,
        axes=AXES if axes is None else axes,
        **({"champion": champion} if champion else {}),
        **({"evaluations": evaluations} if evaluations else {}),
    )
    every, store = specs(definition), Store(str(folder / "store"))
    dataset = data.load(every[0].task)
    made = plan(
        every,
        dataset,
        store,
        champion=definition.champion.families,
        evaluations=definition.asked_evaluations,
    )
    sweeps.publish_sweep(store, definition, made, dataset)
    generator = np.random.default_rng(0)
    centre_CH = generator.normal(size=(len(CLASSES), WIDTH))
    known_NC = np.eye(len(CLASSES))[dataset.labels_N]
    for job in sources(made, FEATURES.name):
        noise_NH = generator.normal(size=(len(dataset.texts), WIDTH))
        told = {"width": WIDTH, "texts": len(dataset.texts)}
        publish(store, job, dataset, known_NC @ centre_CH + noise_NH, told)
    for job in sources(made, SOFT_LABELS.name):
        logits_NC = 2 * known_NC + generator.normal(size=known_NC.shape)
        right_N = logits_NC.argmax(1) == dataset.labels_N
        metrics = {
            f"{SHORT[split]}.accuracy": float(part.mean())
            for split, part in dataset.by_split(right_N).items()
        }
        publish(store, job, dataset, logits_NC, {"metrics": metrics, "parameters": 1234})
    for job in sources(made, WORDS.name):
        words.run(job, dataset, store)
    record = store.record(SWEEPS.name, made.name)
    assert record is not None
    small = SmallSweep(definition, dataset, made, store, record)
    arrays: dict[Sources, dict[str, np.ndarray]] = {}
    for job in (*small.references, *small.trials[: len(small.trials) - left_out]):
        if job.sources not in arrays:
            arrays[job.sources] = gather(store, job.made_from, dataset)
        trial.train(job, arrays[job.sources], store)
    found = small.found
    for job in (*under_noise(record, found.order), *agreements(found.families)):
        importlib.import_module(kinds.kind(job.kind).maker).run(job, dataset, store)
    chosen = small.found.champion
    for job in of_champion(record, chosen) if chosen else ():
        importlib.import_module(kinds.kind(job.kind).maker).run(job, dataset, store)
    return small


def made_up(
    folder: Path,
    axes: dict,
    accuracy: Callable[[TrialSpec], float],
    seeds: Sequence[int] = (0, 1, 2),
    champion: dict | None = None,
) -> SmallSweep:
    """A sweep with records that say what `accuracy(spec)` says, give or take a point."""
    chosen = {"champion": champion} if champion else {}
    definition = Grid(name="made-up", axes=axes, base={"seeds": seeds}, **chosen)
    every = specs(definition)
    dataset, store = data.load(every[0].task), Store(str(folder / "store"))
    made = plan(every, dataset, store, champion=definition.champion.families)
    sweeps.publish_sweep(store, definition, made, dataset)
    record = store.record(SWEEPS.name, made.name)
    assert record is not None
    small = SmallSweep(definition, dataset, made, store, record)
    for job in small.trials:
        epochs = families.of(job.spec).epochs(job.spec)
        values = [accuracy(job.spec) + 0.01 * (seed - 1) for seed in range(len(job.spec.seeds))]
        circuit = getattr(job.spec, "circuit", None)
        curve_SE = np.tile(np.array(values)[:, None], (1, epochs))
        store.publish(
            job.kind,
            job.fingerprint,
            tensors={"val.accuracy": curve_SE, "train.loss": 1 / curve_SE},
            spec=job.spec.model_dump(mode="json"),
            made_from=job.made_from,
            summary={
                "metrics": {"val.accuracy": values, "test.accuracy": values},
                "parameters": 1000 * circuit.layers if circuit else 500,
                "seconds_per_epoch": 0.25,
                "inference_us": 12.5,
            },
            seconds=1.0,
        )
    return small


def publish(store: Store, job: Job, dataset: Dataset, rows: np.ndarray, summary: dict) -> None:
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
