"""What a run's counts come to: the measurement, as any simulated one."""

import re
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from jobs.devices.drive import reading
from jobs.devices.plan import Work
from jobs.devices.protocol import Counted
from jobs.devices.runs import Plan, RunFolder
from jobs.kinds import Job
from jobs.kinds.measurements import MEASUREMENTS
from jobs.measure import drawn, drawn_for_lines, picked, publish
from jobs.store import Record, Store
from jobs.students import Trained
from qdllm.fit import Examples
from qdllm.processors import readout, simulated
from qdllm.processors.calibration import Calibration
from qdllm.processors.simulated import Estimate
from qdllm.processors.spec import MeasurementSpec

PAIR = re.compile(r"^\s*(?!barrier)\w+(\([^)]*\))?\s+\w+\[\d+\]\s*,\s*\w+\[\d+\]\s*;", re.MULTILINE)
"""A two-qubit gate in OpenQASM."""


def job_of(plan: Plan) -> Job[MeasurementSpec]:
    """The result that a run has, once it is whole."""
    return Job.of(MEASUREMENTS.name, plan.measurement, {"student": plan.student})


def texts_of(
    spec: MeasurementSpec, test: Examples, validation: Examples
) -> tuple[np.ndarray, Examples, Examples | None]:
    """The rows that are measured, their texts, and validation texts that lines are fitted on."""
    rows_N = drawn((test if spec.split == "test" else validation).labels_N.numpy(), spec)
    texts = picked(test if spec.split == "test" else validation, rows_N)
    if spec.mitigation != "affine":
        return rows_N, texts, None
    return rows_N, texts, picked(validation, drawn_for_lines(validation.labels_N.numpy(), spec))


def together(texts: Examples, known: Examples | None) -> torch.Tensor:
    """Features of all texts that are sent: those that are measured, then those of the lines."""
    return texts.features_NH if known is None else torch.cat([texts.features_NH, known.features_NH])


def concluded(
    store: Store,
    folder: RunFolder,
    plan: Plan,
    work: Work,
    found: Trained,
    chosen: tuple[np.ndarray, Examples, Examples | None],
    counted: Sequence[Counted],
    chip: Calibration,
) -> Record:
    """Publish what a whole run measured. Raises ConfigError for counts that cannot be read."""
    began, spec = time.perf_counter(), plan.measurement
    rows_N, texts, known = chosen
    readings = [reading(work, layout.first, counted) for layout in work.layouts]
    ends = [reading(work, layout.last, counted) for layout in work.layouts]
    many = work.shares.shape[1]
    value = [
        np.stack(
            [
                readout.counted(
                    counted[first + row].counts or {},
                    counted[first + row].order,
                    run.every,
                    len(run.placed.ends),
                )
                for row in range(many)
            ]
        )
        for run, _, first in work.texts
    ]
    made = simulated.gathered(
        found.spec.circuit,
        [run for run, _, _ in work.texts],
        value,
        [readings[layout] for _, layout, _ in work.texts],
        work.shares,
        int(spec.shots or 0),
        np.random.default_rng(spec.seed),
        undo=spec.mitigation != "none",
    )
    count = len(rows_N)
    raw, right = (_of(each, slice(0, count)) for each in (made.raw, made.inverted))
    if known is not None:
        with torch.no_grad():
            exact_SNM = found.under().expectations(known.features_NH)
        seen = _of(made.inverted, slice(count, None)).value_NM
        lines = readout.fitted(seen, exact_SNM[plan.seed].double().numpy())
        right = right.put_right(lines)
    more = {
        "costs": {
            form: each._asdict()
            for form, each in simulated.told(found.spec.circuit, str(spec.form), chip).items()
        },
        "calibration": {
            "chip": chip.chip,
            "time": chip.time,
            "digest": chip.digest,
            "source": chip.source,
        },
        "run": {
            "name": folder.name,
            "tasks": plan.tasks,
            **as_run(work, counted),
            "seconds": _seconds(folder, len(plan.chunks)),
            "read_right": [((1 + one.scale_Q) / 2).round(4).tolist() for one in readings],
            "drift": max(
                float(np.abs(a.scale_Q - b.scale_Q).max()) / 2
                for a, b in zip(readings, ends, strict=True)
            ),
        },
    }
    seeds = slice(plan.seed, plan.seed + 1)
    return publish(store, job_of(plan), found, texts, rows_N, [right], [raw], began, more, seeds)


def as_run(work: Work, counted: Sequence[Counted]) -> dict[str, Any]:
    """What the platform tells of how circuits were run, beside how they were meant to be."""
    both = [*zip(work.tasks, counted, strict=True)]
    return {
        "calibrations": sorted({came.calibration for _, came in both if came.calibration}),
        "moved": sum(came.qubits not in (None, task.circuit.measured) for task, came in both),
        "changed": sum(
            came.executed is not None
            and len(PAIR.findall(came.executed))
            != sum(len(gate.qubits) == 2 for gate in task.circuit.circuit.gates)
            for task, came in both
        ),
    }


def _of(one: Estimate, rows: slice) -> Estimate:
    """Of some texts."""
    draws = None if one.draws_BNM is None else one.draws_BNM[:, rows]
    return Estimate(one.value_NM[rows], None, draws)


def _seconds(folder: RunFolder, chunks: int) -> float:
    """From the first chunk that was sent to the last that was taken, as far as it is written."""
    names = ("sends-0", *(f"taken-{number}" for number in range(chunks)))
    known = [event.time for name in names if (event := folder.event(name)) and event.time]
    return round(max(known) - min(known), 1) if known else 0.0
