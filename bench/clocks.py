"""Clocks for a command of many processes: when each step ran, and what each process computed."""

import functools
import json
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil

INTERVAL = 1.0
"""Seconds between two looks at the processes."""
RAYS_OWN = ("ray::IDLE", "ray::DashboardAgent", "ray::RuntimeEnvAgent")
"""The titles of Ray's worker processes that run no trial."""


class Span(NamedTuple):
    """When a step began and ended, in Unix time, and the trial that it was for."""

    name: str
    began: float
    ended: float
    trial: str = ""

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.ended - self.began


class Clocks:
    """Watches this process and all below it until `write`."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self._roles: dict[int, str] = {}
        self._started: dict[int, float] = {}
        self._samples: list[tuple[float, float, dict[int, float]]] = []
        self._ending = threading.Event()
        self._look()
        self._watcher = threading.Thread(target=self._watch, name="clocks", daemon=True)
        self._watcher.start()

    @contextmanager
    def span(self, name: str, trial: str = "") -> Iterator[None]:
        """Time the block."""
        began = time.time()
        try:
            yield
        finally:
            self.spans.append(Span(name, began, time.time(), trial))

    def around(self, owner: Any, attribute: str, name: str) -> None:
        """Time each call of a module's function, or of a class's method."""
        call = getattr(owner, attribute)

        @functools.wraps(call)
        def timed(*arguments: Any, **options: Any) -> Any:
            trials = (one.fingerprint for one in arguments if hasattr(one, "fingerprint"))
            with self.span(name, next(trials, "")):
                return call(*arguments, **options)

        setattr(owner, attribute, timed)

    def write(self, file: Path) -> None:
        """End, and leave in a file what `Recording` reads."""
        self._ending.set()
        self._watcher.join()
        self._look()
        processes = [
            {
                "role": role,
                "times": [
                    self._started[pid],
                    *(when for when, _, cpu in self._samples if pid in cpu),
                ],
                "cpu": [0.0, *(cpu[pid] for _, _, cpu in self._samples if pid in cpu)],
            }
            for pid, role in self._roles.items()
        ]
        machine = {
            "times": [when for when, _, _ in self._samples],
            "cpu": [busy for _, busy, _ in self._samples],
        }
        file.write_text(
            json.dumps({"spans": self.spans, "processes": processes, "machine": machine})
        )

    def _watch(self) -> None:
        while not self._ending.wait(INTERVAL):
            self._look()

    def _look(self) -> None:
        me, seconds = psutil.Process(), dict[int, float]()
        for process in (me, *me.children(recursive=True)):
            with suppress(psutil.NoSuchProcess), process.oneshot():
                # A worker's title is what it does at the moment.
                if self._roles.get(process.pid) != "trials":
                    self._roles[process.pid] = _role(process, me)
                self._started[process.pid] = process.create_time()
                times = process.cpu_times()
                seconds[process.pid] = times.user + times.system
        whole = psutil.cpu_times()
        self._samples.append((time.time(), sum(whole) - whole.idle - whole.iowait, seconds))


def _role(process: psutil.Process, me: psutil.Process) -> str:
    if process.pid == me.pid:
        return "driver"
    title = " ".join(process.cmdline())
    if "spawn_main" in title:
        return "MLflow's writer"
    at_work = title.startswith("ray::") and not title.startswith(RAYS_OWN)
    return "trials" if at_work else "Ray"


class Recording:
    """What `Clocks` left."""

    def __init__(self, file: Path) -> None:
        content = json.loads(file.read_text())
        self.spans = [Span(*span) for span in content["spans"]]
        self._processes, self._machine = content["processes"], content["machine"]

    def span(self, name: str) -> Span:
        """The one step of that name."""
        (found,) = (span for span in self.spans if span.name == name)
        return found

    def started(self, role: str) -> float:
        """When the first process of a role started, in Unix time."""
        return min(one["times"][0] for one in self._processes if one["role"] == role)

    def cpu(self, began: float, ended: float) -> Mapping[str, float]:
        """CPU seconds between two moments by role, and as "others" those of all other programs."""
        seconds: defaultdict[str, float] = defaultdict(float)
        for one in self._processes:
            seconds[one["role"]] += _between(one, began, ended)
        everybody = _between(self._machine, began, ended)
        seconds["others"] = max(0.0, everybody - sum(seconds.values()))
        return seconds


def _between(counter: dict[str, list[float]], began: float, ended: float) -> float:
    first, last = np.interp([began, ended], counter["times"], counter["cpu"])
    return float(last - first)
