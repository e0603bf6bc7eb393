"""What a run on a processor is: its texts, circuits and chunks, fixed before anything is sent."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from torch import Tensor

from jobs.devices.protocol import Limits, Task
from jobs.devices.runs import Plan
from jobs.students import Trained
from qdllm.circuits.gates import Angle
from qdllm.errors import ConfigError
from qdllm.processors import simulated
from qdllm.processors.calibration import Calibration
from qdllm.processors.native import Native, flipped, native
from qdllm.processors.simulated import Run
from qdllm.processors.spec import MeasurementSpec

CHUNK = 50
"""Circuits that are sent together, at most."""
CHECKS = 0
"""The number of the chunk that comes first, and by which bits are checked."""


class Layout(NamedTuple):
    """Where bits are read, and the tasks that tell how well, at first and at last."""

    measured: tuple[int, ...]
    """The chip's qubit of each."""
    first: tuple[int, int]
    """Tasks of all 0, and of all 1."""
    last: tuple[int, int]


@dataclass(frozen=True)
class Work:
    """All tasks of a run in their order, and which of them tell what."""

    tasks: list[Task]
    layouts: list[Layout]
    hot: list[tuple[int, int]]
    """Tasks that check bits: their number, and the classical bit that is 1."""
    texts: list[tuple[Run, int, int]]
    """Of each run the layout, and the number of its first text's task."""
    shares: np.ndarray
    """(runs, texts)"""
    checks: int
    """How many tasks come first, by which bits are checked."""

    @property
    def digest(self) -> str:
        """Of all that a processor would be given."""
        told = hashlib.sha256()
        for task in self.tasks:
            told.update(repr((task.circuit, task.point)).encode())
        return told.hexdigest()

    @property
    def circuits(self) -> str:
        """Of what is the same wherever it is worked out: weights are stored, while what texts turn
        has other last bits on another machine."""
        told = hashlib.sha256()
        for task in self.tasks:
            gates = [
                (gate.name, gate.qubits, [_rounded(angle) for angle in gate.angles])
                for gate in task.circuit.circuit.gates
            ]
            told.update(repr((gates, task.circuit.measured, len(task.point))).encode())
        return told.hexdigest()


def _rounded(angle: Angle) -> Angle:
    """What sines and cosines leave of sixteen digits is no difference."""
    return angle._replace(factor=round(angle.factor, 9), offset=round(angle.offset, 9))


def work(
    found: Trained, spec: MeasurementSpec, seed: int, angles_NA: Tensor, chip: Calibration
) -> Work:
    """All circuits of a run. `angles_NA`: of its texts.

    First, X on one bit's qubit alone, on the first and on the last: they tell in which order bits
    come. Then all 0 and all 1, which tell how bits are read, and at the end once more. Raises
    ConfigError where the chip is too small.
    """
    size = 1 + max(one.index for one in chip.qubits)
    weights_W = found.under().weights[seed].tolist()
    every = simulated.runs(found.spec.circuit, str(spec.form), chip)
    natives = [native(run.placed, weights_W, size) for run in every]
    places = list(dict.fromkeys(each.measured for each in natives))
    tasks: list[Task] = []

    def add(circuit: Native, name: str, point: Sequence[float] = ()) -> int:
        tasks.append(Task(circuit, tuple(map(float, point)), name))
        return len(tasks) - 1

    def both(measured: tuple[int, ...], name: str) -> tuple[int, int]:
        ones = range(len(measured))
        return (
            add(flipped(measured, [], size), f"{name}-zeros"),
            add(flipped(measured, ones, size), f"{name}-ones"),
        )

    hot, firsts = [], []
    for number, measured in enumerate(places):
        for bit in dict.fromkeys((0, len(measured) - 1)):
            hot.append((add(flipped(measured, [bit], size), f"l{number}-bit{bit}"), bit))
        firsts.append(both(measured, f"l{number}-first"))
    checks, texts = len(tasks), []
    plain_NA = angles_NA.double().numpy()
    for number, (run, made) in enumerate(zip(every, natives, strict=True)):
        made_of = made.template
        texts.append((run, places.index(made.measured), len(tasks)))
        for row, point in enumerate(made_of.points(plain_NA)):
            add(made, f"r{number}-t{row}", point)
    lasts = [both(measured, f"l{number}-last") for number, measured in enumerate(places)]
    return Work(
        tasks,
        [Layout(*each) for each in zip(places, firsts, lasts, strict=True)],
        hot,
        texts,
        simulated.shares(every, plain_NA, np.array(weights_W)),
        checks,
    )


def planned(
    student: str,
    spec: MeasurementSpec,
    seed: int,
    made: Work,
    chip: Calibration,
    limits: Limits,
    seconds_per_shot: float,
) -> Plan:
    """The run of that work. Raises ConfigError for what the processor does not take."""
    shots = int(spec.shots or 0)
    if not limits.online:
        raise ConfigError(
            f"{spec.target} is {limits.status} now, and would take nothing; try again later, or "
            "measure with its noise instead, as in baihua-sim"
        )
    step, low, high = limits.shots_step, limits.min_shots, limits.max_shots
    if shots % step or not low <= shots <= high:
        near = min(max(round(shots / step), 1) * step, high // step * step)
        raise ConfigError(
            f"shots={shots:,} were asked for, but {spec.target} takes {low:,} to {high:,} in steps "
            f"of {step:,}; the nearest are {max(near, low):,}"
        )
    widest = max(task.circuit.circuit.qubits for task in made.tasks)
    if limits.qubits and len(made.layouts[0].measured) > limits.qubits:
        raise ConfigError(
            f"{spec.target} takes {limits.qubits} qubits, but the circuit has "
            f"{len(made.layouts[0].measured)}, on a chip of {widest}"
        )
    if made.checks > limits.tasks:
        raise ConfigError(
            f"{spec.target} takes {limits.tasks} circuits a job, but the first {made.checks}, by "
            "which bits are checked, belong together"
        )
    together, left = min(CHUNK, limits.tasks), len(made.tasks) - made.checks
    sizes = (made.checks, *(min(together, left - first) for first in range(0, left, together)))
    jobs, job, of_job = [], 0, 0
    for size in sizes:
        if of_job + size > limits.tasks:
            job, of_job = job + 1, 0
        jobs.append(job)
        of_job += size
    return Plan(
        student=student,
        measurement=spec,
        seed=seed,
        calibration=chip.digest,
        chunks=sizes,
        jobs=tuple(jobs),
        digest=made.digest,
        circuits=made.circuits,
        seconds=round(len(made.tasks) * shots * seconds_per_shot, 1),
    )
