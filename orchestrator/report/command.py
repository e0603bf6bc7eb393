"""The command that shows a sweep again: `python -m orchestrator.report SWEEP`."""

import argparse
from collections.abc import Sequence
from typing import Any, get_args

from jobs import kinds
from jobs.command import Parser, status
from jobs.screen import Screen, say
from orchestrator.console import PLAIN_WIDTH
from orchestrator.plan import History
from orchestrator.report import champion, findings, frames, page, rivals, splits, tables
from orchestrator.report.findings import Findings
from qdllm import outside


def parser() -> argparse.ArgumentParser:
    """The command line."""
    command = Parser(
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
        default=".qdllm",
        metavar="DIR",
        help="folder of the sweep; the page goes to its reports (default: %(default)s)",
    )
    command.add_argument(
        "--store",
        metavar="URI",
        help="where the results are (default: $QDLLM_STORE, or the store in that folder)",
    )
    command.add_argument(
        "--format",
        choices=get_args(frames.Format),
        help="write what was found as data instead, into the page's folder: trials, seeds, curves",
    )
    command.add_argument(
        "--export",
        metavar="FOLDER",
        help="write the champion into a new folder, with a model card: it predicts by itself",
    )
    return command


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns its exit status: 0, 2 for input that cannot be used, or 1."""
    options = parser().parse_args(arguments)
    return status(lambda: report(options), before="error: ")


def report(options: argparse.Namespace) -> int:
    """Show what was asked for, or write it. Returns 0."""
    home = outside.path(options.home)
    store, found = findings.read(options.sweep, home, options.store)
    if options.export is not None:
        champion.export(found, store, outside.path(options.export))
        say(options.export)
    if options.format:
        folder = home / "reports" / f"{found.name}-{found.sweep.fingerprint}"
        say(*frames.write(found, store, folder, options.format))
    if options.export is not None or options.format:
        return 0
    path = page.write(found, home / "reports")
    show(found, splits.told(History(store), found.sweep))
    say(path)
    return 0


def show(found: Findings, over_splits: Sequence[Any] = ()) -> None:
    """Print what a sweep prints at its end. `over_splits`: what `splits.told` said."""
    console = Screen()
    if not console.is_terminal:
        console.width = PLAIN_WIDTH
    told = (kinds.kind(record.kind).line(record) for record in (*found.sources, *found.baselines))
    lines = [found.sweep.summary["texts"], *filter(None, told)]
    if found.champion:
        title = f"{len(found.order)} trials of {found.name}, by validation accuracy"
        wide = console.width >= tables.WIDE
        lines += [
            tables.trials_table(found, title, wide=wide),
            *tables.chosen_lines(found),
        ]
        for record in found.evaluations:
            kind = kinds.kind(record.kind)
            opinion = kind.opinion(record, found.champion.record)
            lines.append(f"{kind.title(record)}: {opinion}")
    else:
        lines.append(tables.no_champion_line(found))
    lines += filter(None, [rivals.table(found, wide=console.width >= rivals.WIDE)])
    lines += over_splits
    if found.missing:
        n = len(found.missing)
        lines.append(f"{n} trial has no result" if n == 1 else f"{n} trials have no result")
    for line in lines:
        console.print(line, soft_wrap=isinstance(line, str))
