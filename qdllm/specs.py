"""The specs that several kinds of results have: texts, encoder, teacher, loss, training.

Defaults are the paper's, except where a comment says otherwise.
"""

import codecs
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationInfo,
    field_validator,
)

from qdllm import models
from qdllm.errors import ConfigError
from qdllm.messages import shown
from qdllm.spec import Spec

MOST_SEEDS = 1000
"""Rows of one trial; an interval over a hundred is narrower than any that is worth reading."""
Seed = Annotated[int, Field(ge=0, lt=2**63)]
"""What the generators of torch and NumPy take, and every table of results can hold."""
BatchSize = Annotated[int, Field(ge=1, le=2**16)]
MaxLength = Annotated[int, Field(ge=4, le=2**17)]
"""Tokens of one text; the longest contexts that there are have about so many."""
MOST_COLUMNS = 10_000
"""Of a table of texts."""
Layer = Annotated[int, Field(ge=-1000, le=1000)]
Rate = Annotated[float, Field(gt=0, le=3e38)]
"""Of learning: what float32 holds. Which rates diverge shows only in training."""


def _unique(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(set(values)) < len(values):
        raise ValueError(f"each value may stand once, but {shown(list(values))} repeats one")
    return values


def _split(value: Any) -> Any:
    if isinstance(value, list | tuple):
        numbers = [part for part in value if type(part) in (int, float) and part > 0]
        if len(numbers) == len(value) == 3 and abs(sum(numbers) - 1) <= 1e-9:
            return tuple(map(float, numbers))
    elif (isinstance(value, str) and value.strip()) or _numbers_a_column(value):
        return value
    raise ValueError(
        f"{shown(value)} was given; it must be three positive numbers that sum to 1, such as "
        "[0.6, 0.2, 0.2], or the column that says train, validation or test, by name or number"
    )


def _column(value: Any) -> Any:
    if (isinstance(value, str) and value.strip()) or _numbers_a_column(value):
        return value
    raise ValueError(
        f"{shown(value)} was given; it must be a column's name, or its number from 1 to "
        f"{MOST_COLUMNS:,}"
    )


def _numbers_a_column(value: Any) -> bool:
    return type(value) is int and 0 < value <= MOST_COLUMNS


def _columns(value: Any) -> Any:
    if not isinstance(value, list | tuple):
        return _column(value)
    columns = tuple(map(_column, value))
    if not columns or len(set(columns)) < len(columns):
        raise ValueError(f"{shown(value)} was given; name each column once, and at least one")
    return columns


def _encoding(name: Any) -> Any:
    try:
        if name is None or codecs.lookup(name)._is_text_encoding:
            return name
    except (LookupError, TypeError, ValueError):
        pass
    raise ValueError(
        f"{shown(name)} was given; it must be an encoding that Python knows, such as cp1252, "
        "latin-1, cp1251, shift_jis or gb18030"
    )


Column = str | Annotated[int, Field(ge=1, le=MOST_COLUMNS)]
Share = Annotated[float, Field(gt=0, lt=1)]
SHARES = (0.6, 0.2, 0.2)
"""Of train, validation and test: the paper's."""


class TaskSpec(Spec):
    """Which texts and labels, and how they are split. Enters fingerprints by the texts' digest."""

    unhashed = frozenset({"name", "data", "text_column", "label_column", "encoding", "separator"})

    name: str = "sample-thematic"
    data: str | None = None
    text_column: Annotated[Column | tuple[Column, ...], BeforeValidator(_columns)] = "text"
    """Columns by name, or by number from 1; several are joined by a space."""
    label_column: Annotated[Column, BeforeValidator(_column)] = "label"
    encoding: Annotated[str | None, BeforeValidator(_encoding)] = None
    """None: UTF-8, or what a byte order mark says."""
    separator: Literal["comma", "semicolon", "tab", "pipe"] | None = None
    """What stands between the fields of a line; None: what the whole file agrees with."""
    split: Annotated[tuple[Share, Share, Share] | Column, BeforeValidator(_split)] = SHARES
    """Shares of train, validation and test, or the column that says which of them a row is of.
    What a source says of its own splits comes first; what it lacks is cut from its train."""
    seed: Seed = 0


Pooling = Literal["mean", "max", "first"]
COMPONENTS = 768
"""As many features as the paper's BERT has."""


def _several(pooling: Any) -> Any:
    if isinstance(pooling, str):
        return pooling
    _unique(pooling)
    return pooling[0] if len(pooling) == 1 else pooling


class EncoderSpec(Spec):
    """The frozen text encoder. `hidden_layers` counts from 0, the embeddings; −1 is the last.

    `tfidf` for its model is fitted to the training texts, and has `components` alone.
    """

    unhashed = frozenset({"model"})
    joined = frozenset({"components"})

    model: str = "minilm"
    weights: Literal["safetensors", "torch"] = "safetensors"
    hidden_layers: Annotated[tuple[Layer, ...], AfterValidator(_unique)] | Literal["all"] = (-1,)
    pooling: Annotated[
        Pooling | Annotated[tuple[Pooling, ...], Field(min_length=1)], AfterValidator(_several)
    ] = "mean"
    """What of a text's tokens is read; of several, each side by side."""
    max_length: MaxLength = 128
    components: int | None = Field(None, ge=1, le=4096, validate_default=True)
    """Features of an encoder that is fitted to the training texts; 768 unless given."""

    @field_validator("components")
    @classmethod
    def _of_its_kind(cls, components: int | None, given: ValidationInfo) -> int | None:
        name = given.data.get("model", "")
        if name not in models.FITTED:
            if components is not None:
                raise ValueError(
                    f"it belongs to encoder.model={' or '.join(models.FITTED)}, and the model is "
                    f"{shown(name)}; leave it out"
                )
            return None
        for key in ("weights", "hidden_layers", "pooling", "max_length"):
            default = cls.model_fields[key].default
            if given.data.get(key, default) != default:
                raise ValueError(
                    f"{name!r} has no {key}, but {shown(given.data[key])} was given; leave it out"
                )
        return COMPONENTS if components is None else components

    def layers_of(self, count: int) -> tuple[int, ...]:
        """The hidden layers as indices from 0, of a model that has so many with its embeddings.

        Raises ConfigError for one that it lacks.
        """
        if self.hidden_layers == "all":
            return tuple(range(count))
        for layer in self.hidden_layers:
            if not -count <= layer < count:
                raise ConfigError(
                    f"hidden layer {layer} of model {self.model!r}: it has {count}, "
                    f"0 (the embeddings) to {count - 1}, or −1 (the last) to −{count}"
                )
        return tuple(layer % count for layer in self.hidden_layers)

    def features(self) -> int | None:
        """How many numbers a text gets; None where the model's config is not on this machine.

        Raises ConfigError where that model lacks a hidden layer.
        """
        if self.components is not None:
            return self.components
        shape = models.shape(self.model, self.weights)
        if shape.layers is None:
            return None
        layers = len(self.layers_of(shape.layers + 1))
        poolings = 1 if isinstance(self.pooling, str) else len(self.pooling)
        return shape.width and layers * poolings * shape.width


class TeacherSpec(Spec):
    """A language model fine-tuned with LoRA into a classifier. Rank 64 is the paper's.

    With `none` for its model there is none: students learn from the labels alone, with alpha 0.

    `micro_batch_size`, `gradient_checkpointing` and `offload` trade time for memory and change no
    number but by round-off; see `hashed`.
    """

    unhashed = frozenset({"model", "micro_batch_size", "gradient_checkpointing", "offload"})

    model: str = "minilm"
    weights: Literal["safetensors", "torch"] = "safetensors"
    rank: int = Field(64, ge=1, le=4096)
    lora_alpha: float = Field(64.0, gt=0, le=1e6)
    dropout: float = Field(0.0, ge=0, lt=1)
    epochs: int = Field(2, ge=1, le=1000)
    batch_size: BatchSize = 16
    lr: Rate = 1e-3
    weight_decay: float = Field(0.01, ge=0, le=100)
    warmup: float = Field(0.1, ge=0, lt=1)
    max_length: MaxLength = 128
    precision: Literal["float32", "bfloat16"] = Field(
        default_factory=lambda given: models.precision(given.get("model", "")),
        validate_default=True,
    )
    # In float32, LoRA's state is too small to be worth cutting up. In bfloat16, stage 0 alone keeps
    # no float32 copy of what is trained, and trains worse.
    zero_stage: int = Field(
        default_factory=lambda given: 0 if given.get("precision") == "float32" else 2,
        validate_default=True,
        ge=0,
        le=3,
    )
    micro_batch_size: BatchSize | None = None
    """Rows that a worker computes at once; None: its whole share of a batch."""
    gradient_checkpointing: bool = False
    offload: bool = False
    """Keep in the host's memory what the stage cuts up: Adam's state, or at stage 3 the weights."""
    seed: Seed = 0

    def hashed(self, plain: dict[str, Any]) -> dict[str, Any]:
        """As Spec does; with dropout, masks are drawn for as many rows as are computed at once."""
        plain = super().hashed(plain)
        if self.dropout and (self.micro_batch_size or self.batch_size) < self.batch_size:
            plain["masks"] = self.micro_batch_size
        return plain

    @field_validator("model")
    @classmethod
    def _has_logits(cls, name: str) -> str:
        if name in models.FITTED:
            raise ValueError(f"{name!r} encodes texts, and is no teacher; give a language model")
        return name

    @field_validator("offload")
    @classmethod
    def _something_to_offload(cls, offload: bool, given: ValidationInfo) -> bool:
        if offload and given.data.get("zero_stage") == 0:
            raise ValueError("it needs zero_stage 1, 2 or 3, which say what is cut up")
        return offload


class LossSpec(Spec):
    """(1 − α)·CE + α·(T²·KL + JS), equation 14, or the form that the published program computes."""

    alpha: float = Field(0.9, ge=0, le=1)
    temperature: float = Field(2.0, ge=0.01, le=1000)
    teacher_terms: Literal["kl+js", "kl", "js"] = "kl+js"
    form: Literal["exact", "published"] = "exact"


class FitSpec(Spec):
    """How a student is trained: Adam over shuffled batches."""

    joined = frozenset({"schedule"})

    epochs: int = Field(10, ge=1, le=100_000)
    batch_size: BatchSize = 8
    lr: Rate = 0.06
    schedule: Literal["constant", "cosine"] = "constant"
    """What becomes of the learning rate: it stays, or falls to 0 along half a cosine's wave."""


Seeds = Annotated[
    tuple[Seed, ...], Field(min_length=1, max_length=MOST_SEEDS), AfterValidator(_unique)
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

    @field_validator("teacher", check_fields=False)
    @classmethod
    def _needs_one(cls, teacher: TeacherSpec) -> TeacherSpec:
        if teacher.model == models.NOBODY and "loss" not in cls.model_fields:
            name = cls.model_fields["family"].default
            raise ValueError(f"family {name} learns from a teacher; name one in teacher.model")
        return teacher

    @field_validator("loss", check_fields=False)
    @classmethod
    def _labels_alone(cls, loss: LossSpec, given: ValidationInfo) -> LossSpec:
        teacher = given.data.get("teacher")
        if teacher and teacher.model == models.NOBODY and loss.alpha > 0:
            raise ValueError(
                f"teacher.model is {models.NOBODY!r}, so alpha, the teacher's weight, must be 0, "
                f"but {loss.alpha:g} was given; name a teacher, or set loss.alpha=0"
            )
        return loss

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

        @property
        def teacher_layers(self) -> tuple[int, ...]:
            """Of families that read a teacher's pooled states: which, 0 the embeddings."""


class EvaluationSpec(Spec):
    """Which simulator measures a stored student on the test split."""

    backend: Literal["engine", "mindquantum"] = "mindquantum"


class AgreementSpec(Spec):
    """Of which family the trial is that is compared with a teacher."""

    family: str = Field("quantum", max_length=255)
