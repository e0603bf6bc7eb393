"""`python -m bench.sweep [--quick]`: what the orchestration adds to the trials, and where it goes.

Runs the real command on a store that holds features and soft labels (made-up ones, which cost a
student what others do): many trials of a tenth of a second, a few of seconds, and last the plan of
a large grid.
"""

import argparse
import importlib.metadata
import os
import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.clocks import Recording
from bench.planning import Seconds, arguments, command, planning
from bench.timeline import Timeline
from jobs.kinds.features import FEATURES
from jobs.store import Store
from orchestrator import grid
from orchestrator.grid import Grid
from orchestrator.plan import Job, plan
from qdllm.families.quantum import FAMILY
from qdllm.texts import data
from qdllm.texts.data import Dataset

PACKAGES = ("ray", "mlflow", "torch")
WIDTH = 768
"""Of the made-up features: as many as the built-in grids' encoder gives."""
OURS = ("trials", "driver", "Ray", "MLflow's writer")
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

console = Console(width=110)


@dataclass(frozen=True)
class Sizes:
    """How much is run."""

    short: int = 1000
    long: int = 20
    long_epochs: int = 10
    planned: int = 10_000


QUICK = Sizes(short=100, long=6, long_epochs=2, planned=1000)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.sweep", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of it, in a minute or two")
    sizes = QUICK if parser.parse_args().quick else Sizes()
    console.print(heading(PACKAGES))
    with TemporaryDirectory() as folder:
        run(sizes, Path(folder))


def heading(packages: Iterable[str]) -> str:
    """What a reader needs to know to compare figures."""
    versions = (f"{name} {importlib.metadata.version(name)}" for name in packages)
    return f"{CORES} cores, Python {platform.python_version()}, {', '.join(versions)}"


def run(sizes: Sizes, home: Path) -> None:
    """Measure everything in a folder, and print it as it comes."""
    short = Grid(
        name="short",
        base={"circuit": {"qubits": 6, "layers": 1}, "fit": {"epochs": 6, "batch_size": 64}},
        axes={"fit.lr": _values(0.001, 0.05, sizes.short)},
    )
    long = Grid(
        name="long",
        base={"circuit.layers": 11, "fit.epochs": sizes.long_epochs},
        axes={"fit.lr": _values(0.001, 0.05, sizes.long)},
    )
    large = Grid(
        name="large",
        axes={
            "circuit.layers": list(range(1, 11)),
            "loss.alpha": _values(0.1, 1, 10),
            "fit.lr": _values(0.001, 0.05, sizes.planned // 100),
        },
    )
    warm(home, short)
    for definition in (short, long):
        found, timeline = traced(home, definition)
        _show(f"{definition.name}: seconds until the first trial starts", start(found, timeline))
        _show(
            f"{definition.name}: {len(timeline.trials)} trials, {CORES} at once",
            course(found, timeline),
        )
    _show_plans(sizes.planned, planning(home, large))


def warm(home: Path, definition: Grid) -> None:
    """Publish made-up features and soft labels for a grid."""
    specs, store = grid.specs(definition), Store(str(home / "store"))
    dataset = data.load(specs[0].task)
    planned = plan(specs, dataset, store)
    known_NC = np.eye(len(dataset.classes))[dataset.labels_N]
    features_NH = np.random.default_rng(0).normal(size=(len(known_NC), WIDTH))
    for source in planned.sources:
        if source.kind == FEATURES.name:
            summary = {"width": WIDTH, "texts": len(known_NC)}
            _publish(store, source, dataset, features_NH, summary)
        else:
            metrics = {"val.accuracy": 1.0, "test.accuracy": 1.0}
            _publish(store, source, dataset, 4 * known_NC, {"metrics": metrics, "parameters": 0})


def traced(home: Path, definition: Grid) -> tuple[Recording, Timeline]:
    """Run the command on a grid: what the clocks recorded, and when each trial ran."""
    file, store = home / f"{definition.name}.json", Store(str(home / "store"))
    before = store.fingerprints(FAMILY.kind)
    command("bench.traced", str(file), *arguments(home, definition))
    found = Recording(file)
    names = store.fingerprints(FAMILY.kind) - before
    return found, Timeline.read(store, names, found.spans, min(CORES, len(names)))


def start(found: Recording, timeline: Timeline) -> dict[str, str]:
    """Where the time goes from the command to the first trial's start."""
    imported, opened, ray = (found.span(name) for name in ("imports", "open", "ray"))
    gathered, worker = found.span("gather"), found.started("trials")
    steps = {
        "the interpreter, and the command's imports": imported.seconds,
        "grid, texts, plan": opened.began - imported.ended,
        f"MLflow opens; beside it Ray starts ({ray.seconds:.1f})": opened.seconds,
        "the teachers' records; Tune is imported": gathered.began - opened.ended,
        "features and soft labels are read": gathered.seconds,
        "Tune, until a worker's process starts": worker - gathered.ended,
        "that worker's imports": timeline.began - worker,
        "all of it": timeline.began - imported.began,
    }
    used = found.cpu(imported.began, timeline.began)
    rows = {step: f"{seconds:.1f}" for step, seconds in steps.items()}
    return rows | {f"CPU seconds until then: {role}": f"{used[role]:.1f}" for role in OURS}


def course(found: Recording, timeline: Timeline) -> dict[str, str]:
    """From the first trial's start to the last one's end, and until MLflow has everything."""
    count, written = len(timeline.trials), found.span("writer").ended
    used = found.cpu(timeline.began, timeline.ended)
    beside = sum(used[role] for role in OURS if role != "MLflow's writer") / count
    return (
        {
            "a trial's own seconds, median": f"{timeline.own:.3f}",
            "from the first start to the last end, s": f"{timeline.wall:.1f}",
            "what the trials' own seconds make on all places, s": f"{timeline.ideal:.1f}",
            "overhead": f"{timeline.wall / timeline.ideal - 1:.1%}",
        }
        | {f"  {part}": f"{share:.1%}" for part, share in timeline.parts().items()}
        | {"trials a second": f"{count / timeline.wall:.1f}"}
        | {f"  CPU ms a trial: {role}": f"{used[role] / count * 1e3:.0f}" for role in OURS}
        | {
            "  what cores that do nothing else could finish a second, without the writer": (
                f"{CORES / beside:.1f}"
            ),
            "  of the cores, other programs took": (
                f"{used['others'] / timeline.wall / CORES:.0%}"
            ),
            "MLflow's writer after the last end, s": f"{written - timeline.ended:.1f}",
        }
    )


def _show(title: str, rows: Mapping[str, str]) -> None:
    table = Table(title=title, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for row in rows.items():
        table.add_row(*row)
    console.print(table, f"load average of the last minute {os.getloadavg()[0]:.1f}")


def _show_plans(trials: int, results: Mapping[str, Seconds]) -> None:
    table = Table(title=f"the plan of {trials:,} trials, s")
    for heading in ("", "specs, CPU", "plan, CPU", "--dry-run, CPU", "--dry-run, wall"):
        table.add_column(heading, justify="right" if heading else "left")
    for label, seconds in results.items():
        table.add_row(label, *(f"{each:.2f}" for each in seconds))
    console.print(table, f"load average of the last minute {os.getloadavg()[0]:.1f}")


def _publish(
    store: Store, job: Job[Any], dataset: Dataset, rows: np.ndarray, summary: Mapping[str, Any]
) -> None:
    store.publish(
        job.kind,
        job.fingerprint,
        tensors=dataset.by_split(rows.astype(np.float32)),
        spec=job.spec.model_dump(mode="json"),
        made_from={"adapter": "0" * 16} | job.made_from,
        summary={"rows": dataset.rows, **summary},
        seconds=0.0,
    )


def _values(low: float, high: float, count: int) -> list[float]:
    return [round(float(value), 6) for value in np.linspace(low, high, count)]


if __name__ == "__main__":
    main()
