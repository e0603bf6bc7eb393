"""`python -m bench.soak [--kills N] [--trials N] [--seed N]`: kill after kill over one sweep.

The driver, its workers, nodes' raylets, MLflow's server, PostgreSQL and the S3 server, real ones on
this machine, are killed with -9 at random moments, and what was killed is started again after a
random pause: the driver by the same command. Then everything is compared with the same sweep that
ran undisturbed, in one process without Ray. Needs Linux, PostgreSQL, and moto for its S3 server.
The exit status is 1 where anything is lost, done twice, or another.
"""

import argparse
import csv
import os
import random
import signal
import statistics
import subprocess
import sys
import time
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import yaml
from rich.console import Console
from rich.table import Table

from bench import verdict
from bench.bucket import Journal
from bench.ground import NODES, Ground, ground
from bench.sweep import heading
from bench.verdict import Verdict
from bench.victims import Command, OneOf, Program, Victim, Workers, adopt, kill, orphans
from jobs.store import Store
from orchestrator.console import duration
from qdllm.texts import corpus

PACKAGES = ("ray", "mlflow", "torch", "moto")
VICTIMS = ("driver", "worker", "raylet", "MLflow's server", "PostgreSQL", "S3 server")
NAME, TASK, TEXTS = "soak", "moods", 300
BASE = {
    "circuit": {"qubits": 6},
    "teacher": {"epochs": 4, "rank": 8, "max_length": 32, "batch_size": 16},
    "fit": {"epochs": 60, "batch_size": 8},
}
LAYERS = (1, 2)
AWAY = 5.0
"""Seconds at most until what was killed is started again."""
LOOK = 0.2
"""Seconds between two looks at everything."""
STANDSTILL = 900.0
"""Seconds without a new result, after which none is expected."""
ENDING = 120.0
"""Seconds that what a command has started gets to end after it."""

UNFORESEEN = "a traceback:"

console = Console(width=110)


class Kill(NamedTuple):
    """Who is killed, and when."""

    victim: str
    results: int
    """So many results the sweep has by then."""
    later: float
    """And so many seconds have gone since the last of them."""
    pause: float
    """Seconds until it is started again."""

    def due(self, results: int, since: float) -> bool:
        """Whether it is time, where so many results are there, and the last one so long."""
        return (results, since) >= (self.results, self.later)


class Hit(NamedTuple):
    """What became of a kill."""

    victim: str
    what: str
    """The process."""
    at: float
    """Seconds since the sweep began."""
    results: int


class Course(NamedTuple):
    """How the sweep went."""

    hits: list[Hit]
    away: Mapping[str, list[float]]
    """Seconds from each kill until the victim answered again."""
    starts: int
    """How often the command was run."""
    gave_up: Counter[str]
    """How often it ended by itself before the end, by what it said at last."""
    seconds: float
    output: str
    """What it printed when it came to the end."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--kills", type=int, default=100, metavar="N")
    parser.add_argument("--trials", type=int, default=60, metavar="N", help="an even number")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="repeats the moments")
    chosen = parser.parse_args()
    if chosen.kills < 1 or chosen.trials < 2 or chosen.trials % len(LAYERS):
        parser.error("--kills must be at least 1, and --trials even and at least 2")
    # As Ctrl-C does: what was started is to end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    console.print(heading(PACKAGES))
    with TemporaryDirectory(prefix="soak-") as folder:
        return run(chosen.kills, chosen.trials, chosen.seed, Path(folder))


def run(kills: int, trials: int, seed: int, folder: Path) -> int:
    """Run both sweeps in a folder, and print what came of it. Returns the exit status."""
    adopt()
    moment = random.Random(seed)  # noqa: S311
    grid = write_grid(folder, trials)
    twin, began = folder / "twin", time.time()
    alone = run_alone(grid, twin)
    ends = sorted(record_times(Store(str(twin / "store"))))
    console.print(f"undisturbed: {trials} trials, {duration(time.time() - began)}")
    try:
        with ground(folder) as stands:
            driver = disturbed(stands, grid)
            course = Soak(stands, driver, draw(moment, kills, began, ends), moment).run()
            found = judge(stands, course, twin, alone)
        left = orphans([])
    finally:
        kill(orphans([]))  # whatever ended the soak before its time
    show(course, found._replace(other=[*found.other, *(f"still there: {one}" for one in left)]))
    return 0 if found.good and not left else 1


def write_grid(folder: Path, trials: int) -> Path:
    """The texts, and the grid of the sweep on them. Returns its file."""
    classes, texts, labels = corpus.generate("sample-emotion")
    table = folder / f"{TASK}.csv"
    every = range(0, len(texts), len(texts) // TEXTS)
    with table.open("w", newline="", encoding="utf-8") as stream:
        rows = csv.writer(stream)
        rows.writerow(("text", "label"))
        rows.writerows((texts[row], classes[labels[row]]) for row in every)
    rates = np.geomspace(0.0005, 0.05, trials // len(LAYERS))
    definition = {
        "name": NAME,
        "base": BASE | {"task": {"name": str(table)}},
        "axes": {
            "circuit.layers": list(LAYERS),
            "fit.lr": [float(f"{rate:.3g}") for rate in rates],
        },
        "seeds": 2,
        "teacher_floor": 0,
    }
    grid = folder / f"{NAME}.yaml"
    grid.write_text(yaml.safe_dump(definition))
    return grid


def command(grid: Path, home: Path, *flags: str) -> list[str]:
    """The sweep's."""
    words = ["-m", "orchestrator.sweep", "--grid", str(grid), "--home", str(home)]
    return [sys.executable, *words, *flags]


def run_alone(grid: Path, home: Path) -> str:
    """The undisturbed sweep. Returns what it printed."""
    done = subprocess.run(
        command(grid, home, "--address", "none"),
        # As many threads as a node with one core gives to a teacher: sums are rounded alike.
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"the undisturbed sweep failed: {done.stdout}{done.stderr}")
    return done.stdout


def disturbed(stands: Ground, grid: Path) -> Command:
    """The sweep that stands on servers and a cluster."""
    flags = ["--store", stands.store, "--tracking", stands.tracking, "--address", stands.address]
    words = command(grid, stands.folder / "home", *flags)
    return Command("driver", words, stands.environment, stands.folder / "driver.txt")


def record_times(store: Store) -> list[float]:
    """When each result was published, in Unix time."""
    records = (store.record(*name) for name in verdict.results(store))
    return [record.created for record in records if record]


def draw(moment: random.Random, kills: int, began: float, ends: list[float]) -> list[Kill]:
    """Moments drawn from the whole course of the undisturbed sweep, and a victim for each.

    `ends`: when its results were published. A kill is due where the disturbed sweep has come as far
    as that one had at the moment, so each part of a sweep has its share.
    """
    drawn = []
    for _ in range(kills):
        when = moment.uniform(began, ends[-1])
        results = bisect_right(ends, when)
        since = ends[results - 1] if results else began
        victim = moment.choice(VICTIMS)
        drawn.append(Kill(victim, results, when - since, moment.uniform(0, AWAY)))
    return sorted(drawn, key=lambda one: (one.results, one.later))


class Soak:
    """The command, what it stands on, and all kills beside it."""

    def __init__(
        self, stands: Ground, driver: Command, kills: list[Kill], moment: random.Random
    ) -> None:
        self._stands, self._driver, self._moment = stands, driver, moment
        self._programs = {**stands.programs, "driver": driver}
        self._victims: dict[str, Victim] = {
            **self._programs,
            "worker": Workers(stands.nodes),
            "raylet": OneOf([stands.programs[name] for name in NODES]),
        }
        self._journal, self._names = Journal(stands.journal), set[verdict.Name]()
        self._waiting = list(kills)
        self._down, self._again = dict[str, float](), dict[str, float]()
        """When those were killed that are not back, and when those start that do not run."""
        self._began = self._heard = self._now = time.monotonic()
        self._course = Course([], defaultdict(list), 0, Counter(), 0.0, "")

    def run(self) -> Course:
        """Until the command has come to its end, and every kill is made."""
        while not self._ended():
            self._now = time.monotonic()
            if new := verdict.published(self._journal.new()).keys() - self._names:
                self._names |= new
                self._heard = self._now
            if self._now - self._heard > STANDSTILL:
                raise SystemExit(f"nothing new for {duration(STANDSTILL)}: {self._said()}")
            orphans(list(self._programs.values()))
            for name, program in self._programs.items():
                self._keep(name, program)
            for planned in tuple(self._waiting):
                if planned.due(len(self._names), self._now - self._heard):
                    self._kill(planned)
            time.sleep(LOOK)
        return self._course._replace(seconds=self._now - self._began, output=self._said())

    def _ended(self) -> bool:
        # Where kills are left, the same command runs once more.
        return bool(self._course.starts and self._driver.status == 0 and not self._waiting)

    def _keep(self, name: str, program: Program) -> None:
        """Start what does not run, when its time has come; note when it is back."""
        course = self._course
        if not program.running:
            ended = program is self._driver and name not in self._again and course.starts
            if ended and program.status:
                course.gave_up[reason(self._said())] += 1
                self._again[name] = self._now + AWAY
            if self._now >= self._again.get(name, 0.0) and self._stands.ready(name):
                self._again.pop(name, None)
                self._course = course._replace(starts=course.starts + (program is self._driver))
                program.start()
        if name in self._down and program.up():
            victim = "raylet" if name in NODES else name
            course.away[victim].append(self._now - self._down.pop(name))

    def _kill(self, planned: Kill) -> None:
        """Make one that is due, if there is something to kill."""
        victim = self._victims[planned.victim]
        if planned.victim in self._down or not victim.up():
            return
        what, results = victim.kill(self._moment), len(self._names)
        self._waiting.remove(planned)
        self._course.hits.append(Hit(planned.victim, what, self._now - self._began, results))
        at = f"{self._now - self._began:7.1f} s  {results:3} results"
        console.print(f"{at}  {planned.victim}: {what}", markup=False, highlight=False)
        name = what.rpartition(" ")[2] if planned.victim == "raylet" else planned.victim
        if name in self._programs:
            self._down[name], self._again[name] = self._now, self._now + planned.pause

    def _said(self) -> str:
        return self._driver.log.read_text()


def reason(output: str) -> str:
    """Why a command came to no good end, by all that it said."""
    if "Traceback" in output:
        return f"{UNFORESEEN} {output.strip().splitlines()[-1]}"
    _, error, said = output.rpartition("\nerror: ")
    if not error:
        return "it came to its end, but some trials had failed"
    return " ".join(said.splitlines()[:2])


def judge(stands: Ground, course: Course, twin: Path, alone: str) -> Verdict:
    """Compare all that the sweep left with the undisturbed one's."""
    for program in stands.programs.values():
        program.wait()
    until = time.monotonic() + ENDING
    while (left := _left(stands)) and time.monotonic() < until:
        time.sleep(LOOK)
    found, expected = (verdict.results(Store(uri)) for uri in (stands.store, str(twin / "store")))
    experiment = f"{NAME}-{TASK}"
    there, doubled = verdict.told(stands.tracking, experiment)
    here, _ = verdict.told(f"sqlite:///{twin / 'mlflow.db'}", experiment)
    entries = Journal(stands.journal).new()
    other = verdict.apart("result", found, expected) + verdict.apart("MLflow's run", there, here)
    if verdict.table(course.output) != verdict.table(alone):
        other.append("the table is another than undisturbed")
    other += [why for why in course.gave_up if why.startswith(UNFORESEEN)]
    other += [f"MLflow has {name} more than once" for name in doubled]
    other += [f"still there when the driver had ended: {one}" for one in left]
    return Verdict(
        verdict.lacking("result", found, expected) + verdict.lacking("MLflow's run", there, here),
        verdict.twice(entries, stands.logs),
        other,
    )


def _left(stands: Ground) -> list[str]:
    """Whatever runs of a command that has ended: orphans, and workers that still do something."""
    busy = [title for node in stands.nodes for title in node.workers().values()]
    return [str(one) for one in orphans(list(stands.programs.values()))] + busy


def show(course: Course, found: Verdict) -> None:
    """Print who was killed, and what came of it."""
    kills, outcome = Table("killed with -9"), Table("what came of it")
    for column in ("times", "first, s", "last, s", "away, median s", "longest, s"):
        kills.add_column(column, justify="right")
    outcome.add_column(justify="right")
    for victim in VICTIMS:
        at = [hit.at for hit in course.hits if hit.victim == victim]
        away = course.away.get(victim)
        times = (f"{statistics.median(away):.1f}", f"{max(away):.1f}") if away else ("", "")
        ends = (f"{at[0]:.0f}", f"{at[-1]:.0f}") if at else ("", "")
        kills.add_row(victim, str(len(at)), *ends, *times)
    told: dict[str, object] = {
        "kills": len(course.hits),
        "the sweep took": duration(course.seconds),
        "times that the command was run": course.starts,
        "of these it gave up by itself": course.gave_up.total(),
        "lost": len(found.lost),
        "done twice": len(found.twice),
        "table, results and MLflow equal to the bit": "no" if found.other else "yes",
    }
    for name, value in told.items():
        outcome.add_row(name, str(value))
    console.print(kills, outcome)
    for why, times in course.gave_up.most_common():
        console.print(f"gave up {times} times: {why}", markup=False, highlight=False)
    for line in (*found.lost, *found.twice, *found.other):
        console.print(line, style="red", markup=False, highlight=False)


if __name__ == "__main__":
    sys.exit(main())
