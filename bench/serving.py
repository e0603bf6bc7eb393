"""`python -m bench.serving`: from texts to labels on one core, frozen encoder included."""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from bench.measure import Timing, alternate, machine, pin
from qdllm import saved
from qdllm.circuits.spec import CircuitSpec
from qdllm.families.quantum import FAMILY, StudentSpec
from qdllm.predictor import Predictor
from qdllm.specs import EncoderSpec, TaskSpec
from qdllm.texts import data

TEXTS = 64
"""Texts in one request."""
WORDS = (7, 12, 25, 50)
"""A headline, a post, a sentence of the sample corpus, a short paragraph."""
ROWS = (1024, 10048)
"""Rows of a small request and of a large one, a multiple of `TEXTS` each."""
BOOK = 10_000_000
"""Characters of one long text."""
CLASSES = ("business", "health", "science", "sport")
SPEC = StudentSpec(
    encoder=EncoderSpec(hidden_layers=(4, 6)), circuit=CircuitSpec(layers=11), seeds=(0,)
)
"""The ablation's largest student on its encoder."""


def student() -> Predictor:
    """A student with random parameters: a trained one answers as fast."""
    features = 768
    parameters_P = np.random.default_rng(0).normal(
        size=FAMILY.parameters(SPEC, features, len(CLASSES))
    )
    with tempfile.TemporaryDirectory() as folder:
        saved.save(Path(folder), SPEC, CLASSES, features, parameters_P.astype(np.float32))
        return Predictor(Path(folder))


def texts_of(words: int) -> list[str]:
    """Texts of that many words, cut from the sample corpus laid end to end."""
    corpus = " ".join(data.load(TaskSpec()).texts).split()
    return [" ".join(corpus[start : start + words]) for start in range(0, TEXTS * words, words)]


def measure(serve: Predictor, words: int) -> dict[str, Timing]:
    """Seconds for a request of many texts, for its two parts, and for a request of one text."""
    texts = texts_of(words)
    features_NH = torch.from_numpy(serve.encoder(texts))
    return alternate(
        {
            "all": lambda: serve(texts),
            "encoder": lambda: serve.encoder(texts),
            "student": lambda: serve.model.predict(features_NH),
            "one": lambda: serve(texts[:1]),
        }
    )


def answered(serve: Predictor) -> list[tuple[str, str, str]]:
    """Large requests, each after a smaller one of its kind: what, how fast, and memory beyond it.

    Memory: by how much the process's highest resident set has grown, in MiB.
    """
    few, many = (texts_of(WORDS[1]) * (rows // TEXTS) for rows in ROWS)
    book = " ".join(many)
    book *= BOOK // len(book) + 1
    told = []
    for what, smaller, larger in (
        (f"{len(many):,} rows", few, many),
        (f"one text of {len(book) / 1e6:.0f} MB", [book[:1000]], [book]),
    ):
        serve(smaller)
        before, began = _peak(), time.perf_counter()
        serve(larger)
        seconds = time.perf_counter() - began
        told.append((what, f"{len(larger) / seconds:.0f} rows/s", f"{_peak() - before:.0f}"))
    return told


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Measure and print."""
    argparse.ArgumentParser(prog="python -m bench.serving", description=__doc__).parse_args()
    pin()
    console, serve = Console(), student()
    about = machine()
    console.print(f"{about['processor']}, one core; torch {about['versions']['torch']}")
    table = Table(
        "words", "texts a second", "slowest round", "encoder", "student", "one text alone"
    )
    for words in WORDS:
        timings = measure(serve, words)
        whole = timings["all"]
        table.add_row(
            str(words),
            f"{TEXTS / whole.median:.0f}",
            f"{TEXTS / whole.slowest:.0f}",
            *(f"{timings[part].median / TEXTS * 1e3:.3f} ms" for part in ("encoder", "student")),
            f"{timings['one'].median * 1e3:.1f} ms",
        )
    console.print(table)
    table = Table("one request", "answered", "memory beyond a small one's, MiB")
    for row in answered(serve):
        table.add_row(*row)
    console.print(table)


if __name__ == "__main__":
    main()
