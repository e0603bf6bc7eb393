"""Measure a stored student's texts as a device would: from shots, under noise, or both."""

import sys
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from jobs.command import Progress, main, silent
from jobs.inputs import gather
from jobs.kinds import Job
from jobs.kinds.measurements import MEASUREMENTS, SHORT
from jobs.requests import MeasurementRequest
from jobs.store import Record, Store, parsed
from jobs.students import Trained, trained
from jobs.trial import examples
from qdllm.errors import ConfigError, StoreError
from qdllm.families.quantum import FAMILY, StudentSpec
from qdllm.fit import Examples
from qdllm.metrics import classification
from qdllm.processors import chips, readout, simulated
from qdllm.processors.simulated import Estimate
from qdllm.processors.spec import MeasurementSpec
from qdllm.processors.spec import parsed as target_of
from qdllm.shots import sampled
from qdllm.student import Student
from qdllm.texts import data
from qdllm.texts.data import Dataset

RESAMPLES = 100
"""Of trajectories, to see how far they carry."""


def run(
    job: Job[MeasurementSpec], dataset: Dataset, store: Store, progress: Progress = silent
) -> None:
    """Publish what the target makes of every seed's texts, unless the store has it.

    `dataset`: the texts that the student was trained on. Raises StoreError if there is no such
    student, or if its features and soft labels are of other texts; ConfigError for more rows than
    there are, or a chip that is too small.
    """
    if store.has(MEASUREMENTS.name, job.fingerprint):
        return
    began, spec = time.perf_counter(), job.spec
    found, splits = reading(store, job.made_from["student"], dataset)
    rows = drawn(splits[spec.split].labels_N.numpy(), spec)
    texts = picked(splits[spec.split], rows)
    estimates, raw = [], []
    for position, seed in enumerate(found.spec.seeds):
        entropy = [spec.seed, seed]
        measured = _measured(found, spec, position, texts, splits["validation"], entropy)
        estimates.append(measured[0])
        raw.append(measured[1])
        progress(MEASUREMENTS.name, position + 1, len(found.spec.seeds), spec.target)
    publish(store, job, found, texts, rows, estimates, raw, began, _costs(spec, found))


def reading(store: Store, student: str, dataset: Dataset) -> tuple[Trained, Mapping[str, Examples]]:
    """A student, and what it reads of each split but train. Raises StoreError as `gather` does."""
    record = store.record(FAMILY.kind, student)
    if record is None:
        raise StoreError(f"there is no {FAMILY.kind}/{student} in {store.uri}")
    arrays = gather(store, record.made_from, dataset)
    splits = {split: examples(arrays, split) for split in ("validation", "test")}
    features = splits["test"].features_NH.shape[1]
    return trained(store, student, features, len(dataset.classes)), splits


def drawn(labels_N: np.ndarray, spec: MeasurementSpec) -> np.ndarray:
    """The rows of the split that are measured, each class with its share, in their order.

    Raises ConfigError for more than there are.
    """
    return _drawn(labels_N, spec, "rows", spec.split)


def drawn_for_lines(labels_N: np.ndarray, spec: MeasurementSpec) -> np.ndarray:
    """The same of the validation split's texts that lines are fitted on."""
    return _drawn(labels_N, spec, "calibration_texts", "validation")


def _drawn(labels_N: np.ndarray, spec: MeasurementSpec, setting: str, split: str) -> np.ndarray:
    total, rows = len(labels_N), getattr(spec, setting)
    if rows is None or rows == total:
        return np.arange(total)
    if rows > total:
        raise ConfigError(
            f"{setting}={rows:,} were asked for, but the {split} split has {total:,} texts"
        )
    generator = np.random.default_rng(spec.seed)
    counts_C = np.bincount(labels_N)
    shares_C = counts_C * rows / total
    wanted_C = shares_C.astype(int)
    # What rounding leaves goes to the classes that lost most by it.
    for c in np.argsort(wanted_C - shares_C, kind="stable")[: rows - wanted_C.sum()]:
        wanted_C[c] += 1
    picked = [
        generator.permutation(np.flatnonzero(labels_N == c))[:count]
        for c, count in enumerate(wanted_C)
    ]
    return np.sort(np.concatenate(picked))


def picked(every: Examples, rows_N: np.ndarray) -> Examples:
    """Some of a split's texts."""
    rows = torch.from_numpy(rows_N)
    logits_NC = None if every.logits_NC is None else every.logits_NC[rows]
    return Examples(every.features_NH[rows], logits_NC, every.labels_N[rows])


def publish(
    store: Store,
    job: Job[MeasurementSpec],
    found: Trained,
    texts: Examples,
    rows_N: np.ndarray,
    estimates: list[Estimate],
    raw: list[Estimate],
    began: float,
    more: Mapping[str, Any],
    seeds: slice = slice(None),
) -> Record:
    """Write down what was measured, beside what is exact. `seeds`: those that were measured."""
    student, short = found.under(), SHORT[job.spec.split]
    with torch.no_grad():
        exact_SNM = student.expectations(texts.features_NH)[seeds]

    def metrics(z_SNM: Tensor) -> tuple[Tensor, dict[str, list[float]]]:
        logits_SNC = classified(student, z_SNM, seeds)
        told = classification(logits_SNC, texts.labels_N, texts.logits_NC)
        return logits_SNC, {f"{short}.{name}": each.tolist() for name, each in told.items()}

    values = [_stacked([one.value_NM for one in each]) for each in (estimates, raw)]
    (logits_SNC, ours), (_, as_read), (_, exact) = map(metrics, (*values, exact_SNM))
    errors = [
        _errors(student, one, texts.labels_N, slice(at, at + 1))
        for at, one in enumerate(estimates, start=seeds.start or 0)
    ]
    return store.publish(
        MEASUREMENTS.name,
        job.fingerprint,
        tensors={
            "logits": logits_SNC.numpy(),
            "expectations": values[0].numpy(),
            "raw": values[1].numpy(),
            "exact": exact_SNM.numpy(),
            "rows": rows_N,
        },
        spec=job.spec.model_dump(mode="json"),
        made_from=job.made_from,
        summary={
            "metrics": ours,
            "raw": as_read,
            "exact": exact,
            "errors": {of: [one[of] for one in errors] for of in errors[0]},
            "rows": len(rows_N),
            **more,
        },
        seconds=time.perf_counter() - began,
    )


@torch.no_grad()
def classified(student: Student, z_SNM: Tensor, seeds: slice = slice(None)) -> Tensor:
    """logits_SNC of some of the students from expectations."""
    weights_SMC = student.head[seeds].transpose(1, 2)
    return z_SNM @ weights_SMC + student.head_bias[seeds]


def _measured(
    found: Trained,
    spec: MeasurementSpec,
    position: int,
    texts: Examples,
    validation: Examples,
    entropy: list[int],
) -> tuple[Estimate, Estimate]:
    """One seed's expectations as they are taken, and as they are read."""
    target, generator = target_of(spec.target), np.random.default_rng(entropy)
    circuit, weights_W = found.spec.circuit, found.under().weights[position].detach()
    angles_NA = found.angles(texts.features_NH)[position]
    if target.how == "shots":
        assert spec.shots, "shots are what the target is of"
        z_NM = sampled(circuit, angles_NA[None], weights_W[None], spec.shots, [entropy])[0]
        z = z_NM.double().numpy()
        draws = np.stack(
            [simulated.redrawn(z, spec.shots, generator) for _ in range(simulated.DRAWS)]
        )
        return Estimate(z, draws_BNM=draws), Estimate(z)

    def measure(angles_NA: Tensor) -> simulated.Measured:
        return simulated.measured(
            circuit,
            chips.calibration(target.chip),
            str(spec.form),
            angles_NA,
            weights_W,
            int(spec.trajectories or 0),
            spec.shots,
            generator,
            spec.mitigation != "none",
        )

    made = measure(angles_NA)
    if spec.mitigation == "none":
        return made.raw, made.raw
    if spec.mitigation == "readout":
        return made.inverted, made.raw
    fit_on = picked(validation, drawn_for_lines(validation.labels_N.numpy(), spec))
    seen = measure(found.angles(fit_on.features_NH)[position]).inverted.value_NM
    with torch.no_grad():
        exact_NM = found.under().expectations(fit_on.features_NH)[position].double().numpy()
    return made.inverted.put_right(readout.fitted(seen, exact_NM)), made.raw


def _errors(student: Student, one: Estimate, labels_N: Tensor, seed: slice) -> dict[str, float]:
    """Standard errors of one seed's accuracy: by its shots, by trajectories, by its texts."""
    generator = np.random.default_rng(0)

    def right(z_BNM: np.ndarray) -> np.ndarray:
        logits = classified(student, torch.from_numpy(z_BNM).float(), seed)
        return (logits.argmax(-1) == labels_N).double().numpy()

    errors = {}
    if one.draws_BNM is not None:
        share_N, count = right(one.draws_BNM).mean(0), len(one.draws_BNM)
        spread = (share_N * (1 - share_N)).sum() * count / (count - 1)
        errors["shots"] = float(np.sqrt(spread)) / len(labels_N)
    if one.trajectories_TNM is not None:
        count = len(one.trajectories_TNM)
        means = [
            right(one.trajectories_TNM[generator.integers(0, count, count)].mean(0)[None]).mean()
            for _ in range(RESAMPLES)
        ]
        errors["trajectories"] = float(np.std(means))
    accuracy = float(right(one.value_NM[None]).mean())
    errors["texts"] = float(np.sqrt(accuracy * (1 - accuracy) / len(labels_N)))
    return errors


def _stacked(parts: list[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(parts)).float()


def _costs(spec: MeasurementSpec, found: Trained) -> dict[str, Any]:
    """What the circuit costs on the chip, as it is and in its form."""
    target = target_of(spec.target)
    if not target.chip:
        return {}
    chip = chips.calibration(target.chip)
    told = simulated.told(found.spec.circuit, str(spec.form), chip)
    return {
        "costs": {form: each._asdict() for form, each in told.items()},
        "calibration": {"chip": chip.chip, "time": chip.time, "digest": chip.digest},
    }


def _run(request: MeasurementRequest, progress: Progress) -> str:
    """Measure a stored student as a device would."""
    store = Store(request.store)
    record, _ = store.load(FAMILY.kind, request.student)
    dataset = data.load(parsed(record, StudentSpec.parse).task)
    made_from = {"student": request.student, **MEASUREMENTS.digests(request.measurement)}
    job = Job.of(MEASUREMENTS.name, request.measurement, made_from)
    run(job, dataset, store, progress)
    return job.fingerprint


if __name__ == "__main__":
    sys.exit(main(MeasurementRequest, _run))
