"""`python -m orchestrator.sweep`: teacher, soft labels, students, champion, in one command."""

import argparse
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack

from jobs.command import Parser, status
from orchestrator import grid, options
from orchestrator.report.sweeps import publish_sweep
from orchestrator.steps import (
    INTERRUPTED,
    Session,
    Sweep,
    check_places,
    check_workers,
    conclude,
    lock,
    make_sources,
    open_tracker,
    prepare,
    train,
)
from qdllm.errors import ConfigError, JobError, QdllmError
from qdllm.messages import several
from qdllm.models import KNOWN


def parser() -> argparse.ArgumentParser:
    """The command line. Everything else is set in a grid file, or with --set."""
    command = Parser(
        prog="python -m orchestrator.sweep",
        description="Distil a teacher into quantum students over a grid, and find the best one.",
    )
    command.add_argument(
        "--grid", required=True, metavar="NAME", help="a built-in grid, or a .yaml file"
    )
    command.add_argument(
        "--task",
        metavar="NAME",
        help="emotion, hiding or thematic, with --data; or sample-emotion, sample-hiding or "
        "sample-thematic (the default); or a file of texts and labels",
    )
    command.add_argument(
        "--data",
        metavar="PATH",
        help="a folder with one text file per class; a CSV, JSONL or Parquet file; or "
        "'published', to download the authors' texts",
    )
    command.add_argument(
        "--teacher",
        metavar="NAME",
        help=f"{', '.join(KNOWN)}; or a local folder, or a Hugging Face id (default: minilm)",
    )
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a setting or an axis of the grid, such as fit.epochs=20",
    )
    command.add_argument(
        "--trials", type=int, metavar="N", help="how many trials a search has in all"
    )
    command.add_argument(
        "--dry-run",
        action="store_true",
        help="show what is held, what would run, where and for how long, and stop",
    )
    options.add(command)
    return command


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns its exit status.

    0; 1 where a trial or the teacher failed; 2 for input that cannot be used; 130 if interrupted.
    """
    chosen = parser().parse_args(arguments)
    return status(lambda: sweep(chosen), "error: ", INTERRUPTED)


def sweep(chosen: argparse.Namespace) -> int:
    """Run what the command line asks for. Returns 0, or 1 if a trial failed.

    1. Read the grid, and say what its tasks and their trials are.
    2. Name every result of each task, and show what is held and what would run.
    3. Unless that is all that was asked for, walk through the tasks one by one.
    """
    began = time.monotonic()
    definition = read_grid(chosen)
    tasks = grid.by_task(grid.specs(definition))
    with Session(options.read(chosen), quiet=chosen.dry_run) as session:
        sweeps = [prepare(session, definition, *task) for task in tasks.items()]
        if chosen.dry_run:
            return 0
        with session.interruptible():
            return walk_all(sweeps, began)


def read_grid(chosen: argparse.Namespace) -> grid.Grid:
    """The grid that the command line names, with all that it changes of it."""
    definition = grid.override(grid.load(chosen.grid), chosen.set)
    if chosen.trials is not None:
        if definition.search is None:
            raise ConfigError(
                f"--trials {chosen.trials}: grid {definition.name!r} has no search, its trials "
                "are those of its axes; leave --trials out, or use a grid with a search"
            )
        definition = grid.override(definition, [f"search.trials={chosen.trials}"])
    return grid.on(definition, chosen.task, chosen.data, chosen.teacher)


def walk_all(sweeps: Sequence[Sweep], began: float) -> int:
    """The walks, one after the other. Returns 0, or 1 if a trial failed. `began`: as of `walk`.

    Of several, what ends one ends no other: a JobError at the end says once more what it was.
    """
    if len(sweeps) == 1:
        return walk(sweeps[0], began)
    ended, failed = list[int](), list[str]()
    for this in sweeps:
        try:
            ended.append(walk(this, began))
        except QdllmError as error:
            failed.append(f"{this.model}: {error}")
            this.terminal.print(f"{this.model} ends here, and the others go on: {error}")
    if failed:
        raise JobError(several(failed))
    return max(ended)


def walk(this: Sweep, began: float) -> int:
    """The walk through one task. Returns 0, or 1 if a trial failed. `began`: by time.monotonic.

    1. Hold the sweep against other drivers, try where it writes, open MLflow, check who does the
       work, write down what is asked.
    2. Make what trials are made from: features, soft labels and the like. Stop here if nothing is
       left that can be trained.
    3. Train the students, and the references beside them.
    4. Rank them, register the champion, report.
    """
    with ExitStack() as stack:
        stack.enter_context(lock.held(this.store, this.plan.name))
        check_places(this)
        tracker = open_tracker(this)
        stack.push(tracker.close)
        check_workers(this)
        asked = publish_sweep(this.store, this.definition, this.plan, this.dataset, this.cuts)
        lacking = make_sources(this)
        failures = train(this, tracker, lacking)
        conclude(this, asked, tracker, failures, began)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
