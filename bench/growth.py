"""Memory of the driver and of Ray's own processes, while trials that do nothing go by."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil

from bench.clocks import Recording

INTERVAL = 0.5
"""Seconds between two looks at the processes."""
SERVERS = {"gcs_server": "GCS", "raylet": "raylet"}
"""Ray's own servers, by the names of their processes."""


class Look(NamedTuple):
    """Resident bytes of each process that has a role, at a moment in Unix time."""

    when: float
    held: Mapping[str, int]


class Growth(NamedTuple):
    """A role's resident memory after a tenth of the trials and at its highest, in bytes."""

    early: int
    peak: int
    per_trial: float


class Pace(NamedTuple):
    """Of a tenth of the trials."""

    rate: float
    """Trials a second."""
    cpu: float
    """Seconds of the driver's CPU for each, which other programs disturb less."""


class Idle(NamedTuple):
    """What a run of trials that do nothing gave: the first and the last tenth, and the memory."""

    first: Pace
    last: Pace
    growth: dict[str, Growth]


def idle(trials: int, home: Path) -> Idle:
    """Run them by `bench.idle`. Ends the program if that fails."""
    file = home / "growth.json"
    command = [sys.executable, "-m", "bench.idle", str(file), str(trials)]
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors) as process,
    ):
        looks = _watch(process)
        if process.returncode:
            errors.seek(0)
            raise SystemExit(f"bench.idle failed: {errors.read().decode()[-2000:]}")
    found = Recording(file)
    ends = [span.ended for span in found.spans if span.name == "ended"]
    return summary(looks, ends, lambda began, ended: found.cpu(began, ended)["driver"])


def summary(
    looks: Sequence[Look], ends: Sequence[float], cpu: Callable[[float, float], float]
) -> Idle:
    """`ends`: when each trial ended, in order; `cpu`: what the driver used between two moments."""
    tenth = max(1, len(ends) // 10)
    early = [look for look in looks if look.when <= ends[tenth]] or looks[:1]
    growth = {}
    for role in ("driver", *SERVERS.values()):
        before = max(look.held.get(role, 0) for look in early)
        peak = max(look.held.get(role, 0) for look in looks)
        growth[role] = Growth(before, peak, (peak - before) / (len(ends) - tenth))

    def pace(began: float, ended: float) -> Pace:
        return Pace(tenth / (ended - began), cpu(began, ended) / tenth)

    return Idle(pace(ends[0], ends[tenth]), pace(ends[-1 - tenth], ends[-1]), growth)


def _watch(process: subprocess.Popen[bytes]) -> list[Look]:
    root, looks = psutil.Process(process.pid), []
    while process.poll() is None:
        held = {}
        with suppress(psutil.NoSuchProcess):
            held["driver"] = root.memory_info().rss
            for one in root.children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    if one.name() in SERVERS:
                        held[SERVERS[one.name()]] = one.memory_info().rss
        looks.append(Look(time.time(), held))
        time.sleep(INTERVAL)
    return looks
