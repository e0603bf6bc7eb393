"""What was stored before, read again after accidents: by a dry run, and by a report."""

import contextlib
import io
import json
import random
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
from given import ODDITIES, Case, Refused, anything
from places import TABLE
from stores import DAMAGE

from jobs.kinds import Job
from jobs.store import Store
from jobs.store import record as records
from orchestrator import grid, sweep
from orchestrator.plan import plan
from orchestrator.report import command, evaluations, findings, sweeps
from qdllm.texts import data

LAYERS = (1, 2)
MEASURES = ("accuracy", "precision", "recall", "f1", "agreement", "calibration_error")
NAME = "mine-texts"


@cache
def whole() -> tuple[Path, str]:
    """A folder with a grid, its texts and a store with all that its sweep had found."""
    folder = Path(mkdtemp(prefix="fuzz-history-"))
    (folder / "texts.csv").write_text(TABLE)
    (folder / "mine.yaml").write_text(
        f"base: {{task.name: {folder}/texts.csv, seeds: 2, fit.epochs: 3}}\n"
        f"axes: {{circuit.layers: {list(LAYERS)}}}\n"
        "evaluations: [mindquantum, shots:1024, baihua-sim]\n"
    )
    definition = grid.load(str(folder / "mine.yaml"))
    every, store = grid.specs(definition), Store(str(folder / "store"))
    dataset = data.load(every[0].task)
    made = plan(every, dataset, store, evaluations=definition.asked_evaluations)
    sweeps.publish_sweep(store, definition, made, dataset)
    rows = np.random.default_rng(0).normal(size=(len(dataset.texts), 2)).astype(np.float32)
    for job in made.jobs:
        seeds = len(getattr(job.spec, "seeds", (0,)))
        curve, final = np.full((seeds, 3), 0.75), [0.75] * seeds
        of_texts = job in made.sources
        store.publish(
            job.kind,
            job.fingerprint,
            tensors=dataset.by_split(rows)
            if of_texts
            else dict.fromkeys(("train.loss", "val.loss", "val.accuracy"), curve)
            | {"parameters": np.zeros((seeds, 4), np.float32)},
            spec=job.spec.model_dump(mode="json"),
            made_from=job.made_from,
            summary={"rows": dataset.rows, "width": 2, "texts": len(dataset.texts)}
            | {"parameters": 9, "seconds_per_epoch": 0.1, "inference_us": 1.0}
            | {
                "metrics": {"val.accuracy": 0.9, "test.accuracy": 0.8, "train.accuracy": 0.9}
                if of_texts
                else {f"{split}.{name}": final for split in ("val", "test") for name in MEASURES}
                | {"train.loss": final, "val.loss": final}
            },
            seconds=1.0,
        )
    _, found = findings.read(made.name, folder, None)
    for job in evaluations.of_champion(found.sweep, found.champion):
        _evaluated(store, job, len(dataset.test.texts))
    return folder, made.name


def _evaluated(store: Store, job: Job, texts: int) -> None:
    """What another simulator, shots or a chip made of the champion; some of it on a processor."""
    values = {f"test.{name}": [0.5, 0.75] for name in MEASURES}
    run = {"name": "a" * 16, "tasks": 9, "seconds": 1.0, "read_right": [[0.9, 0.8]], "drift": 0.1}
    told = {"moved": 1, "changed": 2, "calibrations": ["cal-1"]}
    cost = {"cz": 2, "depth": 1, "duration_us": 1.0, "fidelity": 0.9}
    store.publish(
        job.kind,
        job.fingerprint,
        tensors={},
        spec=job.spec.model_dump(mode="json"),
        made_from=job.made_from,
        summary={"metrics": values, "raw": values, "exact": values, "rows": texts}
        | {"errors": {"texts": [0.1, 0.1]}, "run": run | told, "largest_difference": 1e-6}
        | {"costs": {"two-chains": cost, "as-is": cost | {"cz": 3}}},
        seconds=1.0,
    )


def damage(rng: random.Random, folder: Path) -> Case:
    """A store after an accident, or with a record that says something else; who reads it then."""
    original, name = whole()
    shutil.copytree(original / "store", folder / "store")
    (folder / "outside").mkdir()
    ways = rng.choices((*DAMAGE, refitted, refitted, refitted), k=rng.choice((0, 1, 1, 2)))
    done = [way(rng, folder / "store", folder / "outside") for way in ways]
    grids = [f"--grid={original}/mine.yaml", "--dry-run", f"--home={folder}"]
    asked = rng.choice((NAME, name, name[:5], "nobody", ""))
    line, run = rng.choice(
        (
            (grids, sweep.main),
            ([asked, f"--home={folder}"], _shown),
            ([asked, f"--home={folder}", "--format=csv"], command.main),
        )
    )

    def ended() -> str:
        said = io.StringIO()
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            status = run(line)
        if status:
            raise Refused(said.getvalue())
        return said.getvalue()

    valid = None if ways or line[0] in ("nobody", "") else True
    return Case(f"{line} of a store with {'; '.join(done)}", ended, valid)


def _shown(line: list[str]) -> int:
    """A report without its page, whose pictures take a second."""
    options = command.parser().parse_args(line)

    def show() -> int:
        _, found = command.findings.read(options.sweep, Path(options.home), None)
        command.show(found)
        return 0

    status: Callable[..., int] = command.status
    return status(show, "error: ")


def refitted(rng: random.Random, inside: Path, outside: Path) -> str:
    """A record that says something else, with the digest that belongs to it."""
    paths = sorted(inside.glob("*/*/record.json"))
    if not paths:
        return "nothing"
    path = rng.choice(paths)
    with contextlib.suppress(ValueError, OSError, KeyError):
        fields = json.loads(path.read_bytes())
        place, key = fields, rng.choice(list(fields))
        while isinstance(place[key], dict) and place[key] and rng.random() < 0.8:
            place = place[key]
            key = rng.choice(list(place))
        value = rng.choice((anything(rng), rng.choice(ODDITIES)))
        if rng.random() < 0.3:
            del place[key]
        else:
            place[key] = value
        del fields["sha256"]
        fields = json.loads(json.dumps(fields))
        path.write_text(json.dumps(fields | {"sha256": records._digest(fields)}))
        return f"{path.parent.parent.name}: {key} = {value!r:.60}"
    return "nothing"
