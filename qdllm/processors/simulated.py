"""A student's circuit as a chip would run it: laid out, noisy, read wrongly, counted, put right."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from torch import Tensor

from qdllm.circuits.circuit import circuit, observables
from qdllm.circuits.settings import settings
from qdllm.circuits.spec import CircuitSpec
from qdllm.errors import ConfigError
from qdllm.processors import readout
from qdllm.processors.calibration import Calibration
from qdllm.processors.chains import Form, formed
from qdllm.processors.layout import Placed, best_placed
from qdllm.processors.noise import trajectories
from qdllm.processors.readout import Lines, Reading
from qdllm.processors.schedule import Told, scheduled

DRAWS = 16
"""How often shots are drawn again, to see how far they carry."""


@dataclass(frozen=True)
class Run:
    """One circuit that a chip runs, with places for input angles: a setting's branch."""

    setting: int
    branch: int
    form: Form
    masks: tuple[int, ...]
    """The setting's observables as parities of the circuit's qubits."""
    placed: Placed
    every: tuple[int, ...]
    """All parities that are measured, of the branch's qubits."""

    @property
    def left(self) -> tuple[int, ...]:
        """The observables as parities of the branch's qubits."""
        return tuple(map(self.form.left, self.masks))

    def reading(self, chip: Calibration) -> Reading:
        """How the branch's qubits are read where they lie."""
        errors = [chip.read(self.placed.chip[wire]) for wire in self.placed.ends]
        return Reading.of(
            np.array([one.reads_0_as_1 for one in errors]),
            np.array([one.reads_1_as_0 for one in errors]),
        )

    def observed(self, z_XP: np.ndarray, reading: Reading | None) -> np.ndarray:
        """(…, M): the setting's observables in this branch from all that is measured.

        `reading`: what is done to each qubit's bits, or is undone.
        """
        known = [mask for mask in self.left if mask]
        if reading is None:
            values = z_XP[..., [self.every.index(mask) for mask in known]]
        else:
            values = readout.read(z_XP, self.every, known, reading)
        columns = iter(np.moveaxis(values, -1, 0))
        one = np.ones(z_XP.shape[:-1])
        return np.stack(
            [
                (next(columns) if left else one) * self.form.signs(mask)[self.branch]
                for mask, left in zip(self.masks, self.left, strict=True)
            ],
            axis=-1,
        )


@lru_cache
def runs(spec: CircuitSpec, form: str, chip: Calibration) -> tuple[Run, ...]:
    """All circuits that tell a student's expectations, each laid out on the chip.

    Raises ConfigError where the chip has too few qubits, or an observable has too many.
    """
    found = []
    for number, setting in enumerate(settings(circuit(spec), observables(spec))):
        made = formed(setting.circuit, form)
        for branch, each in enumerate(made.branches):
            every = readout.parities([left for left in map(made.left, setting.masks) if left])
            placed = best_placed(each, chip)
            found.append(Run(number, branch, made, setting.masks, placed, tuple(every)))
    return tuple(found)


def told(spec: CircuitSpec, form: str, chip: Calibration) -> dict[str, Told]:
    """What the student's dearest circuit costs on the chip: as it is, where the chip has room for
    that, and in that form. Raises ConfigError as `runs` does for the latter."""
    costs = {}
    for name in ("as-is", form):
        try:
            every = runs(spec, name, chip)
        except ConfigError:
            if name == form:
                raise
            continue
        each = [scheduled(run.placed, chip)[1] for run in every]
        costs[name] = min(each, key=lambda one: one.fidelity)
    return costs


def mixed(
    spec: CircuitSpec, parts: Sequence[tuple[Run, np.ndarray]], shares: np.ndarray
) -> np.ndarray:
    """(…, N, M): all observables of all examples from the runs that tell them.

    `parts`: (…, N, M of the setting) of each run. `shares`: (runs, N), how much each counts.
    """
    numbers = [setting.observables for setting in settings(circuit(spec), observables(spec))]
    shape = parts[0][1].shape[:-1]
    result = np.zeros((*shape, len(observables(spec))))
    for (run, z_NM), share_N in zip(parts, shares, strict=True):
        result[..., list(numbers[run.setting])] += share_N[:, None] * z_NM
    return result


def shares(every: Sequence[Run], angles_NA: np.ndarray, weights_W: np.ndarray) -> np.ndarray:
    """(runs, N): how much each run counts for each example."""
    return np.stack([run.form.shares(angles_NA, weights_W)[run.branch] for run in every])


@dataclass(frozen=True)
class Estimate:
    """One student's expectations as a device tells them, and how they might have come out."""

    value_NM: np.ndarray
    trajectories_TNM: np.ndarray | None = None
    """Samples of the noise, of whose mean the value is made."""
    draws_BNM: np.ndarray | None = None
    """The value, had its shots been others."""

    def put_right(self, lines: Lines) -> "Estimate":
        """With a line for each observable."""
        others = (self.trajectories_TNM, self.draws_BNM)
        return Estimate(lines(self.value_NM), *(None if z is None else lines(z) for z in others))


@dataclass(frozen=True)
class Measured:
    """One student's expectations on a device."""

    raw: Estimate
    """As they are read."""
    inverted: Estimate
    """With errors of reading undone."""


def measured(
    spec: CircuitSpec,
    chip: Calibration,
    form: str,
    angles_NA: Tensor,
    weights_W: Tensor,
    count: int,
    shots: int | None,
    generator: np.random.Generator,
    undo: bool = True,
) -> Measured:
    """One student's expectations under the chip's noise, from so many trajectories.

    `shots`: of each circuit, whose counts are drawn for each parity by itself, and of the two
    circuits from which errors of reading are learnt; None: as infinitely many would give. `undo`:
    whether they are undone. Raises ConfigError as `runs`, `trajectories` and `gathered` do.
    """
    every = runs(spec, form, chip)
    noisy, read_as = [], []
    for run in every:
        z_TNP = trajectories(
            run.placed, run.every, chip, angles_NA, weights_W, count, generator
        ).numpy()
        true = run.reading(chip)
        noisy.append(readout.read(z_TNP.astype(float), run.every, run.every, true))
        read_as.append(true if shots is None else _learnt(true, shots, generator))
    share = shares(every, angles_NA.double().numpy(), weights_W.double().numpy())
    value = [z_TNP.mean(0) for z_TNP in noisy]
    if shots is not None:
        value = [redrawn(z_NP, shots, generator) for z_NP in value]
    return gathered(spec, every, value, read_as, share, shots, generator, noisy, undo)


def gathered(
    spec: CircuitSpec,
    every: Sequence[Run],
    value: Sequence[np.ndarray],
    read_as: Sequence[Reading],
    share: np.ndarray,
    shots: int | None,
    generator: np.random.Generator,
    noisy: Sequence[np.ndarray] = (),
    undo: bool = True,
) -> Measured:
    """All observables from what each run gave, by position: `value`, (N, P) as it was read, and
    `noisy`, (T, N, P) of a simulated one. `read_as`: how its qubits are read, as far as is known.
    `undo`: whether that is undone. Raises ConfigError where it is to be and cannot be.
    """
    draws = []
    if shots is not None:
        draws = [np.stack([redrawn(z, shots, generator) for _ in range(DRAWS)]) for z in value]

    def told(parts: Sequence[np.ndarray], undo: bool) -> np.ndarray | None:
        if not parts:
            return None
        seen = [
            (run, run.observed(z, how.inverse if undo else None))
            for run, z, how in zip(every, parts, read_as, strict=True)
        ]
        return mixed(spec, seen, share)

    def estimate(undo: bool) -> Estimate:
        found = told(value, undo)
        assert found is not None, "there is a run"
        return Estimate(found, told(noisy, undo), told(draws, undo))

    raw = estimate(False)
    return Measured(raw, estimate(True) if undo else raw)


def _learnt(true: Reading, shots: int, generator: np.random.Generator) -> Reading:
    """Errors of reading as two calibration circuits, all 0 and all 1, tell them."""
    zero_Q = (1 - true.scale_Q - true.shift_Q) / 2
    one_Q = (1 - true.scale_Q + true.shift_Q) / 2
    return Reading.of(
        generator.binomial(shots, zero_Q) / shots, generator.binomial(shots, one_Q) / shots
    )


def redrawn(z: np.ndarray, shots: int, generator: np.random.Generator) -> np.ndarray:
    """Means over so many shots, each of them by itself, where these are the true ones."""
    return 2 * generator.binomial(shots, ((1 + z) / 2).clip(0, 1)) / shots - 1
