"""Sweeps that open MLflow's database at the same moment, each in a process of its own."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from checkout import ROOT

OPEN = """
import sys
from pathlib import Path
from orchestrator.tracking.runs import Runs
print("ready", flush=True)
for line in sys.stdin:
    uri, folder = line.split()
    Runs(uri, Path(folder), "grid-task", sys.argv[1], {})
    print("opened", flush=True)
"""
SWEEPS = tuple(str(number) * 16 for number in range(3))
"""Their fingerprints."""


@contextmanager
def openers() -> Iterator[Callable[[str, Path], None]]:
    """A function that has all of them open a database, once they have imported what they need."""
    drivers = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN, sweep],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for sweep in SWEEPS
    ]

    def answers(expected: str) -> None:
        for driver in drivers:
            if driver.stdout.readline() != expected:
                raise AssertionError(driver.communicate())

    def open_at_once(uri: str, folder: Path) -> None:
        for driver in drivers:
            driver.stdin.write(f"{uri} {folder}\n")
            driver.stdin.flush()
        answers("opened\n")

    try:
        answers("ready\n")
        yield open_at_once
    finally:
        for driver in drivers:
            driver.kill()
            driver.communicate()
