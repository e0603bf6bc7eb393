"""`python -m orchestrator.sweep`: teacher, soft labels, students, champion, in one command."""

import argparse
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from jobs.store import Store
from orchestrator import grid, report, steps
from orchestrator.console import Terminal
from orchestrator.plan import plan
from qdllm.errors import ConfigError, QdllmError
from qdllm.models import KNOWN


def parser() -> argparse.ArgumentParser:
    """The command line. Everything else is set in a grid file, or with --set."""
    command = argparse.ArgumentParser(
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
        "--home",
        type=Path,
        default=Path(".qdllm"),
        metavar="DIR",
        help="folder for everything a sweep writes (default: %(default)s)",
    )
    command.add_argument(
        "--store",
        metavar="URI",
        help="folder or s3://bucket/prefix for results and checkpoints (default: HOME/store)",
    )
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a setting or an axis of the grid, such as fit.epochs=20",
    )
    command.add_argument(
        "--dry-run", action="store_true", help="show what is held and what would run, and stop"
    )
    return command


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns its exit status.

    0; 1 where a trial or the teacher failed; 2 for input that cannot be used; 130 if interrupted.
    """
    options = parser().parse_args(arguments)
    try:
        return sweep(options)
    except QdllmError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 1
    except KeyboardInterrupt:
        print("interrupted; run the same command again to go on from here", file=sys.stderr)
        return 130


def sweep(options: argparse.Namespace) -> int:
    """The walk. Returns 0, or 1 if a trial failed.

    1. Read the grid and the texts; name every result, and ask the store which ones it holds.
    2. Encode the texts and train the teacher.
    3. Stop here if the teacher has not earned its students.
    4. Train the students, and the classical references beside them.
    5. Rank the students, and register the champion.

    Ray starts for steps 2 and 4, and only if something is missing. What takes seconds to import is
    imported where it is needed.
    """
    began = time.monotonic()
    definition = grid.override(grid.load(options.grid), options.set)
    definition = grid.on(definition, options.task, options.data, options.teacher)
    specs = grid.specs(definition)
    home: Path = options.home.expanduser().absolute()
    store = Store(options.store or str(home / "store"))
    with ExitStack() as stack:
        log = home / "logs" / time.strftime("%Y-%m-%dT%H-%M-%S.log")
        terminal = stack.enter_context(Terminal(None if options.dry_run else log))
        dataset = steps.load_texts(specs[0].task, terminal)
        this = steps.Sweep(definition, dataset, store, plan(specs, dataset, store), home, terminal)
        terminal.print(dataset.describe())
        terminal.print(report.plan_table(this.plan))
        if options.dry_run:
            return 0
        from orchestrator import conclude

        tracker = steps.open_tracker(this)
        stack.push(tracker.close)
        if this.plan.missing:
            from orchestrator import cluster

            stack.enter_context(cluster.connect())
            steps.encode_texts(this)
            steps.train_teachers(this)
        steps.check_teachers(this)
        steps.fit_references(this)
        failures = steps.train_students(this, tracker)
        conclude.conclude(this, tracker, failures, began)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
