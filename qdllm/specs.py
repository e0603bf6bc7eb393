"""Frozen, validated descriptions of what to produce, and the fingerprints that name results.

If a setting can change a number it is in a spec; if it cannot (device, workers, log level) it is
not. Defaults are the paper's, except where a comment says otherwise.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import to_json

from qdllm import models
from qdllm.errors import ConfigError, nearest

SCHEMA = 1
"""Part of every fingerprint. Raise it when the same spec would give different numbers."""


def _unique(values: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(values)) < len(values):
        raise ValueError(f"each value may stand once, but {list(values)} repeats one")
    return values


def _fractions(values: tuple[float, float, float]) -> tuple[float, float, float]:
    if min(values) <= 0 or abs(sum(values) - 1) > 1e-9:
        raise ValueError(f"{list(values)} must be three positive numbers that sum to 1")
    return values


class Spec(BaseModel):
    """Base of all specs: immutable, hashable, and strict about unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    unhashed: ClassVar[frozenset[str]] = frozenset()
    """Fields left out of the fingerprint: they change no number, or enter it as a dependency."""

    @classmethod
    def parse(cls, data: Mapping[str, Any], origin: Callable[[str], str] = lambda key: "") -> Self:
        """Validate plain data. Raises ConfigError naming each bad key and the nearest known one.

        `origin(key)` goes before what is said about a dotted key: a file and its line, say.
        """
        try:
            # As JSON: strict about numbers, which `yes` and "0.1" are not, yet lists are tuples.
            return cls.model_validate_json(to_json(data), strict=True)
        except ValidationError as error:
            problems = [
                origin(".".join(map(str, problem["loc"]))) + explain(cls, problem)
                for problem in error.errors()
                # A default that hangs on another field is not called where that one is wrong.
                if problem["type"] != "default_factory_not_called"
            ]
            raise ConfigError("\n".join(problems)) from None


def explain(model: type[BaseModel], problem: Any) -> str:
    """One line for one pydantic problem: the key's path, what was given, what is allowed."""
    # Beside keys, pydantic names union members, as `literal['all']`, which a user never wrote.
    path = [str(part) for part in problem["loc"] if re.fullmatch(r"[\w.-]+", str(part))]
    given, where = problem["input"], ".".join(path)
    if problem["type"] == "extra_forbidden":
        for part in path[:-1]:
            kind = getattr(model.model_fields.get(part), "annotation", None)
            groups = [each for each in (kind, *get_args(kind)) if hasattr(each, "model_fields")]
            if not groups:
                break
            model = groups[0]
        known = sorted(model.model_fields)
        hint = nearest(path[-1], known) or "."
        return f"unknown key {where!r}{hint} There are: {', '.join(known)}"
    if problem["type"] == "literal_error":
        known = [
            choice.strip(" '")
            for choice in problem["ctx"]["expected"].replace(" or ", ",").split(",")
        ]
        hint = nearest(str(given), known) or "."
        return f"unknown {where} {given!r}{hint} There are: {', '.join(known)}"
    return f"{where}: {problem['msg']}, but {given!r} was given"


class TaskSpec(Spec):
    """Which texts and labels, and how they are split. Enters fingerprints by the texts' digest."""

    unhashed = frozenset({"name", "data", "text_column", "label_column"})

    name: str = "sample-thematic"
    data: str | None = None
    text_column: str = "text"
    label_column: str = "label"
    split: Annotated[tuple[float, float, float], AfterValidator(_fractions)] = (0.6, 0.2, 0.2)
    seed: int = Field(0, ge=0)


class EncoderSpec(Spec):
    """The frozen text encoder. `hidden_layers` counts from 0, the embeddings; −1 is the last."""

    unhashed = frozenset({"model"})

    model: str = "minilm"
    weights: Literal["safetensors", "torch"] = "safetensors"
    hidden_layers: Annotated[tuple[int, ...], AfterValidator(_unique)] | Literal["all"] = (-1,)
    pooling: Literal["mean", "first"] = "mean"
    max_length: int = Field(128, ge=4)


class TeacherSpec(Spec):
    """A language model fine-tuned with LoRA into a classifier. Rank 64 is the paper's.

    `micro_batch_size`, `gradient_checkpointing` and `offload` trade time for memory and change no
    number but by round-off.
    """

    unhashed = frozenset({"model", "micro_batch_size", "gradient_checkpointing", "offload"})

    model: str = "minilm"
    weights: Literal["safetensors", "torch"] = "safetensors"
    rank: int = Field(64, ge=1)
    lora_alpha: float = Field(64.0, gt=0)
    dropout: float = Field(0.0, ge=0, lt=1)
    epochs: int = Field(2, ge=1)
    batch_size: int = Field(16, ge=1)
    lr: float = Field(1e-3, gt=0)
    weight_decay: float = Field(0.01, ge=0)
    warmup: float = Field(0.1, ge=0, lt=1)
    max_length: int = Field(128, ge=4)
    precision: Literal["float32", "bfloat16"] = Field(
        default_factory=lambda given: models.precision(given.get("model", "")),
        validate_default=True,
    )
    # In float32, LoRA's state is too small to be worth cutting up. In bfloat16, stage 0 alone keeps
    # no float32 copy of what is trained, and trains worse.
    zero_stage: Literal[0, 1, 2, 3] = Field(
        default_factory=lambda given: 0 if given.get("precision") == "float32" else 2,
        validate_default=True,
    )
    micro_batch_size: int | None = Field(None, ge=1)
    """Rows that a worker computes at once; None: its whole share of a batch."""
    gradient_checkpointing: bool = False
    offload: bool = False
    """Keep in the host's memory what the stage cuts up: Adam's state, or at stage 3 the weights."""
    seed: int = Field(0, ge=0)

    @field_validator("offload")
    @classmethod
    def _something_to_offload(cls, offload: bool, given: ValidationInfo) -> bool:
        if offload and given.data.get("zero_stage") == 0:
            raise ValueError("it needs zero_stage 1, 2 or 3, which say what is cut up")
        return offload


class CircuitSpec(Spec):
    """The student's circuit: RX angle encoding, then `layers` repetitions of the ansatz."""

    ansatz: Literal["published", "textbook"] = "published"
    qubits: int = Field(11, ge=2, le=20)
    layers: int = Field(2, ge=1)


class LossSpec(Spec):
    """(1 − α)·CE + α·(T²·KL + JS), equation 14, or the form that the published program computes."""

    alpha: float = Field(0.9, ge=0, le=1)
    temperature: float = Field(2.0, gt=0)
    teacher_terms: Literal["kl+js", "kl", "js"] = "kl+js"
    form: Literal["exact", "published"] = "exact"


class FitSpec(Spec):
    """How a student is trained: Adam, a fixed learning rate, shuffled batches."""

    epochs: int = Field(10, ge=1)
    batch_size: int = Field(8, ge=1)
    lr: float = Field(0.06, gt=0)


Seeds = Annotated[
    tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1), AfterValidator(_unique)
]
"""Of a trial's rows: each draws its first values and its order of texts from its own."""


class TrialSpec(Spec):
    """What the specs of all families have: `family` tells them apart (see qdllm.families).

    It enters no fingerprint, since each family's class has a name of its own; texts, teacher and
    encoder enter by what is made of them.
    """

    unhashed = frozenset({"family", "task", "teacher", "encoder"})

    family: str
    task: TaskSpec = TaskSpec()

    if TYPE_CHECKING:

        @property
        def seeds(self) -> tuple[int, ...]:
            """One for each row; a family whose rows are drawn has them as a field."""

        @property
        def encoder(self) -> EncoderSpec:
            """Of families that read features."""

        @property
        def teacher(self) -> TeacherSpec:
            """Of families that read soft labels."""


class EvaluationSpec(Spec):
    """Which simulator measures a stored student on the test split."""

    backend: Literal["engine", "mindquantum"] = "mindquantum"


def canonical(value: Any) -> str:
    """The one JSON text of a value: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def fingerprint(spec: Spec, **depends_on: str) -> str:
    """16 hex digits that name a result: its spec, the schema, and the digests it depends on."""
    payload = {
        "kind": type(spec).__name__,
        "schema": SCHEMA,
        "spec": spec.model_dump(mode="json", exclude=set(spec.unhashed)),
        "from": depends_on,
    }
    return hashlib.sha256(canonical(payload).encode()).hexdigest()[:16]


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted key. Raises ConfigError if a key is reached in two ways."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        below = (
            flat(value, f"{prefix}{key}.")
            if isinstance(value, Mapping)
            else {f"{prefix}{key}": value}
        )
        if twice := found.keys() & below.keys():
            raise ConfigError(f"{min(twice)!r} is set twice; keep one of them")
        found |= below
    return found
