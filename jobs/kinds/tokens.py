"""A task's texts as a model's tokenizer cuts them: what bodies read."""

from jobs.kinds.kind import Count, Kind, Load
from qdllm.models import reader
from qdllm.rivals.specs import TokensSpec
from qdllm.specs import TrialSpec


def _of_trial(spec: TrialSpec) -> TokensSpec:
    encoder = spec.encoder
    return TokensSpec(model=encoder.model, weights=encoder.weights, max_length=encoder.max_length)


def _digests(spec: TokensSpec) -> dict[str, str]:
    return {"model": reader(spec.model, spec.weights, spec.max_length).digest}


def _load(spec: TokensSpec) -> Load:
    return (spec.model, spec.max_length), 1.0


TOKENS = Kind(
    name="tokens",
    label="tokens",
    spec=TokensSpec,
    role="tokens",
    of_trial=_of_trial,
    tensor="tokens",
    whole_numbers=True,
    of_texts=True,
    digests=_digests,
    maker="jobs.tokens",
    phase=lambda spec: "tokens",
    load=_load,
    counts_texts=True,
    content={"width": Count, "texts": Count},
    told={"": "spec/model", "longest": "summary/width", "texts": "summary/texts"},
    kept="used",
)
KINDS = (TOKENS,)
