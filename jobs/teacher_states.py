"""Ask a fine-tuned teacher once for its hidden states of the training texts, and publish them."""

import sys
import time
from typing import Any

import numpy as np
import torch

from jobs import kinds
from jobs.command import Progress, main, silent
from jobs.inputs import adapter_of, soft_labels_of
from jobs.kinds import Job
from jobs.kinds.teacher_states import TEACHER_STATES
from jobs.requests import TeacherStatesRequest
from jobs.store import Store
from jobs.teacher import TOLERANCE
from qdllm import teacher
from qdllm.encoder import padded, tokenize
from qdllm.errors import TeacherError
from qdllm.models import pinned
from qdllm.rivals.specs import StatesSpec
from qdllm.texts import data
from qdllm.texts.data import Dataset


def run(job: Job[StatesSpec], dataset: Dataset, store: Store, progress: Progress = silent) -> None:
    """Publish the named layers' states of the training split, pooled as the teacher's head reads
    them, side by side; unless the store has them.

    The teacher comes from its stored adapter, and must give its stored soft labels again. Raises
    StoreError where either is missing, TeacherError where it gives others.
    """
    if store.has(TEACHER_STATES.name, job.fingerprint):
        return
    started = time.perf_counter()
    labels, softly = soft_labels_of(store, job.made_from["soft_labels"], dataset)
    spec = job.spec.teacher
    name = pinned(spec.model, spec.weights, labels.made_from["model"])
    adapter = {key: torch.tensor(value) for key, value in adapter_of(store, labels).items()}
    tokenizer, model = teacher.reload(
        spec.model_copy(update={"model": name}), len(dataset.classes), adapter
    )
    where = "cuda" if torch.cuda.is_available() else "cpu"
    texts = dataset.train.texts
    states_NH, logits_NC = _asked(
        model.to(where), tokenizer, texts, spec.max_length, job.spec.layers, progress
    )
    difference = float(np.abs(logits_NC - softly["train"]).max())
    tolerance = TOLERANCE[spec.precision]
    if not np.allclose(logits_NC, softly["train"], rtol=tolerance, atol=tolerance):
        raise TeacherError(
            f"the teacher {spec.model!r}, loaded again from its stored adapter, gives logits that "
            f"differ from its stored soft labels by up to {difference:.3g}, more than "
            f"{tolerance:g} for {spec.precision}; nothing was published"
        )
    store.publish(
        TEACHER_STATES.name,
        job.fingerprint,
        tensors={"train": states_NH},
        spec=job.spec.model_dump(mode="json"),
        made_from=job.made_from,
        summary={
            "width": states_NH.shape[1],
            "rows": dataset.rows,
            "largest_difference": difference,
        },
        seconds=time.perf_counter() - started,
    )


@torch.inference_mode()
def _asked(
    model: teacher.Classifier,
    tokenizer: Any,
    texts: tuple[str, ...],
    max_length: int,
    layers: tuple[int, ...],
    progress: Progress,
) -> tuple[np.ndarray, np.ndarray]:
    """states_NH, the layers side by side, and logits_NC, both in the order of the texts."""
    where, found, rows = model.head.weight.device, list[list[torch.Tensor]](), list[np.ndarray]()
    for batch_rows, batch in padded(tokenizer, tokenize(tokenizer, texts, max_length), 32):
        asked = {key: tensor.to(where) for key, tensor in batch.items()}
        said = model.transformer(**asked, output_hidden_states=True)
        mask_NT = asked["attention_mask"]
        states = [model.pool(said.hidden_states[layer], mask_NT) for layer in layers]
        logits_NC = model.classify(model.pool(said.last_hidden_state, mask_NT))
        found.append([torch.cat(states, -1).float().cpu(), logits_NC.cpu()])
        rows.append(batch_rows)
        progress(TEACHER_STATES.name, sum(map(len, rows)), len(texts), "")
    order = np.concatenate(rows)
    both = [torch.cat(parts).numpy() for parts in zip(*found, strict=True)]
    for values in both:
        values[order] = values.copy()
    return both[0], both[1]


def _run(request: TeacherStatesRequest, progress: Progress) -> str:
    """Ask a stored teacher for its hidden states of the training texts, and publish them."""
    dataset = data.load(request.task)
    job = kinds.named(TEACHER_STATES.name, request.states, request.task, dataset.digest)
    run(job, dataset, Store(request.store), progress)
    return job.fingerprint


if __name__ == "__main__":
    sys.exit(main(TeacherStatesRequest, _run))
