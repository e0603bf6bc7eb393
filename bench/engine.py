"""`python -m bench.engine [--json FILE]`: the circuit engine against every installed peer.

1. Check that all agree with MindQuantum in complex128.  2. Time them in alternating rounds.
3. Time populations of students, and what share of the core's arithmetic they use.
4. Time training steps and the paper's epochs.  5. Count the engine's memory.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

import qdllm
from bench.measure import Timing, alternate, flop, machine, peak_flops, pin
from bench.peers import ENGINE, PEERS, Answer, Problem
from bench.training import TASKS, epoch_seconds, population_call, step_split
from qdllm import mindquantum
from qdllm.engine import cpu
from qdllm.engine.statevector import program_of

LAYERS = (2, 11)
BATCH = 8
AGREEMENT = 1e-5
"""Largest difference that single precision may make, over the largest entry."""
console = Console(width=100)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.engine", description=__doc__)
    parser.add_argument("--json", metavar="FILE", type=Path, help="write all figures there as well")
    file = parser.parse_args().json
    pin()
    report: dict[str, Any] = {"machine": machine(), "peak_gflops": peak_flops() / 1e9}
    for name, value in report["machine"].items():
        console.print(f"{name}: {value}")
    report["peers"] = {layers: peers(layers) for layers in LAYERS}
    report["populations"] = populations(report["peak_gflops"])
    report["training"] = training()
    report["memory_bytes"] = memory()
    if torch.cuda.is_available():
        report["gpu_populations"] = gpu_populations()
    if file:
        file.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def peers(layers: int) -> dict[str, dict[str, float]]:
    """Forward and gradient of one batch, for everyone who is installed and agrees."""
    problem = random_problem(qdllm.CircuitSpec(layers=layers))
    oracle = reference(problem)
    calls, errors = {}, {}
    for peer in (*PEERS, ENGINE):
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
    timings = alternate(calls)
    table = Table(title=f"forward + gradient, batch {BATCH}, {layers} layers, one core")
    for heading in ("", "median ms", "fastest", "slowest", "× engine", "error"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, timing in timings.items():
        ratio = timing.median / timings[ENGINE.name].median
        table.add_row(name, *shown(timing), f"{ratio:,.1f}", f"{errors[name]:.0e}")
    console.print(table)
    return {name: timing._asdict() | {"error": errors[name]} for name, timing in timings.items()}


def random_problem(spec: qdllm.CircuitSpec) -> Problem:
    """Angles in (−π, π), rounded to single precision so that all see the same numbers."""
    generator = np.random.default_rng(0)
    shapes = ((BATCH, spec.qubits), (qdllm.weight_count(spec),), (BATCH, spec.qubits))
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
    cases = [(s, n, layers) for layers in LAYERS for s, n in ((1, 8), (5, 8), (1, 64), (5, 64))]
    labels = {f"{s} × {n}, {layers} layers": (s, n, layers) for s, n, layers in cases}
    timings = alternate(
        {
            label: population_call(qdllm.CircuitSpec(layers=layers), s, n)
            for label, (s, n, layers) in labels.items()
        }
    )
    table = Table(
        title=f"students × batch; this core multiplies and adds {peak_gflops:.0f} GFLOP/s"
    )
    for heading in ("", "median ms", "fastest", "slowest", "examples/s", "of the limit"):
        table.add_column(heading, justify="right" if heading else "left")
    results = {}
    for label, timing in timings.items():
        s, n, layers = labels[label]
        rate = s * n / timing.median
        share = rate * flop(qdllm.CircuitSpec(layers=layers)) / (peak_gflops * 1e9)
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
        angles = torch.zeros(students, BATCH, circuit.qubits)
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


def gpu_populations() -> dict[str, float]:
    """Milliseconds, wall time, of whole populations on the GPU."""
    table = Table(title="GPU: students × 8, forward + gradient, ms")
    for heading in ("", *(f"{layers} layers" for layers in LAYERS)):
        table.add_column(heading, justify="right" if heading else "left")
    results = {}
    for students in (5, 64, 512, 4096):
        row = []
        for layers in LAYERS:
            call = population_call(qdllm.CircuitSpec(layers=layers), students, BATCH, "cuda")
            call()
            began = time.perf_counter()
            for _ in range(5):
                call()
            row.append((time.perf_counter() - began) / 5 * 1e3)
            results[f"{students} × {BATCH}, {layers} layers"] = row[-1]
        table.add_row(str(students), *(f"{value:.2f}" for value in row))
    console.print(table)
    return results


if __name__ == "__main__":
    main()
