"""The command that shows a sweep again: `python -m orchestrator.report SWEEP`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from jobs.store import Store
from orchestrator.console import PLAIN_WIDTH
from orchestrator.report import findings, page, tables
from orchestrator.report.findings import Findings
from qdllm.errors import ConfigError, QdllmError


def parser() -> argparse.ArgumentParser:
    """The command line."""
    command = argparse.ArgumentParser(
        prog="python -m orchestrator.report",
        description="Show what a sweep has found so far: its tables here, and a page with figures.",
    )
    command.add_argument(
        "sweep",
        metavar="SWEEP",
        help="its fingerprint, or the beginning of it; or its name, such as "
        "ablation-sample-thematic, for the newest of that name",
    )
    command.add_argument(
        "--home",
        type=Path,
        default=Path(".qdllm"),
        metavar="DIR",
        help="folder of the sweep; the page goes to its reports (default: %(default)s)",
    )
    command.add_argument(
        "--store", metavar="URI", help="where the results are (default: the store in that folder)"
    )
    return command


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns its exit status: 0, 2 for input that cannot be used, or 1."""
    options = parser().parse_args(arguments)
    home: Path = options.home.expanduser().absolute()
    try:
        if options.store is None and not (home / "store").is_dir():
            raise ConfigError(
                f"there is no store in {home}; say with --home or --store where the sweep ran"
            )
        store = Store(options.store or str(home / "store"))
        found = findings.findings(store, findings.find(store, options.sweep))
        path = page.write(found, home / "reports")
    except (QdllmError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 1
    show(found)
    print(path)
    return 0


def show(found: Findings) -> None:
    """Print what a sweep prints at its end."""
    console = Console()
    if not console.is_terminal:
        console.width = PLAIN_WIDTH
    lines = [found.sweep.summary["texts"], *map(tables.teacher_line, found.teachers)]
    if found.champion:
        title = f"{len(found.order)} trials of {found.name}, by validation accuracy"
        wide = console.width >= tables.WIDE
        table = tables.trials_table(found.order, found.champion, found.probes, title, wide=wide)
        lines += [table, tables.champion_line(found.champion, found.order[0])]
        if found.evaluation:
            opinion = tables.second_opinion_line(found.champion, found.evaluation)
            lines.append(f"mindquantum: {opinion}")
    else:
        lines.append("no trial has finished, so there is no champion")
    if found.missing:
        n = len(found.missing)
        lines.append(f"{n} trial has no result" if n == 1 else f"{n} trials have no result")
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=isinstance(line, str))
