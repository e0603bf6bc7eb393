"""A linear model on the texts' own words: what needs no encoder, no teacher and no student."""

from collections.abc import Sequence

from jobs.kinds.kind import Count, Kind, Load, Number, Record, Standing, measured
from qdllm.models import FITTED
from qdllm.spec import Spec
from qdllm.specs import TrialSpec

NAME = "logistic regression on TF-IDF"


class WordsSpec(Spec):
    """Logistic regression on TF-IDF weights of words and characters, its strength by validation."""


def _digests(spec: WordsSpec) -> dict[str, str]:
    return {"weights": FITTED["tfidf"]}


def _load(spec: WordsSpec) -> Load:
    return (), 1.0


def _beside(trials: Sequence[TrialSpec]) -> list[WordsSpec]:
    return [WordsSpec()]


def _standing(record: Record) -> list[Standing]:
    return [Standing(NAME, measured(record), record.summary["parameters"], {})]


WORDS = Kind(
    name="words",
    label="linear models on words",
    spec=WordsSpec,
    of_texts=True,
    digests=_digests,
    maker="jobs.words",
    one_core=True,
    phase=lambda spec: "words",
    load=_load,
    counts_texts=True,
    beside=_beside,
    content={
        "metrics": dict[str, Number],
        "parameters": Count,
        "strength": Number,
        "texts": Count,
    },
    told={"validation": "metrics/val.accuracy", "test": "metrics/test.accuracy"},
    standing=_standing,
)
KINDS = (WORDS,)
