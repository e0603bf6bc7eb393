"""The real command, in processes of its own or in this one, and a look at what it leaves."""

import csv
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from checkout import ROOT
from commands import here
from filelock import FileLock
from mlflow import MlflowClient
from waiting import DEADLINE, until

from jobs.store import Store
from orchestrator.cluster import place

TEXTS = {
    "weather": ["rain fell on the coast", "a cold wind from the north", "sunny with some cloud"],
    "kitchen": ["stir the soup slowly", "bake the bread for an hour", "chop two onions finely"],
}
CLASSES = tuple(TEXTS)
BASE = """
base:
  circuit: {qubits: 4}
  angles: raw
  teacher: {epochs: 3}
  fit: {batch_size: 64, epochs: 400}
seeds: 2
teacher_floor: 0
"""
RATES = "0.001, 0.003, 0.007, 0.01, 0.02, 0.06"
GRID = f"{BASE}axes: {{circuit.layers: [1, 2], fit.lr: [{RATES}]}}\n"
TRIALS = 12
ALONE = ("--address", "none")
"""All in one process, where Ray is not what is tested."""
ONE_BY_ONE = ("--set", f"resources.cpu={place('local')[1]}")
"""On Ray one trial at a time, where several are not what is tested: a worker takes seconds."""
SOURCES = {"features", "soft-labels", "adapters"}
REFERENCES = {"linear", "tanh"}
KINDS = SOURCES | REFERENCES | {"students", "evaluations", "words", "sweeps"}
"""What a store has of a sweep that has ended: no lock, and no checkpoint of a teacher's."""


def texts(folder: Path) -> Path:
    """A CSV file of 120 texts in two classes; one label of twenty is wrong."""
    path = folder / "notes.csv"
    with path.open("w", newline="", encoding="utf-8") as stream:
        rows = csv.writer(stream)
        rows.writerow(("text", "label"))
        for label, other in (CLASSES, CLASSES[::-1]):
            for text in TEXTS[label]:
                rows.writerows((f"{text}, said {n}", label if n else other) for n in range(20))
    return path


@dataclass(frozen=True)
class Sweep:
    """One command, as often as it is run."""

    grid: Path
    texts: Path
    home: Path
    store_uri: str = ""

    @property
    def store(self) -> Store:
        """Where its results are."""
        return Store(self.store_uri or str(self.home / "store"))

    @property
    def arguments(self) -> list[str]:
        """What its command line begins with."""
        named = ["--grid", str(self.grid), "--task", str(self.texts), "--home", str(self.home)]
        return [*named, *(["--store", self.store_uri] if self.store_uri else [])]

    def start(self, *arguments: str, **environment: str) -> "Driver":
        """The command in a process group of its own, as a shell starts it."""
        return Driver(
            subprocess.Popen(
                [sys.executable, "-m", "orchestrator.sweep", *self.arguments, *arguments],
                cwd=ROOT,
                env=os.environ | environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            ),
            self,
        )

    def run(self, *arguments: str, status: int = 0, **environment: str) -> str:
        """Run it to its end. Returns what it printed."""
        return self.start(*arguments, **environment).ended(status)

    def here(self, *arguments: str, status: int = 0, **environment: str) -> str:
        """The same in this process, see `here`; one that trains has ALONE among its arguments."""
        return here("orchestrator.sweep", [*self.arguments, *arguments], status, **environment)

    def copy(self, home: Path) -> "Sweep":
        """The same in a copy of its home."""
        shutil.copytree(self.home, home)
        return Sweep(self.grid, self.texts, home)

    def results(self, kind: str = "students") -> dict[str, tuple[Any, ...]]:
        """All that a trial's numbers are, to the bit, by fingerprint."""
        found = {}
        for name in self.store.fingerprints(kind):
            record, tensors = self.store.load(kind, name)
            bits = {key: np.asarray(value).tobytes() for key, value in tensors.items()}
            found[name] = record.summary.get("metrics"), record.summary.get("parameters"), bits
        return found

    def created(self, kind: str = "students") -> dict[str, float]:
        """When each record was written."""
        names = self.store.fingerprints(kind)
        return {name: self.store.record(kind, name).created for name in names}

    def runs(self) -> dict[tuple[str, str], tuple[str, str]]:
        """MLflow's runs: status and failure by the sweep's fingerprint and their own.

        Fails where two runs have the same one.
        """
        client = MlflowClient(f"sqlite:///{self.home / 'mlflow.db'}")
        experiments = [one.experiment_id for one in client.search_experiments()]
        found = client.search_runs(experiments, max_results=5000)
        names = [(one.data.tags["qdllm.sweep"], one.data.tags["qdllm.id"]) for one in found]
        assert not [name for name, times in Counter(names).items() if times > 1]
        return {
            name: (one.info.status, one.data.tags.get("qdllm.failure", ""))
            for name, one in zip(names, found, strict=True)
        }


def undisturbed(factory: pytest.TempPathFactory) -> tuple[Sweep, str]:
    """A copy of a sweep of GRID that nobody disturbs, without Ray, and what it printed.

    All of pytest-xdist's processes copy the same one: it takes a minute.
    """
    folder = factory.getbasetemp()
    folder = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "once"
    with FileLock(f"{folder}.lock"):
        folder.mkdir(exist_ok=True)
        grid, printed = folder / "tiny.yaml", folder / "printed"
        grid.write_text(GRID)
        sweep = Sweep(grid, texts(folder), folder / "home")
        if not printed.exists():
            printed.write_text(sweep.here(*ALONE))
        return sweep.copy(factory.mktemp("undisturbed") / "a home"), printed.read_text()


class Driver:
    """A running command."""

    def __init__(self, process: subprocess.Popen[str], sweep: Sweep) -> None:
        self.process, self.sweep = process, sweep

    def wait_for(self, condition: Callable[[], Any]) -> Any:
        """What the condition gives when it is true. The command must not end before."""

        def found() -> Any:
            seen = condition()
            assert seen or self.process.poll() is None
            return seen

        try:
            return until(found)
        except AssertionError:
            self.process.kill()
            status = self.process.returncode
            raise AssertionError(f"{status}: {self.process.communicate()}") from None

    def children(self, name: str = "") -> list[psutil.Process]:
        """All processes below it whose name begins like that."""
        found = []
        for one in psutil.Process(self.process.pid).children(recursive=True):
            try:
                if one.name().startswith(name):
                    found.append(one)
            except psutil.NoSuchProcess:
                continue
        return found

    def training(self) -> list[psutil.Process]:
        """Its workers that train a student at this moment."""
        return self.children("ray::ImplicitFunc.train")

    def results_beyond(self, before: Any) -> bool:
        """Whether there are trials that were not there before."""
        return len(self.sweep.store.fingerprints("students")) > len(before)

    def interrupt(self) -> None:
        """Ctrl-C, which a terminal sends to everybody in front of it."""
        os.killpg(self.process.pid, signal.SIGINT)

    def ended(self, status: int) -> str:
        """What it printed on both streams, once it has ended by itself with that status."""
        try:
            output, error = self.process.communicate(timeout=DEADLINE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(self.process.communicate()) from None
        assert self.process.returncode == status, output + error
        assert "Traceback" not in output + error, output + error
        return output + error


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that are still there."""
    return [one for one in processes if _alive(one)]


def _alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def table(output: str) -> list[str]:
    """The rows of the final table without times: trials by rank, then the classical references."""
    lines = output.split("by validation accuracy")[-1].splitlines()
    rows = [line for line in lines if re.match(r" +(\d+( ★)? |logistic|classical)", line)]
    return [re.sub(r" +\d+\.\d\d *$", "", row).rstrip() for row in rows]


def planned(output: str) -> tuple[int, int]:
    """Of the trials, how many are held and how many are to compute, in the plan's table."""
    found = re.search(r"trials(?: of the search)? +│ +(\d+) │ +(\d+) │", output)
    assert found, output
    return int(found[1]), int(found[2])
