"""Stores and locks after accidents, and with files of others in them."""

import contextlib
import hashlib
import io
import json
import os
import random
import re
import shutil
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
from given import ODDITIES, Case, Refused, anything, damaged, some_text

from jobs.store import Store
from jobs.store.housekeeping import main
from orchestrator.steps import lock

RESULTS = {
    ("features", "f" * 16): {"task": "0" * 16, "model": "m"},
    ("soft-labels", "a" * 16): {"task": "0" * 16, "adapter": "b" * 16},
    ("students", "5" * 16): {"features": "f" * 16, "soft_labels": "a" * 16},
    ("measurements", "d" * 16): {"student": "5" * 16},
    ("sweeps", "c" * 16): {"texts": "t"},
}
OWN = re.compile(r"(record\.json|[0-9a-f]{16}\.safetensors)(#\d+)?")
SWEEP = "e" * 16
HOLDER = f"locks/{SWEEP}/holder.json"


@cache
def whole() -> Path:
    """A store with a few results."""
    folder = Path(mkdtemp(prefix="fuzz-store-"))
    store = Store(str(folder))
    for number, ((kind, name), made_from) in enumerate(RESULTS.items()):
        tensors = {"numbers": np.arange(100.0) + number}
        summary = {"width": 3, "metrics": {"val.accuracy": [0.5, 0.75]}}
        store.publish(
            kind, name, tensors=tensors, spec={}, made_from=made_from, summary=summary, seconds=1.0
        )
    store.put(f"device_runs/{'9' * 16}/plan.json", "{}")  # what a run on a processor leaves
    return folder


def store(rng: random.Random, folder: Path) -> Case:
    """A store with damage or with what others have put there, and a command of its housekeeping."""
    inside, outside = folder / "store", folder / "outside"
    shutil.copytree(whole(), inside)
    shutil.copytree(whole(), outside / "other")
    done = [way(rng, inside, outside) for way in rng.choices(DAMAGE, k=rng.choice((1, 1, 2, 3)))]
    line = rng.choice(COMMANDS)
    fingerprint = rng.choice(("", "f", "5" * 16, "students/5", "../..", some_text(rng)))
    line = [fingerprint if each == "FP" else each for each in line]
    theirs = strangers(inside) | strangers(outside, own=False)
    intact = {key for key in RESULTS if unchanged(inside, *key)}

    def run() -> str:
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            try:
                status = main([*line, f"--store={inside}"])
            except SystemExit as stop:  # argparse has told
                status = stop.code
        if status == 2:
            raise Refused(said.getvalue())
        return said.getvalue()

    def check(printed: str) -> str | None:
        if gone := [path for path, content in theirs.items() if digest(path) != content]:
            return f"files of others are gone: {gone}"
        if lost := [key for key in intact if line[0] != "gc" and not unchanged(inside, *key)]:
            return f"whole results are gone: {lost}"
        counted = re.search(r"^(\d+) whole", printed, re.MULTILINE)
        if counted and int(counted[1]) != sound(inside):
            return f"{sound(inside)} results are whole, but it says: {printed:.500}"
        return None

    given = f"{line} of a store with {'; '.join(done)}"
    return Case(
        given,
        run,
        None,
        [part for part in line if part == fingerprint != "" and part[0] != "-"],
        check,
    )


COMMANDS = (
    *(["ls"], ["ls", "--kind=students"], ["ls", "--kind=x y"], ["verify"], ["verify", "--remove"]),
    *(["verify", "--remove"], ["gc"], ["gc", "--keep-used"], ["gc", "--dry-run"], ["show", "FP"]),
)


def strangers(folder: Path, own: bool = True) -> dict[Path, str]:
    """Files that a store has not named, with their digests; all files with `own` being false."""
    found = {}
    for place, _, names in os.walk(folder):
        for name in names:
            path = Path(place, name)
            parts = path.relative_to(folder).parts
            ours = own and len(parts) == 3 and parts[:2] in RESULTS and OWN.fullmatch(name)
            if path.is_file() and not path.is_symlink() and not ours and parts[0] != "locks":
                found[path] = digest(path)
    return found


def digest(path: Path) -> str:
    """Of a file's bytes; empty where there is none."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def unchanged(folder: Path, kind: str, name: str) -> bool:
    """Whether a result is as it was written, to the byte."""
    files = list((whole() / kind / name).iterdir())
    return all(digest(folder / kind / name / file.name) == digest(file) for file in files)


def sound(folder: Path) -> int:
    """How many results a reader gets, and gets as they were written."""
    store, count = Store(str(folder)), 0
    for kind, name in RESULTS:
        with contextlib.suppress(OSError):
            record, tensors = store.load(kind, name)
            like, original = Store(str(whole())).load(kind, name)
            there, before = dict(tensors), dict(original)
            if record == like and all((there[key] == before[key]).all() for key in before):
                count += 1
    return count


def _some(rng: random.Random, inside: Path) -> Path:
    return rng.choice(
        sorted(path for path in inside.rglob("*") if path.is_file()) or [inside / "x"]
    )


def _result(rng: random.Random, inside: Path) -> tuple[str, str]:
    """The kind and the fingerprint of one."""
    found = sorted(path.parent.parts[-2:] for path in inside.glob("*/*/record.json"))
    kind, name = rng.choice(found or [("features", "f" * 16)])
    return kind, name


def _damage(rng: random.Random, inside: Path, outside: Path) -> str:
    path = _some(rng, inside)
    if path.is_file():
        path.write_bytes(damaged(rng, path.read_bytes()))
    return f"damage to {path.name}"


def _delete(rng: random.Random, inside: Path, outside: Path) -> str:
    path = _some(rng, inside)
    path.unlink(missing_ok=True)
    return f"no {path.name}"


def _record(rng: random.Random, inside: Path, outside: Path) -> str:
    """A record with other fields, whose digest is not theirs."""
    kind, name = _result(rng, inside)
    path = inside / kind / name / "record.json"
    if not path.is_file():
        return "nothing"
    with contextlib.suppress(ValueError):
        fields = json.loads(path.read_bytes())
        if isinstance(fields, dict) and fields:
            key = rng.choice(list(fields))
            fields[key] = rng.choice((anything(rng), rng.choice(ODDITIES)))
            path.write_text(json.dumps(fields))
            return f"another {key} in {kind}"
    return "nothing"


def _foreign(rng: random.Random, inside: Path, outside: Path) -> str:
    """A file of others, beside a result or anywhere."""
    kind, name = _result(rng, inside)
    folder = rng.choice(
        (inside, inside / kind, inside / kind / name, inside / "notes" / "2024", inside / "x")
    )
    words = (
        "notes.txt",
        "mine.safetensors",
        "record.json.bak",
        "a\nb",
        "é",
        os.fsdecode(b"\xff"),
        "#1",
        "x#1",
    )
    path = folder / rng.choice((*words, "record.json"))
    if path.exists() or (path.name == "record.json" and folder == inside / kind / name):
        return "nothing"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_bytes(rng.choice((b"", b"{}", b"mine", rng.randbytes(9))))
    return f"a file {path.relative_to(inside)}"


def _link(rng: random.Random, inside: Path, outside: Path) -> str:
    """A link out of the store, or around in it."""
    kind, name = _result(rng, inside)
    at = rng.choice(
        (inside / "itself", inside / kind / "e1", inside / kind / name / "x", inside / "adapters")
    )
    to = rng.choice(
        (
            inside,
            at,
            outside,
            outside / "other" / kind,
            outside / "other" / kind / name,
            Path("/dev"),
        )
    )
    if at.exists() or at.is_symlink():
        return "nothing"
    at.symlink_to(to)
    return f"a link {at.relative_to(inside)} to {to}"


def _moved(rng: random.Random, inside: Path, outside: Path) -> str:
    """A result, or all of a kind, that lies elsewhere, behind a link, and may be damaged there."""
    kind, name = _result(rng, inside)
    at = rng.choice((inside / kind, inside / kind / name))
    if at.is_symlink() or not at.is_dir():
        return "nothing"
    to = outside / f"moved {len(list(outside.iterdir()))}"
    at.rename(to)
    at.symlink_to(to)
    if rng.random() < 0.5:
        _damage(rng, to, outside)
    return f"{at.relative_to(inside)} moved away"


def _special(rng: random.Random, inside: Path, outside: Path) -> str:
    """A pipe, or a folder where a file should be."""
    kind, name = _result(rng, inside)
    path = inside / kind / name / rng.choice(("pipe", "record.json"))
    if path.is_symlink() or not path.parent.is_dir():
        return "nothing"
    if path.is_file():
        path.unlink()
    if not path.exists():
        rng.choice((os.mkfifo, os.mkdir))(path)
    return f"no file {path.relative_to(inside)}"


DAMAGE: tuple[Callable[[random.Random, Path, Path], str], ...] = (
    *(_damage, _damage, _damage, _delete, _record, _record, _foreign, _foreign, _link, _moved),
    _special,
)


def locked(rng: random.Random, folder: Path) -> Case:
    """A sweep that somebody holds, or whose lock is none."""
    inside = Store(str(folder / "store"))
    now = time.time()
    plain = {"host": "another", "pid": os.getpid(), "started": 0.0, "token": "0" * 16, "seen": now}
    kind, free = rng.random(), False
    if kind < 0.2:
        free, plain["seen"] = True, now - rng.choice((121, 1e4, now))
        text = json.dumps(plain)
    elif kind < 0.4:
        text = json.dumps(plain | {"seen": now - rng.choice((0, 60, -60))})
    elif kind < 0.7:
        key = rng.choice(list(plain))
        text = json.dumps(plain | {key: rng.choice((anything(rng), rng.choice(ODDITIES)))})
    else:
        text = ""
    content = text.encode() if text else damaged(rng, json.dumps(plain).encode())
    inside.put(HOLDER, "x")
    (folder / "store" / HOLDER).write_bytes(content)

    def run() -> bool:
        with lock.held(inside, SWEEP):
            return True

    # What is damaged may still say that its holder is dead.
    valid = free if kind < 0.4 else None
    return Case(f"a lock {content!r:.300}", run, valid, [SWEEP])
