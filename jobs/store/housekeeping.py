"""`python -m jobs.store`: show what a store holds, check it, and clean it up."""

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.filesize import decimal
from rich.table import Table

from jobs import kinds
from jobs.command import Parser, status
from jobs.screen import Screen, say
from jobs.store import address
from jobs.store.inventory import Key, inventory, leftovers, old_checkpoints, peek, told, unused
from jobs.store.record import DamagedError, Record, VersionError
from jobs.store.results import File, Store
from qdllm.errors import ConfigError, nearest
from qdllm.messages import shown, some

PLAIN_WIDTH = 150
"""Columns where the output is no terminal: enough not to fold a line that a program reads."""
HOME = Path(".qdllm")
"""Where a sweep writes if nothing else is said."""
NAMED = 5
"""Results that a message names at most."""


def parser() -> argparse.ArgumentParser:
    """The command line. Each subcommand sets `run`, called with the store and the options."""
    command = Parser(
        prog="python -m jobs.store",
        description="Show what a store holds, check it, and clean it up.",
    )
    commands = command.add_subparsers(required=True, metavar="COMMAND")

    def add(run: Callable[..., int], help: str) -> argparse.ArgumentParser:
        one = commands.add_parser(run.__name__, help=help, description=run.__doc__)
        one.add_argument(
            "--store",
            metavar="URI",
            help="a folder, s3://bucket/prefix or gs://bucket/prefix (default: $QDLLM_STORE, or "
            f"{HOME}/store)",
        )
        one.set_defaults(run=run)
        return one

    listing = add(ls, "list results, the newest last")
    listing.add_argument("--kind", help="only results of this kind, such as students")
    one = add(show, "print a result's record")
    one.add_argument(
        "fingerprint", metavar="FP", help="how a fingerprint or kind/fingerprint begins"
    )
    check = add(verify, "read every result and tell which are damaged")
    check.add_argument("--remove", action="store_true", help="delete what is damaged")
    clean = add(gc, "delete what no run can use")
    clean.add_argument(
        "--keep-used", action="store_true", help="delete also results that no student uses"
    )
    clean.add_argument(
        "--dry-run", action="store_true", help="show what would be deleted, and stop"
    )
    return command


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns its exit status.

    0; 1 if a result is damaged or the store cannot be used; 2 for arguments that cannot be used.
    """
    options = parser().parse_args(arguments)

    def run() -> int:
        store = Store(address.existing(options.store, HOME))
        ended: int = options.run(store, options)
        return ended

    return status(run)


def ls(store: Store, options: argparse.Namespace) -> int:
    """List the results, the newest last."""
    results = inventory(store).results
    kinds = sorted({kind for kind, _ in results})
    if options.kind not in (None, *kinds):
        raise ConfigError(
            f"{store.uri} has no results of kind {shown(options.kind)}"
            f"{nearest(options.kind, kinds)}; there are: {some(kinds)}"
        )
    rows, total = [], 0
    for key, files in results.items():
        if options.kind in (None, key[0]):
            size = sum(file.bytes for file in files)
            record = peek(store, key)
            rows.append(
                (record.created, *key, f"{record.seconds:,.1f} s", decimal(size), told(record))
                if isinstance(record, Record)
                else (files[0].modified, *key, "", decimal(size), "cannot be read: see verify")
            )
            total += size
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in ("kind", "fingerprint", "created"):
        table.add_column(heading, no_wrap=True)
    for heading in ("took", "size"):
        table.add_column(heading, no_wrap=True, justify="right")
    table.add_column("what it is")
    for created, kind, fingerprint, *rest in sorted(rows):
        day = time.strftime("%Y-%m-%d %H:%M", time.localtime(created))
        table.add_row(kind, fingerprint, day, *rest)
    width = None if sys.stdout.isatty() else PLAIN_WIDTH
    Screen(width=width).print(table)
    say(f"{len(rows)} result{'s' * (len(rows) != 1)}, {decimal(total)}, in {store.uri}")
    return 0


def show(store: Store, options: argparse.Namespace) -> int:
    """Print the record of a result, what it was made from, and what was made from it."""
    results = inventory(store).results
    key = find(results, options.fingerprint)
    record = store.record(*key)
    if record is None:
        raise ConfigError(f"{'/'.join(key)} has just been deleted")
    others = {other: peek(store, other) for other in sorted(results)}
    lines = {
        other: f"{'/'.join(other)}  {told(found)}"
        for other, found in others.items()
        if isinstance(found, Record)
    }
    say("/".join(key))
    say(record.model_dump_json(indent=2))
    say("made from")
    for name, source in record.made_from.items():
        held = [line for other, line in lines.items() if other[1] == source]
        say(f"  {name}: {'; '.join(held) or source}")
    say("used by")
    for other, line in lines.items():
        found = others[other]
        if isinstance(found, Record) and record.fingerprint in found.made_from.values():
            say(f"  {line}")
    return 0


def verify(store: Store, options: argparse.Namespace) -> int:
    """Read every result to its last byte, and tell which are damaged."""
    results = inventory(store).results
    damaged, foreign = [], 0
    for key in sorted(results):
        try:
            store.load(*key)
        except DamagedError as error:
            say(f"{'/'.join(key)}: {error.problem}")
            damaged.append(key)
        except VersionError as error:
            say(error)
            foreign += 1
    whole = len(results) - len(damaged) - foreign
    say(
        f"{whole} whole, {len(damaged)} damaged"
        + (f", {foreign} of another version" if foreign else "")
    )
    if not options.remove:
        return 1 if damaged else 0
    left = [key for key in damaged if key[0] not in kinds.kinds() or behind_link(results[key])]
    removed = [key for key in damaged if key not in left]
    store.delete(file for key in removed for file in results[key])
    if removed:
        say("removed what is damaged; the next run that needs it computes it anew")
    for key in left:
        say(f"{'/'.join(key)}: left, for it lies behind a link, or is of a kind unknown here")
    return 1 if left else 0


def gc(store: Store, options: argparse.Namespace) -> int:
    """Delete what no run can use. Not to be run beside a sweep with --keep-used."""
    held = inventory(store)
    now = time.time()
    garbage = leftovers(store, held, now) + old_checkpoints(held, now)
    if options.keep_used:
        garbage += unused(store, held)
    garbage = [item for item in garbage if not behind_link(item.files)]
    for item in garbage:
        say(f"{item.name}  {decimal(item.bytes)}  {item.why}")
    files = {file for item in garbage for file in item.files}
    if not options.dry_run:
        store.delete(files)
    done = "would remove" if options.dry_run else "removed"
    say(f"{done} {decimal(sum(file.bytes for file in files))}")
    return 0


def behind_link(files: Iterable[File]) -> bool:
    """Whether others may own what lies there: a store deletes nothing behind a link."""
    return any(file.linked for file in files)


def find(results: Iterable[Key], given: str) -> Key:
    """The one result whose fingerprint, or kind/fingerprint, begins as given.

    Raises ConfigError if there is none, or more than one.
    """
    found = [
        key for key in results if ("/".join(key) if "/" in given else key[1]).startswith(given)
    ]
    if len(found) == 1:
        return found[0]
    if not found:
        raise ConfigError(
            f"no fingerprint begins with {shown(given)}; `python -m jobs.store ls` lists all"
        )
    named = ", ".join("/".join(key) for key in sorted(found)[:NAMED])
    raise ConfigError(
        f"{shown(given)} begins {len(found)} results: {named}{', …' * (len(found) > NAMED)}; "
        "give more of it"
    )
