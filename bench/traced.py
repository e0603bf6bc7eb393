"""`python -m bench.traced FILE ARGUMENTS`: the sweep command, with clocks around its steps.

Runs `orchestrator.sweep` until its trials have ended and MLflow has been told of all of them; the
references beside them are left out. FILE gets what `bench.clocks` recorded.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil

from bench.clocks import Clocks, Span
from orchestrator import cluster, sweep
from orchestrator.steps import preparation, trials


def main() -> None:
    file, *arguments = sys.argv[1:]
    clocks = Clocks()
    clocks.spans.append(Span("imports", psutil.Process().create_time(), time.time()))
    for owner, attribute, name in (
        (preparation, "plan", "plan"),
        (sweep, "open_tracker", "open"),
        (trials, "_group", "gather"),
        (trials.Endings, "ended", "ended"),
    ):
        clocks.around(owner, attribute, name)
    connect = cluster.connect

    @contextmanager
    def connected(*arguments: Any) -> Iterator[Any]:
        with ExitStack() as stack:
            with clocks.span("ray"):
                told = stack.enter_context(connect(*arguments))
            yield told

    def trained(this: Any, tracker: Any, lacking: Any) -> None:
        with clocks.span("students"):
            trials._list(this, tracker, lacking, this.plan.sweep)
        with clocks.span("writer"):
            tracker.wait()
        sys.exit()

    cluster.connect, sweep.train = connected, trained
    try:
        sys.exit(sweep.main(arguments))
    finally:
        clocks.write(Path(file))


if __name__ == "__main__":
    main()
