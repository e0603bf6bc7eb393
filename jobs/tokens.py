"""Cut every split of a task into a model's tokens once, and publish them."""

import sys
import time

from jobs import kinds
from jobs.command import Progress, main, silent
from jobs.kinds import Job
from jobs.kinds.tokens import TOKENS
from jobs.requests import TokensRequest
from jobs.store import Store
from qdllm.encoder import pretrained_tokenizer
from qdllm.models import pinned
from qdllm.rivals import reading
from qdllm.rivals.specs import TokensSpec
from qdllm.texts import data
from qdllm.texts.data import Dataset


def run(job: Job[TokensSpec], dataset: Dataset, store: Store, progress: Progress = silent) -> None:
    """Publish `ids_NT` of train, validation and test, −1 after each text's end, unless the store
    has them.

    `dataset`: the task's texts, whose files need not lie on this machine.
    Raises ConfigError for a model whose tokenizer cannot be used.
    """
    if store.has(TOKENS.name, job.fingerprint):
        return
    started = time.perf_counter()
    model = pinned(job.spec.model, job.spec.weights, job.made_from["model"])
    tokenizer = pretrained_tokenizer(model, job.spec.weights)
    ids_NT = reading.ids(tokenizer, dataset.texts, job.spec.max_length)
    progress(TOKENS.name, len(ids_NT), len(ids_NT), "")
    store.publish(
        TOKENS.name,
        job.fingerprint,
        tensors=dataset.by_split(ids_NT),
        spec=job.spec.model_dump(mode="json"),
        made_from=job.made_from,
        summary={
            "width": ids_NT.shape[1],
            "rows": dataset.rows,
            "texts": len(ids_NT),
            "of": dataset.digest,
        },
        seconds=time.perf_counter() - started,
    )


def _run(request: TokensRequest, progress: Progress) -> str:
    """Cut every split of a task into a model's tokens, and publish them."""
    dataset = data.load(request.task)
    job = kinds.named(TOKENS.name, request.tokens, request.task, dataset.digest)
    run(job, dataset, Store(request.store), progress)
    return job.fingerprint


if __name__ == "__main__":
    sys.exit(main(TokensRequest, _run))
