"""What the engine makes of a whole training step, and of the paper's epochs."""

import time
from multiprocessing import get_context
from typing import Any, NamedTuple

import torch

import qdllm
from bench.measure import alternate, cores, pin
from qdllm.circuits.circuit import angle_count, observable_count
from qdllm.fit import Examples, Row, fit
from qdllm.specs import FitSpec, LossSpec
from qdllm.student import Student, circuit_core

FEATURES = 768
"""BERT base, the paper's text encoder."""


class Task(NamedTuple):
    """One of the paper's tasks: its size (Table 1) and QD-LLM's T_kd, in seconds per epoch.

    The paper prints accuracy and accuracy per T_kd (tables 4 to 6); their ratio is T_kd. The range
    is over its five teachers, on RTX 4090 GPUs.
    """

    name: str
    texts: int
    classes: int
    paper_seconds: tuple[int, int]


TASKS = (
    Task("emotion", 24_000, 2, (464, 587)),
    Task("hiding", 10_000, 2, (81, 92)),
    Task("thematic", 20_000, 4, (131, 284)),
)


def epoch_seconds(
    circuit: qdllm.CircuitSpec, students: int, examples: int, classes: int, batch: int = 8
) -> float:
    """CPU seconds of one epoch of `fit`, on random features: linear layers, loss and Adam."""
    generator = torch.Generator().manual_seed(0)

    def split(size: int) -> Examples:
        return Examples(
            torch.randn(size, FEATURES, generator=generator),
            torch.randn(size, classes, generator=generator),
            torch.randint(classes, (size,), generator=generator),
        )

    seeds = range(students)
    student = Student(circuit_core(circuit, "raw"), FEATURES, classes, seeds)
    rows = [Row(seed, LossSpec(), FitSpec(epochs=1, batch_size=batch)) for seed in seeds]
    training, validation = split(examples), split(batch)
    began = time.process_time()
    fit(student, training, validation, rows)
    return time.process_time() - began


def step_split(circuit: qdllm.CircuitSpec, students: int, batch: int = 8) -> dict[str, float]:
    """Milliseconds of a training step, of the engine within it, and of all the rest."""
    steps = 400
    epoch_seconds(circuit, students, 10 * batch, 2)
    whole = min(epoch_seconds(circuit, students, steps * batch, 2) for _ in range(3)) / steps
    engine = population_call(circuit, students, batch)
    fastest = alternate({"engine": engine})["engine"].fastest
    return {"step": whole * 1e3, "engine": fastest * 1e3, "rest": (whole - fastest) * 1e3}


def population_call(
    circuit: qdllm.CircuitSpec, students: int, batch: int, device: str = "cpu"
) -> Any:
    """Forward and gradient for S students; waits for the device."""
    generator = torch.Generator().manual_seed(0)
    angles, weights, factors = (
        torch.randn(students, *shape, generator=generator).to(device)
        for shape in (
            (batch, angle_count(circuit)),
            (qdllm.weight_count(circuit),),
            (batch, observable_count(circuit)),
        )
    )
    angles.requires_grad_()
    weights.requires_grad_()

    def call() -> None:
        results = qdllm.expectations(circuit, angles, weights)
        torch.autograd.grad(results, (angles, weights), factors)
        if device != "cpu":
            torch.cuda.synchronize()

    return call


def rate_of_cores(circuit: qdllm.CircuitSpec, students: int, batch: int) -> float:
    """Examples/s, forward and gradient, of a process on each core, all working at once."""
    context = get_context("spawn")
    everywhere, rates = cores(), context.SimpleQueue()
    start = context.Barrier(len(everywhere))
    workers = [
        context.Process(target=_work, args=(circuit, students, batch, core, start, rates))
        for core in everywhere
    ]
    for worker in workers:
        worker.start()
    total = sum(rates.get() for _ in workers)
    for worker in workers:
        worker.join()
    return total


def _work(
    circuit: qdllm.CircuitSpec, students: int, batch: int, core: int, start: Any, rates: Any
) -> None:
    pin(core)
    call = population_call(circuit, students, batch)
    call()
    start.wait()
    began, done = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - began) < 1:
        call()
        done += 1
    rates.put(done * students * batch / elapsed)
