"""One trial: all rows of one spec, of whichever family, trained, tested and published."""

import sys
import time
import warnings
from collections.abc import Callable, Mapping

import numpy as np
import torch

from jobs import kinds
from jobs.command import Progress, main, silent
from jobs.inputs import gather
from jobs.kept import Kept, Published
from jobs.kinds import Job
from jobs.kinds.kind import LARGEST
from jobs.requests import TrialRequest
from jobs.store import Record, Store
from qdllm import families
from qdllm.errors import TrialError
from qdllm.fit import Examples
from qdllm.metrics import classification
from qdllm.models import pinned
from qdllm.specs import TrialSpec
from qdllm.texts import data
from qdllm.texts.data import SPLITS, Dataset

Report = Callable[[int, dict[str, float]], None]
"""Called after every epoch, counted from 1, with each curve's mean over the seeds."""

INFERENCES = 5
"""How often the test split is predicted, for the time that it takes."""
PATIENCE = 10.0
"""Seconds after which it is not predicted once more."""


def examples(arrays: Mapping[str, np.ndarray], split: str, inputs: str = "features") -> Examples:
    """One split as tensors that share the arrays' memory. `inputs`: what models make logits of.

    What else there is for the split, or for none, goes by its own name.
    """
    with warnings.catch_warnings():
        # Ray's object store hands out read-only memory, and nothing writes to examples.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        named = {
            name.removeprefix(f"{split}."): torch.from_numpy(array)
            for name, array in arrays.items()
            if name.partition(".")[0] not in SPLITS or name.startswith(f"{split}.")
        }
    return Examples(
        named.pop(inputs), named.pop("logits", None), named.pop("labels"), named or None
    )


def train(
    job: Job[TrialSpec],
    arrays: Mapping[str, np.ndarray],
    store: Store,
    report: Report = lambda epoch, means: None,
) -> Record:
    """Train the spec's rows, measure them on the test split, publish, return the record.

    `arrays`: what `jobs.inputs.gather` gave. What is measured is what was restored from the
    parameters that are published. Runs on one thread, so that a result does not depend on how many
    cores the machine has, unless its family takes long: that has all threads that there are, and
    goes on from what the store has kept of it, or from the same trial of fewer seeds.

    Raises TrialError if training diverges, StoreError if the result cannot be written, ConfigError
    where its spec cannot be trained on these texts, which may be one that a search came to, or a
    model that it loads is another than planned.
    """
    family, spec = families.of(job.spec), as_read(job, store)
    if family.long:
        family.check(spec, np.bincount(arrays["train.labels"]).tolist())
    else:
        torch.set_num_threads(1)
    began = time.perf_counter()
    inputs, kept = kinds.by_role(family.reads[0]).tensor, Kept(job, store)
    training, validation, test = (examples(arrays, split, inputs) for split in SPLITS)
    features, classes = training.features_NH.shape[1], 1 + int(training.labels_N.max())
    try:
        trained = family.train(
            spec,
            training,
            validation,
            lambda epoch, values: report(
                epoch, {metric: float(value_S.mean()) for metric, value_S in values.items()}
            ),
            **({"kept": kept} if family.long else {}),
        )
    except Published:
        kept.clear()
        record = store.record(family.kind, job.fingerprint)
        assert record is not None, "it has just been seen"
        return record
    model = family.restore(spec, features, classes, trained.parameters_SP)
    model.predict(test.features_NH[:1])  # not timed: a process's first one may compile
    seconds = []
    for _ in range(INFERENCES):
        tested = time.perf_counter()
        logits_SNC = model.predict(test.features_NH)
        seconds.append(time.perf_counter() - tested)
        if sum(seconds) > PATIENCE:
            break
    inference = float(np.median(seconds)) / (len(spec.seeds) * len(test.labels_N))
    measured = classification(logits_SNC, test.labels_N, test.logits_NC)
    metrics = {metric: curve_SE[:, -1].tolist() for metric, curve_SE in trained.curves.items()}
    metrics |= {f"test.{metric}": value_S.tolist() for metric, value_S in measured.items()}
    for metric, values in metrics.items():
        if max(map(abs, values)) > LARGEST:
            raise TrialError(
                f"training diverged: {metric} reaches {max(values, key=abs):.3g} after the last "
                "epoch; try a smaller learning rate"
            )
    record = store.publish(
        family.kind,
        job.fingerprint,
        tensors={metric: curve_SE.numpy() for metric, curve_SE in trained.curves.items()}
        | {"parameters": trained.parameters_SP.numpy()},
        spec=job.spec.model_dump(mode="json"),
        made_from=job.made_from,
        summary={
            "metrics": metrics,
            "parameters": family.parameters(spec, features, classes),
            # Medians: what else the machine did meanwhile shall not count. Of what takes long the
            # mean, since an epoch of one stage is no measure of another's.
            "seconds_per_epoch": float((np.mean if family.long else np.median)(trained.seconds_E)),
            "inference_us": inference * 1e6,
        },
        # What it went on from took time too.
        seconds=max(time.perf_counter() - began, sum(trained.seconds_E)),
    )
    if family.long:
        kept.clear()
    return record


def as_read(job: Job[TrialSpec], store: Store) -> TrialSpec:
    """The spec by names that mean the models which what it reads was made of, and no others.

    Of a family that loads a model; what it reads is at hand already: where the store has lost it
    meanwhile, names stay.
    """
    if not families.of(job.spec).long:
        return job.spec
    groups = {}
    for role, group in (("tokens", "encoder"), ("soft_labels", "teacher")):
        if fingerprint := job.made_from.get(role):
            part = getattr(job.spec, group)
            if record := store.record(kinds.by_role(role).name, fingerprint):
                name = pinned(part.model, part.weights, record.made_from["model"])
                groups[group] = part.model_copy(update={"model": name})
    return job.spec.model_copy(update=groups)


def run(job: Job[TrialSpec], dataset: Dataset, store: Store, progress: Progress = silent) -> None:
    """Train a trial by itself, unless the store has it, with what the store holds for it."""
    if store.has(job.kind, job.fingerprint):
        return

    def report(epoch: int, means: Mapping[str, float]) -> None:
        epochs = families.of(job.spec).epochs(job.spec)
        note = f"validation accuracy {means['val.accuracy']:.4f}"
        progress("trial", epoch, epochs, note)

    train(job, gather(store, job.made_from, dataset), store, report)


def _run(request: TrialRequest, progress: Progress) -> str:
    """Train, test and publish all seeds of one trial."""
    spec = families.parse(request.trial)
    dataset = data.load(spec.task)
    families.of(spec).check(spec, dataset.train.counts_C)
    job = kinds.named(families.of(spec).kind, spec, spec.task, dataset.digest)
    run(job, dataset, Store(request.store), progress)
    return job.fingerprint


if __name__ == "__main__":
    sys.exit(main(TrialRequest, _run))
