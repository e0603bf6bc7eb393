"""`python -m bench.idle FILE N`: N trials that do nothing, through the Tune that runs real ones.

What is left is what Tune and Ray themselves need. FILE gets what `bench.clocks` recorded.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.clocks import Clocks
from jobs.store import Store
from orchestrator import cluster
from orchestrator.grid import Grid
from orchestrator.plan import Trial
from orchestrator.tune.group import Group
from qdllm.families.quantum import FAMILY, StudentSpec


def nothing(config: Any, **shared: Any) -> None:
    """A trial that trains nothing and publishes nothing."""


def main() -> None:
    file, count = Path(sys.argv[1]), int(sys.argv[2])
    clocks = Clocks()
    trials = [Trial(FAMILY.kind, f"{index:016x}", StudentSpec(), {}) for index in range(count)]
    failures: list[str] = []

    def ended(trial: Trial, last: Any) -> None:
        with clocks.span("ended", trial.fingerprint):
            pass

    def failed(trial: Trial, reason: str) -> None:
        failures.append(reason)

    with tempfile.TemporaryDirectory() as folder, cluster.connect():
        from orchestrator.tune import tuner

        tuner._train = nothing
        shared = Grid(name="idle"), {(): {}}, Store(folder)
        tuner.run_list(Group(*shared, ended, failed), trials)
    clocks.write(file)
    sys.exit("\n".join(failures) or None)


if __name__ == "__main__":
    main()
