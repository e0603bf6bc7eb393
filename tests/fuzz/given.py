"""What people, programs and accidents give: texts and numbers at which readers stumble."""

import json
import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

SECRET = "hunter2hunter2"
"""Stands in every address that has one; it may be in nothing that is told or written."""
LONG = "x" * 300
_WORDS = json.loads(Path(__file__).with_name("words.json").read_text(encoding="utf-8"))
KEYS = _WORDS["keys"]
"""What may stand before the = of `--set`, beside settings."""
WORDS = (*_WORDS["words"], LONG, "x" * 5000, "/".join(["x"] * 3000), "[" * 1000, "[" * 100_000)
_WHOLE = (-1, 0, 1, 2, -(2**63), 2**31, 2**32, 2**53, 2**63, 2**64, 10**12, 10**20, 10**400)
_REAL = (0.5, -0.5, 1.0, 2.0, 1e-320, 5e-324, 1e-9, 1e39, 1e308, -1e308, math.inf, math.nan)
NUMBERS = (*_WHOLE, -(10**400), *_REAL)
ODDITIES = (None, True, False, "", "x", [], {}, [[]], [None], {"a": 1}, {"": 1}, [{}], "\ud800")


def some_text(rng: random.Random) -> str:
    """One of the words, or two of them in one."""
    word = rng.choice(WORDS)
    return word if rng.random() < 0.7 else (word + rng.choice(WORDS))[:200_000]


def anything(rng: random.Random, depth: int = 0) -> Any:
    """A value of any kind that JSON has, and of a few that it has not."""
    chance = rng.random()
    if chance < 0.35:
        return rng.choice(NUMBERS)
    if chance < 0.6:
        return some_text(rng)
    if chance < 0.8 or depth > 3:
        return rng.choice(ODDITIES)
    if chance < 0.9:
        return [anything(rng, depth + 1) for _ in range(rng.randrange(4))]
    return {some_text(rng): anything(rng, depth + 1) for _ in range(rng.randrange(4))}


def damaged(rng: random.Random, content: bytes) -> bytes:
    """A file after an accident: cut, doubled, with bits flipped or with something foreign in it."""
    at = rng.randrange(len(content) + 1)
    other = some_text(rng).encode(errors="surrogatepass")[:5000]
    return rng.choice(
        (
            lambda: content[:at],
            lambda: content[at:],
            lambda: content[:at] + other + content[at:],
            lambda: content[:at] + other + content[at + len(other) :],
            lambda: (
                content[:at]
                + bytes([content[at % len(content)] ^ 1 << rng.randrange(8)])
                + content[at + 1 :]
                if content
                else b"\0"
            ),
            lambda: content + content,
            lambda: other,
            lambda: b"",
            lambda: rng.randbytes(100),
        )
    )()


class Bounds(NamedTuple):
    """What a number may be, as the documentation has it, apart from the code under test."""

    low: float
    high: float
    whole: bool
    open: bool = False
    """Whether the low end itself is left out."""

    def holds(self, value: object) -> bool:
        """Whether the value is such a number."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        if self.whole and not isinstance(value, int):
            return False
        return (self.low < value if self.open else self.low <= value) and value <= self.high

    def draw(self, rng: random.Random) -> int | float:
        """One of them, an end now and then."""
        if self.whole:
            low, high = int(self.low), int(self.high)
            return rng.choice((low, high, rng.randint(low, min(high, low + 100))))
        if rng.random() < 0.2:
            return self.high if self.open or rng.random() < 0.5 else self.low
        return round(rng.uniform(self.low, min(self.high, self.low + 1)), 3) or self.high


SEED = Bounds(0, 2**63 - 1, True)
BATCH, LENGTH, RATE = Bounds(1, 2**16, True), Bounds(4, 2**17, True), Bounds(0, 3e38, False, True)
SETTINGS: dict[str, Bounds | Sequence[Any]] = {
    "circuit.ansatz": ("published", "textbook"),
    "circuit.qubits": Bounds(2, 20, True),
    "circuit.layers": Bounds(1, 1000, True),
    "angles": ("raw", "minmax"),
    "loss.alpha": Bounds(0, 1, False),
    "loss.temperature": Bounds(0.01, 1000, False),
    "loss.teacher_terms": ("kl+js", "kl", "js"),
    "loss.form": ("exact", "published"),
    "fit.epochs": Bounds(1, 100_000, True),
    "fit.batch_size": BATCH,
    "fit.lr": RATE,
    "encoder.pooling": ("mean", "first"),
    "encoder.weights": ("safetensors", "torch"),
    "encoder.max_length": LENGTH,
    "encoder.hidden_layers": ([4], [4, 6], [-1], "all", [0, -1000, 1000]),
    "teacher.rank": Bounds(1, 4096, True),
    "teacher.lora_alpha": Bounds(0, 1e6, False, True),
    "teacher.dropout": (0, 0.5, 0.999),
    "teacher.epochs": Bounds(1, 1000, True),
    "teacher.batch_size": BATCH,
    "teacher.lr": RATE,
    "teacher.weight_decay": Bounds(0, 100, False),
    "teacher.warmup": (0, 0.5, 0.999),
    "teacher.max_length": LENGTH,
    "teacher.precision": ("float32", "bfloat16"),
    "teacher.zero_stage": (0, 1, 2, 3),
    "teacher.micro_batch_size": BATCH,
    "teacher.gradient_checkpointing": (True, False),
    "teacher.seed": SEED,
    "task.seed": SEED,
    "task.split": ([0.6, 0.2, 0.2], [0.1, 0.1, 0.8]),
}
"""What a trial of the default family takes: a range, or some of the values that there are."""
MEASURED: dict[str, Bounds | Sequence[Any]] = {
    "measurement.split": ("validation", "test"),
    "measurement.rows": Bounds(1, 10_000_000, True),
    "measurement.shots": Bounds(1, 10_000_000, True),
    "measurement.trajectories": Bounds(2, 100_000, True),
    "measurement.form": ("two-chains", "as-is"),
    "measurement.mitigation": ("none", "readout", "affine"),
    "measurement.seed": SEED,
}
"""What a measurement by `baihua-sim` takes, for which all of it counts."""
ALLOWED = SETTINGS | MEASURED
MAY_BE_NOTHING = {"teacher.micro_batch_size", *MEASURED} - {"measurement.split", "measurement.seed"}


def fitting(rng: random.Random, key: str) -> Any:
    """A value that the setting takes."""
    allowed = ALLOWED[key]
    return allowed.draw(rng) if isinstance(allowed, Bounds) else rng.choice(allowed)


def unfitting(rng: random.Random, key: str) -> Any:
    """A value that it does not take."""
    while True:
        value = rng.choice((rng.choice(NUMBERS), rng.choice(ODDITIES), rng.choice(WORDS)))
        if not takes(key, value) and not isinstance(value, list):
            return value


def takes(key: str, value: object) -> bool:
    """Whether the setting takes the value, for those of which all values are known here."""
    allowed = ALLOWED[key]
    if isinstance(allowed, Bounds):
        nothing = key in MAY_BE_NOTHING and value is None
        return nothing or allowed.holds(value)
    if key == "task.split" and isinstance(value, str):
        return bool(value.strip())  # a column's name
    if key == "task.split" and type(value) is int:
        return 0 < value <= 10_000  # its number
    if key in ("teacher.dropout", "teacher.warmup"):
        return Bounds(0, 1, False).holds(value) and value != 1
    return any(value == each and type(value) is type(each) for each in allowed)


Check = Callable[[Any], str | None]
"""What is wrong with what was accepted; nothing if it may be."""


class Refused(Exception):
    """What a whole command says when it ends with a status that is not 0."""


class Case(NamedTuple):
    """One thing to try."""

    given: str
    """In one line."""
    run: Callable[[], Any]
    valid: bool | None = None
    """Whether it must be accepted, or refused; None: either."""
    repeated: Sequence[str] = ()
    """A refusal must contain the beginning of one of these."""
    check: Check = lambda accepted: None
