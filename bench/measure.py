"""How to measure: one core, alternating rounds, CPU time, medians and spread."""

import importlib.metadata
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numba import njit

from qdllm.circuits.circuit import gates, observables
from qdllm.circuits.spec import CircuitSpec
from qdllm.engine.fusion import compile_gates
from qdllm.engine.simd import WIDTH, splat, total

ROUNDS = 9
ROUND_SECONDS = 0.1


class Timing(NamedTuple):
    """Seconds per call: the median over the rounds, the fastest and the slowest round."""

    median: float
    fastest: float
    slowest: float


def cores() -> list[int]:
    """The processors that this process may use, as the system counts them."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def pin(core: int | None = None) -> None:
    """One core, the last if none is named, and one thread, for everything in this process."""
    torch.set_num_threads(1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {cores()[-1] if core is None else core})


def alternate(
    calls: Mapping[str, Callable[[], Any]],
    count: int = ROUNDS,
    clock: Callable[[], float] = time.process_time,
) -> dict[str, Timing]:
    """Time every call in every round, so that whatever slows the machine slows all of them.

    Process CPU time: on one pinned core it is the wall time of an otherwise idle machine.
    """
    repeats = {}
    for name, call in calls.items():
        repeats[name] = max(1, round(ROUND_SECONDS / _seconds(call, 3, clock)))
    rounds = [
        {name: _seconds(calls[name], repeats[name], clock) for name in calls} for _ in range(count)
    ]
    samples = {name: [seconds[name] for seconds in rounds] for name in calls}
    return {
        name: Timing(statistics.median(values), min(values), max(values))
        for name, values in samples.items()
    }


def _seconds(call: Callable[[], Any], repeats: int, clock: Callable[[], float]) -> float:
    call()  # Caches hold what the contender before it left there.
    began = clock()
    for _ in range(repeats):
        call()
    return (clock() - began) / repeats


@njit(fastmath={"contract"})
def _multiply_add(rounds: int) -> float:
    one, half = splat(np.float32(1)), splat(np.float32(0.5))
    a = b = c = d = e = f = g = h = one
    for _ in range(rounds):
        a, b, c, d = a * half + one, b * half + one, c * half + one, d * half + one
        e, f, g, h = e * half + one, f * half + one, g * half + one, h * half + one
    return total((a + b) + (c + d) + (e + f) + (g + h))


def peak_flops() -> float:
    """Single-precision multiply-adds of this core, in FLOP/s, measured on sixteen-lane vectors."""
    rounds = 100_000
    fastest = alternate({"peak": lambda: _multiply_add(rounds)})["peak"].fastest
    return 2 * 8 * WIDTH * rounds / fastest


def flop(spec: CircuitSpec) -> int:
    """Arithmetic that the fused algorithm needs for one example, forward and back.

    Per amplitude and step: 4 for each qubit rotated by weights (one multiply-add on re and im), 6
    for each by input angles (two multiplications and an addition), and 6 for the phase on the way
    there, once more where input angles have part in it; on the way back the same for ψ and λ, 4 for
    each qubit's derivative, and 4 for the phases'. Encoding and ⟨Z⟩ of each qubit, a few per cent,
    are left out; of other observables, Q additions for the transform and 3 for each kind of product
    are counted, both ways.
    """
    program = compile_gates(gates(spec), spec.qubits, observables(spec))
    count = 0
    for step in program.steps:
        r, s = (
            len({qubit for qubit, angle in step.rotations if (angle.angle is None) == shared})
            for shared in (True, False)
        )
        phases = 6 * (1 + any(angle.angle is not None for _, angle in step.phases))
        there = 4 * r + 6 * s + phases
        count += there + 2 * there + 4 * (r + s) + 4 * (phases // 6)
    if program.readout is None:
        products = {(one.flip, one.power % 2) for one in program.observables}
        count += 2 * (spec.qubits + 3) * len(products)
    return 2**spec.qubits * count


def machine() -> dict[str, Any]:
    """What a reader needs to know to compare figures."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    packages = ("torch", "numpy", "numba", "llvmlite", "mindquantum")
    return {
        "processor": models[0] if models else platform.processor(),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in packages},
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }
