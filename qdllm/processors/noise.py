"""A chip's noise, simulated by the engine: noiseless circuits whose angles' signs are flipped.

Errors are Pauli operators, drawn as often as the calibration says. Each is carried to the end of
the circuit: through H, CX and CZ it stays one, and a rotation whose axis anticommutes with it turns
backwards. So a trajectory of the noise is the circuit itself with other signs, and signs of what is
read; one set of signs serves all examples, and means over trajectories are those of the noise.

- A gate of infidelity r depolarises: a CZ makes one of 15 errors with 5r/4 in all, a pulse one of 3
  with 3r/2.
- While a qubit waits for t, it errs as relaxation and dephasing do on average over axes: X and Y
  with (1 − exp(−t/T1))/4 each, Z with (1 − exp(−t/T2))/2 less that. Gates' own infidelities, from
  randomised benchmarking, hold what passes during them.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from qdllm.circuits.gates import Angle, Gate
from qdllm.engine import cpu
from qdllm.engine.fusion import Program, compile_gates
from qdllm.errors import ConfigError
from qdllm.processors.calibration import Calibration
from qdllm.processors.layout import Placed
from qdllm.processors.schedule import Event, scheduled

CHUNK = 256
"""Examples that all trajectories take at once, to bound their memory."""


class Signs(NamedTuple):
    """Trajectories: 1 or −1 for everything that can turn backwards."""

    rotations_TK: np.ndarray
    observables_TM: np.ndarray


def frames(
    events: Sequence[Event],
    placed: Placed,
    masks: Sequence[int],
    chip: Calibration,
    trajectories: int,
    generator: np.random.Generator,
) -> Signs:
    """Draw errors and carry them to the end. `masks`: the wires of each observable's parity."""
    wires = len(placed.chip)
    x_WT, z_WT = np.zeros((2, wires, trajectories), dtype=bool)
    count = 1 + max((event.rotation for event in events), default=-1)
    flipped_KT = np.zeros((count, trajectories), dtype=bool)
    usable = chip.usable()
    for event in events:
        q = event.wires[0]
        if event.what == "h":
            x_WT[q], z_WT[q] = z_WT[q].copy(), x_WT[q].copy()
        elif event.what == "cz":
            a, b = event.wires
            z_WT[a] ^= x_WT[b]
            z_WT[b] ^= x_WT[a]
        elif event.rotation >= 0:
            odd = np.logical_xor.reduce(x_WT[list(event.wires)], axis=0)
            flipped_KT[event.rotation] = odd ^ z_WT[q] if event.what == "ry" else odd
        elif event.what == "idle":
            of = chip.qubit(placed.chip[q])
            relaxes = -np.expm1(-event.ns / 1000 / of.t1_us) / 4
            dephases = max(-np.expm1(-event.ns / 1000 / of.t2_us) / 2 - relaxes, 0.0)
            drawn = generator.random(trajectories)
            x_WT[q] ^= drawn < 2 * relaxes
            z_WT[q] ^= (drawn >= relaxes) & (drawn < 2 * relaxes + dephases)
        elif event.what == "pulse-error":
            share = 1.5 * (1 - chip.qubit(placed.chip[q]).fidelity)
            _depolarise(x_WT, z_WT, event.wires, share, generator)
        elif event.what == "cz-error":
            share = 1.25 * (1 - usable[placed.chip[q], placed.chip[event.wires[1]]])
            _depolarise(x_WT, z_WT, event.wires, share, generator)
    ends = [[q for q in range(wires) if mask >> q & 1] for mask in masks]
    read_MT = np.stack([np.logical_xor.reduce(x_WT[on], axis=0) for on in ends])
    return Signs(1.0 - 2.0 * flipped_KT.T, 1.0 - 2.0 * read_MT.T)


def _depolarise(
    x_WT: np.ndarray,
    z_WT: np.ndarray,
    wires: Sequence[int],
    share: float,
    generator: np.random.Generator,
) -> None:
    """One of the Pauli operators on the wires, but for the identity, with `share` in all."""
    many = 4 ** len(wires) - 1
    hit = generator.random(x_WT.shape[1]) < share
    which = generator.integers(1, many + 1, x_WT.shape[1]) * hit
    for place, q in enumerate(wires):
        x_WT[q] ^= (which >> 2 * place & 1).astype(bool)
        z_WT[q] ^= (which >> 2 * place + 1 & 1).astype(bool)


def trajectories(
    placed: Placed,
    masks: Sequence[int],
    chip: Calibration,
    angles_NA: Tensor,
    weights_W: Tensor,
    count: int,
    generator: np.random.Generator,
) -> Tensor:
    """(T, N, M): every parity's expectation in each trajectory of the noise, float32.

    `masks`: parities of the circuit's own qubits, as it numbered them before it was placed. Raises
    ConfigError for angles or weights that are not finite.
    """
    on_wires = [
        sum(1 << wire for q, wire in enumerate(placed.ends) if mask >> q & 1) for mask in masks
    ]
    events, _ = scheduled(placed, chip)
    signs = frames(events, placed, on_wires, chip, count, generator)
    program, given, fixed = separate(placed, on_wires)
    flips = torch.from_numpy(signs.rotations_TK)
    weights_TK = flips[:, [number for number, _ in fixed]] * torch.tensor(
        [
            angle.offset
            + (0.0 if angle.weight is None else float(weights_W[angle.weight])) * angle.factor
            for _, angle in fixed
        ],
        dtype=torch.float64,
    )
    parts = []
    for part_NA in angles_NA.double().split(CHUNK):
        turns = [part_NA[:, angle.angle or 0] * angle.factor + angle.offset for _, angle in given]
        # A branch may have none of them.
        turns_NK = torch.stack(turns, -1) if turns else part_NA.new_empty(len(part_NA), 0)
        flips_TK = flips[:, [number for number, _ in given]]
        angles_TNK = (flips_TK.unsqueeze(1) * turns_NK).float().contiguous()
        results, _, bad = cpu.forward(program, angles_TNK, weights_TK.float(), keep=False)
        if bad >= 0:
            raise ConfigError("angles and weights must be finite, but some are nan or inf")
        parts.append(results)
    return torch.cat(parts, dim=1) * torch.from_numpy(signs.observables_TM).float().unsqueeze(1)


def separate(
    placed: Placed, masks: Sequence[int]
) -> tuple[Program, list[tuple[int, Angle]], list[tuple[int, Angle]]]:
    """The circuit with an input for each rotation of its own, and what turns each of them.

    Those by input angles, and those by weights or numbers, which no example changes.
    """
    given: list[tuple[int, Angle]] = []
    fixed: list[tuple[int, Angle]] = []
    gates, number = list[Gate](), 0
    for gate in placed.circuit.gates:
        if gate.angles:
            (angle,) = gate.angles
            of = given if angle.angle is not None else fixed
            own = Angle(angle=len(of)) if angle.angle is not None else Angle(weight=len(of))
            of.append((number, angle))
            gate, number = gate._replace(angles=(own,)), number + 1
        gates.append(gate)
    wires = placed.circuit.qubits
    strings = tuple("".join("Z" if mask >> q & 1 else "I" for q in range(wires)) for mask in masks)
    return compile_gates(gates, wires, strings), given, fixed
