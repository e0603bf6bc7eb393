"""A run on a processor from its plan to its result."""

import time
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

import numpy as np

from jobs.devices import outcome, runs
from jobs.devices.drive import Drive, Lacking, Say
from jobs.devices.plan import Work, planned, work
from jobs.devices.protocol import Limits, Processor
from jobs.devices.runs import Plan, RunFolder
from jobs.measure import reading
from jobs.store import Record, Store
from jobs.students import Trained
from qdllm.errors import ConfigError, StoreError
from qdllm.fit import Examples
from qdllm.messages import shown
from qdllm.processors import simulated
from qdllm.processors.calibration import Calibration
from qdllm.processors.spec import MeasurementSpec, parsed
from qdllm.texts.data import Dataset

FIRST = "first"
"""The label of a run that nobody has named."""


class Shown(NamedTuple):
    """A plan, and what a person has to know before it is confirmed."""

    folder: RunFolder
    plan: Plan
    limits: Limits
    chip: Calibration
    texts: int


def processor(target: str) -> Processor:
    """The processor of a target. Raises ConfigError where it cannot be asked."""
    of = parsed(target)
    if of.how == "quafu":
        from jobs.devices.quafu import Quafu

        return Quafu(of.chip)
    from jobs.devices.ibm import Ibm

    return Ibm(of.chip)


def prepare(
    store: Store, student: str, spec: MeasurementSpec, dataset: Dataset, asked: Processor
) -> Shown:
    """Write down what would be sent; nothing is. Raises ConfigError for what cannot be."""
    labelled = spec.model_copy(update={"label": spec.label or FIRST})
    limits, chip = asked.limits(), asked.calibration()
    found, chosen, made = _made(store, student, labelled, dataset, chip)
    # What is told in the end is worked out once before anything is paid for.
    simulated.told(found.spec.circuit, str(spec.form), chip)
    plan = planned(
        student, labelled, found.best_seed, made, chip, limits, _pace(store, labelled, asked)
    )
    return Shown(runs.started(store, plan, chip), plan, limits, chip, len(chosen[0]))


def go(
    store: Store,
    folder: RunFolder,
    dataset: Dataset,
    asked: Processor,
    say: Say,
    send: bool = True,
    sleep: Callable[[float], None] = time.sleep,
) -> Record | Lacking:
    """Have a confirmed plan done, as far as it is not, and publish what it measured.

    `send`: False to take only what is there. Raises ConfigError where the plan is another by now.
    """
    plan, chip = folder.plan(), folder.calibration()
    held = store.record(outcome.job_of(plan).kind, outcome.job_of(plan).fingerprint)
    if held is not None:
        return held
    found, chosen, made = _made(store, plan.student, plan.measurement, dataset, chip)
    alike = made.digest == plan.digest
    if plan.circuits and folder.event("opens-0"):
        # Another machine's sums differ in their last bits, and so do the angles of what was sent.
        alike = made.circuits == plan.circuits
    if not alike or chip.digest != plan.calibration:
        raise ConfigError(
            f"plan {folder.name} has changed: the circuits that it stands for come out otherwise "
            "by now; run the same command with --dry-run, and confirm what it names"
        )
    if send and folder.event("opens-0") is None and asked.calibration().digest != chip.digest:
        raise ConfigError(
            f"plan {folder.name} has changed: {plan.measurement.target} was calibrated anew since; "
            "run the same command with --dry-run, and confirm what it names"
        )
    if send:
        runs.claim(folder, plan)
    counted = Drive(folder, plan, made, asked, say, send, sleep).counted()
    if isinstance(counted, Lacking):
        return counted
    return outcome.concluded(store, folder, plan, made, found, chosen, counted, chip)


def same(plan: Plan, student: str, spec: MeasurementSpec) -> None:
    """Raise ConfigError where a plan is not what the command asks for."""
    asked = spec.model_copy(update={"label": spec.label or plan.measurement.label})
    for name, planned_as, given in (
        ("student", plan.student, student),
        *(
            (name, getattr(plan.measurement, name), getattr(asked, name))
            for name in MeasurementSpec.model_fields
        ),
    ):
        if planned_as != given:
            raise ConfigError(
                f"the confirmed plan has {name} {shown(planned_as)}, but {shown(given)} was asked "
                "for; run the same command with --dry-run, and confirm what it names"
            )


def _made(
    store: Store, student: str, spec: MeasurementSpec, dataset: Dataset, chip: Calibration
) -> tuple[Trained, tuple[np.ndarray, Examples, Examples | None], Work]:
    found, splits = reading(store, student, dataset)
    chosen = outcome.texts_of(spec, splits["test"], splits["validation"])
    angles_NA = found.angles(outcome.together(*chosen[1:]))[found.best_seed]
    return found, chosen, work(found, spec, found.best_seed, angles_NA, chip)


def _pace(store: Store, spec: MeasurementSpec, asked: Processor) -> float:
    """Seconds a shot: of earlier runs on that target, or as published."""
    paces = []
    for folder in runs.every(store):
        with suppress(ConfigError, StoreError):  # what is damaged tells no pace
            plan = folder.plan()
            record = store.record(outcome.job_of(plan).kind, outcome.job_of(plan).fingerprint)
            if plan.measurement.target == spec.target and record:
                paces.append(float(record.summary["run"]["seconds"]) / plan.shots)
    return float(np.median(paces)) if paces else asked.seconds_per_shot
