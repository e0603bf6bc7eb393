"""What the frozen text encoder makes of a task's texts."""

from typing import Any

from jobs.kinds.kind import Count, Kind, Load, Number
from qdllm.models import reader
from qdllm.specs import EncoderSpec, TrialSpec

ENCODER: dict[str, Any] = {"parameters": Count, "encoding_us": Number}
"""What a record tells of its encoder: its size, and the microseconds that a text took it."""


def _of_trial(spec: TrialSpec) -> EncoderSpec:
    return spec.encoder


def _digests(spec: EncoderSpec) -> dict[str, str]:
    spec.features()  # a hidden layer that its model lacks is told of before anything is made
    return {"model": reader(spec.model, spec.weights, spec.max_length).digest}


def _load(spec: EncoderSpec) -> Load:
    return (spec.model, spec.max_length), 1.0


FEATURES = Kind(
    name="features",
    label="features",
    spec=EncoderSpec,
    role="features",
    of_trial=_of_trial,
    tensor="features",
    of_texts=True,
    digests=_digests,
    maker="jobs.features",
    phase=lambda spec: "features",
    load=_load,
    counts_texts=True,
    content={"width": Count, "texts": Count, "of": str, **ENCODER},
    told={"": "spec/model", "width": "summary/width", "texts": "summary/texts"},
    kept="used",
)
KINDS = (FEATURES,)
