"""`python -m orchestrator.doctor`: can this cluster run a sweep, said before anything is paid."""

import argparse
import sys
import time
from collections.abc import Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table

from jobs.command import Parser, status
from orchestrator import options
from orchestrator.cluster import checks, nodes
from orchestrator.cluster.checks import Diagnosis
from orchestrator.console import Terminal
from qdllm.errors import ConfigError


def parser() -> argparse.ArgumentParser:
    """The command line: the flags of a sweep that say where things are."""
    command = Parser(
        prog="python -m orchestrator.doctor",
        description="Check the driver and every node type of a cluster: store, MLflow, clock, "
        "versions, DeepSpeed, CUDA. Starts a node of each type that has none.",
    )
    options.add(command)
    return command


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns 0, 1 where a check failed, or 2 for input that cannot be used."""
    chosen = parser().parse_args(arguments)
    return status(lambda: doctor(options.read(chosen)), before="error: ")


def doctor(locations: options.Locations) -> int:
    """Check everything and show it. Returns 0, or 1 where a check failed."""
    from orchestrator import cluster

    if locations.ray == "none":
        raise ConfigError(
            "--address none is a sweep in one process, which has no nodes to examine; leave it "
            "out, or give a cluster's address"
        )
    log = locations.home / "logs" / time.strftime("%Y-%m-%dT%H-%M-%S-doctor.log")
    with Terminal(log) as terminal:

        def lost(what: str) -> None:
            terminal.leave(1, f"error: {what} is gone")

        with cluster.connect(locations.ray, lost), terminal.phase("doctor") as phase:
            mlflow = checks.tracking(locations.tracking)
            diagnoses = nodes.examine(
                locations.store, locations.ray, nodes.WORK, lambda note: phase.update(0, note=note)
            )
            diagnoses[nodes.DRIVER].insert(1, mlflow)
            phase.note = locations.ray
        terminal.print(diagnoses_table(diagnoses))
        failed = nodes.failures(diagnoses)
        terminal.print(*failed or ["nothing stands in the way of a sweep"])
    return 1 if failed else 0


def diagnoses_table(diagnoses: Mapping[str, Sequence[Diagnosis]]) -> Table:
    """A row for each check, a column for each node type; a node's first failure is the type's."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 2, 0, 0))
    table.add_column("")
    for kind in diagnoses:
        table.add_column(kind)
    checked = dict.fromkeys(
        diagnosis.name for of_kind in diagnoses.values() for diagnosis in of_kind
    )
    for name in checked:
        row = []
        for of_kind in diagnoses.values():
            mine = sorted(
                (diagnosis for diagnosis in of_kind if diagnosis.name == name),
                key=lambda diagnosis: diagnosis.ok,
            )
            row.append(("" if not mine else mine[0].seen) if not mine or mine[0].ok else "FAILED")
        table.add_row(name, *row)
    return table


if __name__ == "__main__":
    sys.exit(main())
