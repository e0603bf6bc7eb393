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
from orchestrator.tracking import Tracker
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
    """The walks, one after the other. Returns 0, or 1 if a trial failed. `began`: by monotonic.

    Of several, what ends one ends no other, unless it could not even begin: an error at the end
    says once more what it was.
    """
    ended, failed = list[int](), list[tuple[str, QdllmError]]()
    for this in sweeps:
        begun = False
        try:
            with ExitStack() as stack:
                tracker, asked = begin(this, stack)
                begun = True
                ended.append(walk(this, tracker, asked, began))
        except QdllmError as error:
            if not begun or len(sweeps) == 1:
                raise
            failed.append((this.model, error))
            this.terminal.print(f"{this.model} ends here, and the others go on: {error}")
    if failed:
        mistakes = all(isinstance(error, ConfigError) for _, error in failed)
        lines = [f"{name}: {error}" for name, error in failed]
        raise (ConfigError if mistakes else JobError)(several(lines))
    return max(ended)


def begin(this: Sweep, stack: ExitStack) -> tuple[Tracker, str]:
    """Hold the sweep against other drivers, try where it writes, open MLflow, check who does the
    work, write down what is asked, in that order. Gives MLflow, and the fingerprint of what was
    written down.

    `stack`: what ends with the walk. Raises ConfigError where something is in the way.
    """
    stack.enter_context(lock.held(this.store, this.plan.name))
    check_places(this)
    tracker = open_tracker(this)
    stack.push(tracker.close)
    check_workers(this)
    asked = publish_sweep(this.store, this.definition, this.plan, this.dataset, this.cuts)
    return tracker, asked


def walk(this: Sweep, tracker: Tracker, asked: str, began: float) -> int:
    """The walk through one task that has begun. Returns 0, or 1 if a trial failed.

    1. Make what trials are made from: features, soft labels and the like. Stop here if nothing is
       left that can be trained.
    2. Train the students, and the references beside them.
    3. Rank them, register the champion, report.
    """
    lacking = make_sources(this)
    failures = train(this, tracker, lacking)
    conclude(this, asked, tracker, failures, began)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
