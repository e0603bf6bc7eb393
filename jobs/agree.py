"""Compare what a trial says of the test split with what a teacher says, who did not teach it.

A trial that reads soft labels has its agreement in its own record.
"""

import sys
import time

import torch

from jobs import kinds
from jobs.command import Progress, main, silent
from jobs.inputs import gather, soft_labels_of
from jobs.kinds import Job
from jobs.kinds.agreements import AGREEMENTS, METRIC
from jobs.kinds.teachers import SOFT_LABELS
from jobs.requests import AgreementRequest
from jobs.store import Store, parsed
from jobs.students import parameters
from jobs.trial import as_read, examples
from qdllm import families
from qdllm.metrics import classification
from qdllm.specs import AgreementSpec
from qdllm.texts import data
from qdllm.texts.data import Dataset


def run(
    job: Job[AgreementSpec], dataset: Dataset, store: Store, progress: Progress = silent
) -> None:
    """Publish for each seed how often it names the teacher's class, unless the store has that.

    `dataset`: the texts that both were made from. Raises StoreError if there is no such trial or
    teacher, or if what they are made from is of other texts.
    """
    if store.has(AGREEMENTS.name, job.fingerprint):
        return
    began = time.perf_counter()
    family = families.family(job.spec.family)
    record, tensors = store.load(family.kind, job.made_from["trial"])
    trial = Job(
        family.kind, record.fingerprint, parsed(record, family.spec.parse), record.made_from
    )
    inputs = kinds.by_role(family.reads[0]).tensor
    arrays = gather(store, record.made_from, dataset)
    training, test = (examples(arrays, split, inputs) for split in ("train", "test"))
    widths = training.features_NH.shape[1], len(dataset.classes)
    spec = as_read(trial, store)
    parameters_SP = parameters(record, tensors, spec, *widths)
    logits_SNC = family.restore(spec, *widths, parameters_SP).predict(test.features_NH)
    _, taught = soft_labels_of(store, job.made_from[SOFT_LABELS.role], dataset)
    measured = classification(logits_SNC, test.labels_N, torch.from_numpy(taught["test"]))
    store.publish(
        AGREEMENTS.name,
        job.fingerprint,
        tensors={},
        spec=job.spec.model_dump(mode="json"),
        made_from=job.made_from,
        summary={"metrics": {METRIC: measured["agreement"].tolist()}},
        seconds=time.perf_counter() - began,
    )


def _run(request: AgreementRequest, progress: Progress) -> str:
    """Compare a stored trial with a stored teacher, who did not teach it."""
    store, family = Store(request.store), families.family(request.agreement.family)
    record, _ = store.load(family.kind, request.trial)
    dataset = data.load(parsed(record, family.spec.parse).task)
    made_from = {"trial": request.trial, SOFT_LABELS.role: request.soft_labels}
    job = Job.of(AGREEMENTS.name, request.agreement, made_from)
    run(job, dataset, store, progress)
    return job.fingerprint


if __name__ == "__main__":
    sys.exit(main(AgreementRequest, _run))
