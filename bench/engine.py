"""`python -m bench.engine [--json FILE]`: the circuit engine against every installed peer.

1. Check that all agree with MindQuantum in complex128.  2. Time them in alternating rounds.
3. Do so for every encoding, ansatz and set of observables.
4. Time populations of students, and what share of the core's arithmetic they use.
5. Time training steps and the paper's epochs.  6. Count the engine's memory.
7. Where there is a GPU, time whole populations on it, beside one core and all of them.
"""

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

import qdllm
from bench.measure import ROUNDS, Timing, alternate, flop, machine, peak_flops, pin
from bench.peers import ENGINE, PEERS, Answer, Problem
from bench.training import TASKS, epoch_seconds, population_call, rate_of_cores, step_split
from qdllm import mindquantum
from qdllm.circuits.circuit import angle_count, observable_count
from qdllm.circuits.layers import ANSATZE, ENCODINGS, OBSERVABLES
from qdllm.engine import cpu
from qdllm.engine.statevector import program_of

LAYERS = (2, 11)
BATCH = 8
BATCHES = (8, 64)
CIRCUITS: dict[str, dict[str, Any]] = {
    **{f"encoding {name}": {"encoding": name} for name in ENCODINGS if name != "rx"},
    **{f"ansatz {name}": {"ansatz": name} for name in ANSATZE if name != "published"},
    **{f"observables {name}": {"observables": name} for name in OBSERVABLES if name != "z"},
}
"""One factor at a time, away from the paper's circuit."""
FEW = 3
"""Rounds for each of these circuits: at batch 64 and eleven layers, most peers need seconds."""
AGREEMENT = 1e-5
"""Largest difference that single precision may make, over the largest entry."""
console = Console(width=100)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.engine", description=__doc__)
    parser.add_argument("--json", metavar="FILE", type=Path, help="write all figures there as well")
    parser.add_argument("--peers", nargs="*", default=[""], help="those whose names begin so")
    chosen = parser.parse_args()
    file = chosen.json
    # Before this process, from which they inherit it, is held to one core.
    rates = machine_rates() if torch.cuda.is_available() else {}
    pin()
    report: dict[str, Any] = {"machine": machine(), "peak_gflops": peak_flops() / 1e9}
    for name, value in report["machine"].items():
        console.print(f"{name}: {value}")
    report["peers"] = {
        layers: peers(qdllm.CircuitSpec(layers=layers), BATCH, chosen.peers) for layers in LAYERS
    }
    report["circuits"] = circuits(chosen.peers)
    report["populations"] = populations(report["peak_gflops"])
    report["training"] = training()
    report["memory_bytes"] = memory()
    if torch.cuda.is_available():
        report["gpu_populations"] = gpu_populations(rates)
    if file:
        file.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def peers(
    spec: qdllm.CircuitSpec,
    batch: int,
    among: Sequence[str],
    title: str = "",
    rounds: int = ROUNDS,
) -> dict[str, dict[str, float]]:
    """Forward and gradient of one batch, for everyone who is installed and agrees."""
    problem = random_problem(spec, batch)
    oracle = reference(problem)
    calls, errors = {}, {}
    for peer in (*(peer for peer in PEERS if peer.name.startswith(tuple(among))), ENGINE):
        if peer.version() is None:
            console.print(f"{peer.name}: {peer.package} is not installed, skipped")
            continue
        call = peer.prepare(problem)
        errors[peer.name] = disagreement(call(), oracle)
        if errors[peer.name] > AGREEMENT:
            raise SystemExit(
                f"{peer.name} is {errors[peer.name]:.1e} away from MindQuantum in complex128, "
                f"more than {AGREEMENT:.0e}: its adapter computes something else"
            )
        calls[peer.name] = call
    timings = alternate(calls, rounds)
    title = f"forward + gradient, {title}batch {batch}, {spec.layers} layers, one core"
    table = Table(title=title)
    for heading in ("", "median ms", "fastest", "slowest", "× engine", "error"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, timing in timings.items():
        ratio = timing.median / timings[ENGINE.name].median
        table.add_row(name, *shown(timing), f"{ratio:,.1f}", f"{errors[name]:.0e}")
    console.print(table)
    return {name: timing._asdict() | {"error": errors[name]} for name, timing in timings.items()}


def circuits(among: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The same for every encoding, ansatz and set of observables."""
    results = {}
    for name, settings in CIRCUITS.items():
        for layers in LAYERS:
            for batch in BATCHES:
                spec = qdllm.CircuitSpec.parse(settings | {"layers": layers})
                found = peers(spec, batch, among, f"{name}, ", FEW)
                results[f"{name}, batch {batch}, {layers} layers"] = found
    return results


def random_problem(spec: qdllm.CircuitSpec, batch: int) -> Problem:
    """Angles in (−π, π), rounded to single precision so that all see the same numbers."""
    generator = np.random.default_rng(0)
    shapes = (
        (batch, angle_count(spec)),
        (qdllm.weight_count(spec),),
        (batch, observable_count(spec)),
    )
    draws = (generator.uniform(-np.pi, np.pi, shape) for shape in shapes)
    return Problem(spec, *(draw.astype(np.float32).astype(np.float64) for draw in draws))


def reference(problem: Problem) -> Answer:
    """In complex128."""
    angles, weights, factors = (torch.from_numpy(array) for array in problem[1:])
    values, in_angles, in_weights = mindquantum.jacobians(problem.spec, angles, weights)
    return Answer(
        values.numpy(),
        torch.einsum("ni,nij->nj", factors, in_angles).numpy(),
        torch.einsum("ni,niw->w", factors, in_weights).numpy(),
    )


def disagreement(answer: Answer, oracle: Answer) -> float:
    return max(
        float(np.abs(ours - theirs).max() / np.abs(theirs).max())
        for ours, theirs in zip(answer, oracle, strict=True)
    )


def shown(timing: Timing) -> list[str]:
    """Milliseconds."""
    return [f"{seconds * 1e3:,.3f}" for seconds in timing]


def populations(peak_gflops: float) -> dict[str, dict[str, float]]:
    """The engine for one and for five students, with the share of the arithmetic limit."""
    sizes = ((1, 8), (5, 8), (1, 64), (5, 64))
    cases = {
        f"{s} × {n}, {layers} layers": (qdllm.CircuitSpec(layers=layers), s, n)
        for layers in LAYERS
        for s, n in sizes
    }
    cases |= {
        f"5 × 64, {layers} layers, {name}": (
            qdllm.CircuitSpec.parse(settings | {"layers": layers}),
            5,
            64,
        )
        for layers in LAYERS
        for name, settings in CIRCUITS.items()
    }
    timings = alternate({label: population_call(*case) for label, case in cases.items()})
    table = Table(
        title=f"students × batch; this core multiplies and adds {peak_gflops:.0f} GFLOP/s"
    )
    for heading in ("", "median ms", "fastest", "slowest", "examples/s", "of the limit"):
        table.add_column(heading, justify="right" if heading else "left")
    results = {}
    for label, timing in timings.items():
        spec, s, n = cases[label]
        rate = s * n / timing.median
        share = rate * flop(spec) / (peak_gflops * 1e9)
        table.add_row(label, *shown(timing), f"{rate:,.0f}", f"{share:.0%}")
        results[label] = timing._asdict() | {"examples_per_second": rate, "share_of_limit": share}
    console.print(table)
    return results


def training() -> dict[str, Any]:
    """Whole training steps, and epochs of the paper's size beside the paper's."""
    steps = {
        f"{students} × {BATCH}, {layers} layers": step_split(
            qdllm.CircuitSpec(layers=layers), students
        )
        for layers in LAYERS
        for students in (1, 5)
    }
    table = Table(title="training step, ms")
    for heading in ("", "whole step", "engine", "all else"):
        table.add_column(heading, justify="right" if heading else "left")
    for label, parts in steps.items():
        table.add_row(label, *(f"{value:.3f}" for value in parts.values()))
    console.print(table)
    epochs = {}
    table = Table(title="seconds per epoch, eleven layers, 60 % of the texts, batch 8")
    for heading in ("", "one student", "five students", "the paper, one student"):
        table.add_column(heading, justify="right" if heading else "left")
    for task in TASKS:
        one, five = (
            epoch_seconds(
                qdllm.CircuitSpec(layers=11), students, task.texts * 6 // 10, task.classes
            )
            for students in (1, 5)
        )
        low, high = task.paper_seconds
        table.add_row(task.name, f"{one:.2f}", f"{five:.2f}", f"{low} to {high}")
        epochs[task.name] = {"one_student": one, "five_students": five, "paper": [low, high]}
    console.print(table)
    return {"steps_ms": steps, "epochs_seconds": epochs}


def memory() -> dict[str, dict[str, int]]:
    """Bytes that the engine holds between forward and backward, and its scratch memory."""
    results = {}
    for students in (1, 5):
        circuit = qdllm.CircuitSpec(layers=11)
        angles = torch.zeros(students, BATCH, angle_count(circuit))
        weights = torch.zeros(students, qdllm.weight_count(circuit))
        _, saved, _ = cpu.forward(program_of(circuit), angles, weights, keep=True)
        held = sum(array.nbytes for array in saved)
        scratch = cpu.memory.bytes()
        console.print(
            f"memory, {students} × {BATCH}, 11 layers: {held / 2**20:.2f} MiB kept for the way "
            f"back, {scratch / 2**20:.2f} MiB scratch per thread"
        )
        results[f"{students} × {BATCH}"] = {"kept": held, "scratch": scratch}
    return results


def machine_rates() -> dict[int, float]:
    """Examples/s of the kernels by layers: all cores at once, a trial's five students on each."""
    return {layers: rate_of_cores(qdllm.CircuitSpec(layers=layers), 5, BATCH) for layers in LAYERS}


def gpu_populations(rates: dict[int, float]) -> dict[str, Any]:
    """Whole populations on the GPU by wall time, beside the kernels on one core and on all."""
    results: dict[str, Any] = {"all cores, examples/s by layers": rates}
    table = Table(title="GPU by wall time: students × batch, forward + gradient")
    for heading in ("", "median ms", "fastest", "slowest", "examples/s", "× core", "× all", "GiB"):
        table.add_column(heading, justify="right" if heading else "left")
    for layers, every in rates.items():
        circuit = qdllm.CircuitSpec(layers=layers)
        cases = {"one core, 5": (5, "cpu")} | {str(s): (s, "cuda") for s in (5, 64, 512, 4096)}
        calls = {
            label: population_call(circuit, students, BATCH, device)
            for label, (students, device) in cases.items()
        }
        timings = alternate(calls, clock=time.perf_counter)
        examples = {label: cases[label][0] * BATCH / timings[label].median for label in calls}
        for label, call in calls.items():
            torch.cuda.reset_peak_memory_stats()
            call()
            peak, rate = torch.cuda.max_memory_allocated(), examples[label]
            title = f"{label} × {BATCH}, {layers} layers"
            results[title] = timings[label]._asdict() | {
                "examples_per_second": rate,
                "peak_bytes": peak,
            }
            table.add_row(
                title,
                *shown(timings[label]),
                f"{rate:,.0f}",
                f"{rate / examples['one core, 5']:.2f}",
                f"{rate / every:.2f}",
                f"{peak / 2**30:.2f}",
            )
    console.print(table)
    return results


if __name__ == "__main__":
    main()
