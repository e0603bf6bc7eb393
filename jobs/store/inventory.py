"""What lies in a store: its results, what each is, and what no run can use."""

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import Any

from jobs import kinds
from jobs.kinds.teachers import CHECKPOINTS
from jobs.store.record import DamagedError, Record, VersionError
from jobs.store.results import RECORD, RESULT, File, Store

Key = tuple[str, str]
"""A result's kind and fingerprint."""

NAME = re.compile(r"[\w.-]+")
"""What kinds and fingerprints are made of."""
CHECKS = "doctor"
"""The folder where the checks of nodes write."""
CHECKED = re.compile(CHECKS + r"/[0-9a-f]{16}/(driver|[^/]+/file)")
"""What one that was killed has left there."""
GRACE = 3600.0
"""Seconds for which data without a record may belong to a writer at work."""


@dataclass(frozen=True)
class Inventory:
    """All files of a store by the kind and fingerprint that their paths begin with."""

    folders: Mapping[Key, list[File]]

    @cached_property
    def results(self) -> dict[Key, list[File]]:
        """Of each result that has a record the files that the store has named."""
        found = {key: list(filter(_named, files)) for key, files in self.folders.items()}
        return {
            key: files
            for key, files in found.items()
            if any(file.path == "/".join((*key, RECORD)) for file in files)
        }


@dataclass(frozen=True)
class Garbage:
    """Files that can go together, and why."""

    name: str
    why: str
    files: list[File]

    @property
    def bytes(self) -> int:
        """How much room they take."""
        return sum(file.bytes for file in self.files)


def inventory(store: Store) -> Inventory:
    """What lies in the store, by one listing of it."""
    folders: dict[Key, list[File]] = {}
    for file in store.files():
        kind, _, rest = file.path.partition("/")
        fingerprint, _, name = rest.partition("/")
        if name and NAME.fullmatch(kind) and NAME.fullmatch(fingerprint):
            folders.setdefault((kind, fingerprint), []).append(file)
    return Inventory(folders)


def peek(store: Store, key: Key) -> Record | DamagedError | VersionError | None:
    """A result's record, or why it cannot be read; None where it has none."""
    try:
        return store.record(*key)
    except (DamagedError, VersionError) as error:
        return error


def told(record: Record) -> str:
    """In a few words what a result is. Of values per seed, the mean."""
    kind = kinds.kinds().get(record.kind)
    paths = (kind and kind.told) or {name: f"summary/{name}" for name in record.summary}
    values = {name: _short(_at(record, path)) for name, path in paths.items()}
    return ", ".join(f"{name} {value}".strip() for name, value in values.items() if value)


def leftovers(store: Store, held: Inventory, now: float) -> list[Garbage]:
    """What no record names: of writers that were killed or have lost a race, of checks of nodes.

    Not what is younger than an hour at `now`, in Unix time: its writer may be at work. Nor where
    the kind is not known here, or a record cannot be read.
    """
    garbage = []
    for key, files in held.folders.items():
        if key[0] == CHECKS:
            stray = [file for file in files if CHECKED.fullmatch(file.path)]
            garbage += [
                Garbage(file.path, "a check of nodes has left it", [file])
                for file in stray
                if file.modified < now - GRACE
            ]
        if key[0] not in kinds.kinds() or _foreign(held, key):
            continue
        stray = [file for file in files if _is_data(file) and file.modified < now - GRACE]
        record = peek(store, key) if stray else None
        if isinstance(record, Record):
            stray = [file for file in stray if not file.path.endswith(f"/{record.data.name}")]
        elif record:
            continue
        garbage += [Garbage(file.path, "no record names it", [file]) for file in stray]
    return garbage


def old_checkpoints(held: Inventory, now: float) -> list[Garbage]:
    """Checkpoints of what is published, and what only an earlier version of
    this program reads, unless it is younger than an hour at `now`, in Unix time."""
    trained = [each for each in kinds.kinds().values() if each.holds in ("workers", "trial")]
    garbage = []
    for key, files in held.folders.items():
        if key[0] != CHECKPOINTS.name:
            continue
        published = [each for each in trained if (each.name, key[1]) in held.results]
        if published:
            garbage.append(Garbage("/".join(key), f"its {published[0].label} are published", files))
        elif _foreign(held, key) and all(file.modified < now - GRACE for file in files):
            garbage.append(Garbage("/".join(key), "of an earlier version, not read here", files))
    return garbage


def unused(store: Store, held: Inventory) -> list[Garbage]:
    """Results that no trial was made from, and findings on such, or on none that is here.

    A result of a kind that is not known here is kept like a student, with what it was made from.
    Raises DamagedError or VersionError if a record cannot be read: what it needs is not known.
    """
    made_from: dict[Key, set[str]] = {}
    for key in held.results:
        record = store.record(*key)
        made_from[key] = set(record.made_from.values()) if record else set()
    used, here = set[str](), {name for _, name in made_from}
    kept = {name: each.kept for name, each in kinds.kinds().items()}
    waiting = [key for key in made_from if kept.get(key[0], "always") == "always"]
    while waiting:
        key = waiting.pop()
        used.add(key[1])
        waiting += [other for other in made_from if other[1] in made_from[key] - used]
    return [
        Garbage("/".join(key), "no student uses it", held.results[key])
        for key, sources in made_from.items()
        # What it is made from may also have digests of what is no result, such as a chip's.
        if key[1] not in used and not (kept[key[0]] == "source" and set() < sources & here <= used)
    ]


def _foreign(held: Inventory, key: Key) -> bool:
    """Whether a checkpoint is an earlier version's: a folder of Ray's, without a record."""
    own = key in held.results or all(map(_is_data, held.folders[key]))
    return key[0] == CHECKPOINTS.name and not own


def _named(file: File) -> bool:
    """Whether it is called as a result's files are; others may have put theirs beside them."""
    return bool(RESULT.fullmatch(file.path.split("/", 2)[2]))


def _is_data(file: File) -> bool:
    return _named(file) and not file.path.endswith(f"/{RECORD}")


def _at(record: Record, path: str) -> Any:
    part, _, rest = path.partition("/")
    if part == "metrics":
        # A list tells what there is, also of a result that nobody could use.
        with suppress(DamagedError):
            return kinds.kind(record.kind).metrics(record).get(rest)
        return None
    value: Any = record.model_dump()[part]
    for step in rest.split("/"):
        value = value.get(step) if isinstance(value, dict) else None
    return value


def _short(value: Any) -> str:
    if isinstance(value, list):
        numbers = all(isinstance(one, int | float) for one in value)
        return _short(fmean(value)) if value and numbers else f"{len(value):,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int):
        return f"{value:,}"
    return value if isinstance(value, str) else ""
