"""`python -m orchestrator.sweep`: teacher, soft labels, students, champion, in one command."""

import argparse
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import cache

from orchestrator import cluster, grid, options
from orchestrator.console import Terminal
from orchestrator.plan import forecast, plan
from orchestrator.report import findings, tables
from orchestrator.steps import inputs
from qdllm.errors import ConfigError, QdllmError
from qdllm.models import KNOWN

GO_ON = "run the same command again to go on from here"


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
    try:
        return sweep(chosen)
    except QdllmError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 1
    except KeyboardInterrupt:
        print(f"interrupted; {GO_ON}", file=sys.stderr)
        return 130


def sweep(chosen: argparse.Namespace) -> int:
    """Read the grid, name every result of each task, and walk through the tasks one by one.

    Returns 0, or 1 if a trial failed. What takes seconds to import is imported where it is needed.
    """
    began = time.monotonic()
    definition = grid.override(grid.load(chosen.grid), chosen.set)
    if chosen.trials is not None:
        if definition.search is None:
            raise ConfigError(
                f"--trials {chosen.trials}: grid {definition.name!r} has no search, its trials "
                "are those of its axes; leave --trials out, or use a grid with a search"
            )
        definition = grid.override(definition, [f"search.trials={chosen.trials}"])
    definition = grid.on(definition, chosen.task, chosen.data, chosen.teacher)
    tasks = grid.by_task(grid.specs(definition))
    places = options.read(chosen)
    store = places.store
    with ExitStack() as stack:
        log = places.home / "logs" / time.strftime("%Y-%m-%dT%H-%M-%S.log")
        terminal = stack.enter_context(Terminal(None if chosen.dry_run else log))

        def lost(what: str) -> None:
            # Nothing can be put away without Ray: its client would block, and end the process.
            terminal.leave(1, f"error: {what} is gone; {GO_ON}")

        @cache
        def connect() -> None:
            terminal.status = stack.enter_context(cluster.connect(places.ray, lost))

        place, cpus = cluster.place(places.ray)
        sweeps = []
        for task, specs in tasks.items():
            dataset = inputs.load_texts(task, terminal)
            planned = plan(specs, dataset, store, definition.search, definition.scheduler)
            needs = forecast.needs(definition, planned, store, len(dataset.texts), cpus)
            sweeps.append(
                inputs.Sweep(
                    definition=definition,
                    dataset=dataset,
                    store=store,
                    plan=planned,
                    missing=sum(need.missing for need in needs),
                    home=places.home,
                    tracking=places.tracking,
                    ray=places.ray,
                    terminal=terminal,
                    connect=connect,
                )
            )
            terminal.print(dataset.describe())
            terminal.print(tables.plan_table(planned.name, needs, place))
            terminal.print(*findings.changes(store, definition, planned, dataset))
        if chosen.dry_run:
            return 0
        # A second Ctrl-C ends at once, whatever is being put away.
        stack.callback(signal.signal, signal.SIGINT, signal.getsignal(signal.SIGINT))

        def interrupt(signum: int, frame: object) -> None:
            signal.signal(signal.SIGINT, lambda *_: terminal.leave(130))
            raise KeyboardInterrupt

        signal.signal(signal.SIGINT, interrupt)
        return max(walk(this, began) for this in sweeps)


def walk(this: inputs.Sweep, began: float) -> int:
    """The walk through one task. Returns 0, or 1 if a trial failed. `began`: by time.monotonic.

    1. Hold the sweep against other drivers, check what it stands on, write down what it asks.
    2. Encode the texts and train the teachers.
    3. Stop here if no teacher has earned its students.
    4. Train the students, and the classical references beside them.
    5. Rank the students, and register the champion.
    """
    from orchestrator.steps import lock, trials

    with ExitStack() as stack:
        stack.enter_context(lock.held(this.store, this.plan.name))
        tracker = inputs.open_tracker(this)
        stack.push(tracker.close)
        inputs.check_nodes(this)
        findings.publish_sweep(this.store, this.definition, this.plan, this.dataset)
        inputs.encode_texts(this)
        lacking = inputs.train_teachers(this)
        this, failures = trials.train(this, tracker, lacking)
        inputs.fit_references(this, lacking)
        from orchestrator.steps import conclusion  # torch and Transformers

        conclusion.conclude(this, tracker, failures, began)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
