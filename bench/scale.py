"""`python -m bench.scale [--quick]`: what grows with trials, texts, classes and processes.

Ten thousand trials that do nothing, a million rows of soft labels, 64 processes that read one
result, MLflow with thousands of trials, and all that a store is asked. Needs Linux, which tells a
process its highest memory; the S3 protocol takes part where moto is installed.
"""

import argparse
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.table import Table

from bench import asked, loopback, storing, tracked
from bench.growth import idle
from bench.planning import command
from bench.readers import Readers, Way
from bench.sweep import WIDTH, heading

PACKAGES = ("ray", "mlflow", "obstore", "psutil")
MB = 1e6

console = Console(width=110)


@dataclass(frozen=True)
class Sizes:
    """How much is run."""

    idle: int = 10_000
    rows: int = 1_000_000
    classes: tuple[int, ...] = (2, 20)
    texts: int = 100_000
    readers: int = 64
    shared: int = 5000
    """Texts whose features and soft labels those processes read."""
    tracked: int = 1000
    copies: int = 5
    """How many of each of those there are at last."""
    asked: int = 24
    """Trials of the sweep whose requests are counted."""
    listed: int = 10_000
    records: int = 10_000


QUICK = Sizes(
    idle=50,
    rows=10_000,
    classes=(2,),
    texts=1000,
    readers=4,
    shared=500,
    tracked=10,
    asked=3,
    listed=50,
    records=100,
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a hundredth of it, in a minute")
    sizes = QUICK if parser.parse_args().quick else Sizes()
    console.print(heading(PACKAGES))
    with TemporaryDirectory() as folder:
        run(sizes, Path(folder))


def run(sizes: Sizes, home: Path) -> None:
    """Measure everything in a folder, and print it as it comes."""
    trials(sizes.idle, home)
    _rows(f"file: {sizes.rows:,} rows of soft labels", _results(sizes, str(home / "rows")))
    texts(sizes, home)
    processes(sizes, home)
    mlflow(sizes, home)
    _rows(
        f"file: {sizes.listed:,} students listed",
        {"s": f"{asked.listed(str(home / 'names'), sizes.listed).seconds:.3f}"},
    )
    if loopback.installed():
        s3(sizes, home)
    else:
        console.print("S3: skipped, since moto is not installed: pip install -e '.[dev]'")


def trials(count: int, home: Path) -> None:
    """Trials that do nothing: how many a second, and what memory they leave behind."""
    found = idle(count, home)
    _table(
        f"{count:,} trials that do nothing",
        ("", "a second", "ms of the driver's CPU for each"),
        (
            (tenth, f"{pace.rate:.0f}", f"{pace.cpu * 1e3:.1f}")
            for tenth, pace in (("first tenth", found.first), ("last tenth", found.last))
        ),
    )
    _table(
        "their memory",
        ("", "MB after a tenth", "MB at most", "kB a trial"),
        (
            (role, _mb(grown.early), _mb(grown.peak), f"{grown.per_trial / 1e3:.1f}")
            for role, grown in found.growth.items()
        ),
    )


def texts(sizes: Sizes, home: Path) -> None:
    """A task's texts in memory, their features and soft labels, and a sweep's finished trials."""
    file = home / "texts.csv"
    costs = {
        f"a task's {sizes.texts:,} texts are read": storing.read(file, sizes.texts),
        f"their {WIDTH} features and soft labels are gathered": storing.gathered(
            str(home / "gathered"), file, WIDTH
        ),
        f"the records of {sizes.records:,} trials are held": storing.records(sizes.records),
    }
    _costs("one process", costs)


def processes(sizes: Sizes, home: Path) -> None:
    """Many processes that read one result, shared and each for itself."""
    file, store, found = home / "shared.csv", str(home / "shared"), home / "readers.json"
    storing.read(file, sizes.shared)
    storing.gathered(store, file, WIDTH)
    command("bench.readers", str(found), store, str(file), str(sizes.readers))
    readers = Readers.of(found)

    def row(name: str, way: Way) -> tuple[str, ...]:
        return name, f"{way.seconds:.2f}", _mb(way.private), _mb(way.part)

    _table(
        f"{readers.processes} processes, there after {readers.started:.0f} s, read "
        f"{_mb(readers.bytes)} MB; ray.put takes {readers.put:.3f} s",
        ("", "s until all have it", "MB private", "MB with its part of the shared"),
        (row("from Ray's object store", readers.shared), row("each from disk", readers.loaded)),
    )


def mlflow(sizes: Sizes, home: Path) -> None:
    """What MLflow's database takes for each trial, and how long it sorts many."""
    each = tracked.written(home, sizes.tracked)
    _rows(
        f"MLflow: each of {sizes.tracked:,} trials",
        {
            "CPU ms of the process that writes": f"{each.cpu * 1e3:.0f}",
            "kB of database": f"{each.bytes / 1e3:.0f}",
            "rows of values": f"{each.points:.0f}",
            "kB of memory that the process keeps": f"{each.memory / 1e3:.1f}",
        },
    )
    few = tracked.asked(home)
    tracked.multiply(home, sizes.copies)
    _table(
        "MLflow: seconds for an answer",
        ("trials", "page by a metric, mid-sweep", "after the end", "trials only", "sweep again"),
        (
            (f"{one.trials:,}", *(f"{seconds:.2f}" for seconds in one[1:]))
            for one in (few, tracked.asked(home))
        ),
    )


def s3(sizes: Sizes, home: Path) -> None:
    """The same rows over the S3 protocol, and the requests of sweeps and lists."""
    uri = f"s3://{loopback.BUCKET}"
    with loopback.server(home) as log:
        _rows(f"S3: {sizes.rows:,} rows of soft labels", _results(sizes, uri, log))
        first, again = asked.sweeps(home, uri, sizes.asked, log)
        for title, found in (("a sweep", first), ("the same command again", again)):
            _table(
                f"S3: requests of {title}, {sizes.asked} trials",
                ("", "a trial", "the sweep itself"),
                ((name, f"{one.trial:g}", f"{one.sweep:g}") for name, one in found.items()),
            )
        listed = asked.listed(uri, sizes.listed, log)
        _rows(
            f"S3: {sizes.listed:,} students listed",
            {"s": f"{listed.seconds:.3f}", "requests": str(listed.requests)},
        )


def _results(sizes: Sizes, uri: str, log: loopback.Log | None = None) -> dict[str, str]:
    def told(cost: storing.Cost) -> str:
        requests = f", {log.new().total()} requests" if log else ""
        return f"{cost.seconds:.3f} s, {_mb(cost.peak)} MB of memory{requests}"

    found = {}
    for classes in sizes.classes:
        kind, what = f"rows-{classes}", f"{classes} classes, {_mb(4 * classes * sizes.rows)} MB"
        found[f"{what}, published"] = told(storing.publish(uri, kind, sizes.rows, classes))
        found[f"{what}, loaded"] = told(storing.load(uri, kind))
    return found


def _costs(title: str, costs: Mapping[str, storing.Cost]) -> None:
    _table(
        title,
        ("", "s", "MB of memory"),
        ((name, f"{cost.seconds:.2f}", _mb(cost.peak)) for name, cost in costs.items()),
    )


def _rows(title: str, rows: Mapping[str, str]) -> None:
    _table(title, ("", ""), rows.items())


def _table(title: str, headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    table = Table(show_header=any(headings))
    for number, column in enumerate(headings):
        table.add_column(column, justify="right" if number else "left")
    for row in rows:
        table.add_row(*row)
    console.print(title, table, f"load average of the last minute {os.getloadavg()[0]:.1f}\n")


def _mb(size: float) -> str:
    return f"{size / MB:.1f}"


if __name__ == "__main__":
    main()
