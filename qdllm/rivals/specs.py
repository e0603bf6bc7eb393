"""What a grid says of rivals' bodies and training, and what their kinds of result are. Torch-free.

Defaults suit the packaged MiniLM: six layers, 384 wide, twelve heads.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from qdllm import models
from qdllm.errors import ConfigError
from qdllm.messages import shown
from qdllm.spec import Spec
from qdllm.specs import BatchSize, EncoderSpec, MaxLength, TeacherSpec

Block = Annotated[int, Field(ge=0, lt=1000)]
"""A layer of a transformer, from 0; its output is hidden state block + 1."""
ARITHMETIC = 2
"""Raised where training gives other bits: what an earlier version kept is not gone on from."""
Width = Annotated[int, Field(ge=1, le=2**16)]
Weight = Annotated[float, Field(ge=0, le=1e6)]
"""Of a term, for one example; of a state's term, whatever its width."""
Temperature = Annotated[float, Field(ge=0.01, le=1000)]
Share = Annotated[float, Field(ge=0, le=1)]
Pair = tuple[Annotated[int, Field(ge=0, le=1000)], Annotated[int, Field(ge=0, le=1000)]]
"""A hidden state of the rival and the one of the teacher that it shall follow, 0 the embeddings."""


class TokensSpec(Spec):
    """A task's texts as a model's tokenizer cuts them."""

    unhashed = frozenset({"model"})

    model: str = "minilm"
    weights: Literal["safetensors", "torch"] = "safetensors"
    max_length: MaxLength = 128


class StatesSpec(Spec):
    """What a fine-tuned teacher makes of the training texts: hidden states, pooled over tokens.

    `layers` counts from 0, the embeddings.
    """

    unhashed = frozenset({"teacher"})

    teacher: TeacherSpec = TeacherSpec()
    layers: tuple[Annotated[int, Field(ge=0, le=1000)], ...] = Field(
        (0,), min_length=1, max_length=1001
    )


Layers = Annotated[tuple[Block, ...], Field(min_length=1, max_length=1000)]


class BodySpec(Spec):
    """A BERT cut from the encoder's model, all of it trained, with a linear head on its pooling.

    `start`: `base` takes the layers as they are; `pca` makes a narrower body, whose embeddings are
    the model's on their first principal components and whose layers are random; `random` takes
    nothing but the vocabulary. Widths that are not given are the model's.
    """

    layers: Layers | Literal["all"] = (0, 2, 5)
    """Of the model, from 0; of a body that is no copy, only how many there are."""
    start: Literal["base", "pca", "random"] = "base"
    width: Width | None = None
    intermediate: Width | None = None
    heads: Annotated[int, Field(ge=1, le=1024)] | None = None
    pooling: Literal["mean", "first"] = "mean"


class WholeBody(BodySpec):
    """All layers of the model."""

    layers: Layers | Literal["all"] = "all"


class TuningSpec(Spec):
    """How a body is trained: AdamW, linear warm-up and decay, gradients clipped to a norm."""

    joined = frozenset({"precision"})

    epochs: int = Field(3, ge=1, le=10_000)
    batch_size: BatchSize = 32
    lr: float = Field(1e-4, gt=0, le=1e30)
    """AdamW itself reckons with ten times as much in float32."""
    weight_decay: float = Field(0.01, ge=0, le=100)
    warmup: float = Field(0.1, ge=0, lt=1)
    clip: float = Field(1.0, gt=0, le=1e6)
    dropout: float = Field(0.1, ge=0, lt=1)
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of what linear layers multiply in training. Inference is in float32."""

    def hashed(self, plain: dict[str, Any]) -> dict[str, Any]:
        """As Spec does; beside it, which round-off it is."""
        return super().hashed(plain) | {"arithmetic": ARITHMETIC}


class ScratchSpec(TuningSpec):
    """Of what begins with random layers: a fine-tuning's rate would leave them random."""

    epochs: int = Field(5, ge=1, le=10_000)
    lr: float = Field(1e-3, gt=0, le=1e30)


def depth(model: str, weights: str) -> int:
    """How many layers a model has, by its config. Raises ConfigError where that says nothing."""
    models.config(model, weights)
    layers = models.shape(model, weights).layers
    if layers is None:
        raise ConfigError(f"the config of model {model!r} does not say how many layers it has")
    return layers


def blocks(body: BodySpec, encoder: EncoderSpec) -> tuple[int, ...]:
    """The layers of a model that a body has. Raises ConfigError where it shall have all, and how
    many those are is not known."""
    if body.layers == "all":
        return tuple(range(depth(encoder.model, encoder.weights)))
    return body.layers


def check_words(encoder: EncoderSpec) -> None:
    """Raise ConfigError for a model whose words' embeddings cannot be had by themselves."""
    if encoder.model in models.FITTED:
        raise ConfigError(
            f"encoder.model {encoder.model!r} has no words' embeddings; give one of type bert, "
            "such as minilm"
        )
    config = models.config(encoder.model, encoder.weights)
    if config.get("model_type") != "bert":
        raise ConfigError(
            f"words' embeddings, and bodies, come from a BERT, but {encoder.model!r} is of type "
            f"{shown(config.get('model_type'))}; give encoder.model one of type bert, such as "
            "minilm"
        )


def check_body(body: BodySpec, encoder: EncoderSpec) -> None:
    """Raise ConfigError for a body that cannot be cut from that model."""
    check_words(encoder)
    config = models.config(encoder.model, encoder.weights)
    has = depth(encoder.model, encoder.weights)
    wide, heads = config["hidden_size"], body.heads or config["num_attention_heads"]
    layers = blocks(body, encoder)
    lacking = [layer for layer in layers if layer >= has]
    if body.start == "base":
        if len(layers) > has or lacking:
            raise ConfigError(
                f"body.layers: {shown(list(layers))} are asked for, but {encoder.model!r} has "
                f"{has} layers, 0 to {has - 1}; give body.layers some of those, or all"
            )
        own = ("hidden_size", "intermediate_size", "num_attention_heads")
        asked = (body.width, body.intermediate, body.heads)
        for key, given in zip(own, asked, strict=True):
            if given not in (None, config[key]):
                raise ConfigError(
                    f"body: layers copied from {encoder.model!r} keep its {key} of {config[key]}, "
                    f"but {given} was given; give body.start=pca or random, or leave it out"
                )
    width = body.width or wide
    if width % heads:
        raise ConfigError(
            f"body: {heads} heads do not divide a width of {width}; give a multiple of {heads} as "
            "body.width, or other body.heads"
        )
    if body.start == "pca" and width > wide:
        raise ConfigError(
            f"body.width: {width} was given, but the embeddings of {encoder.model!r} have {wide} "
            "principal components; give at most so many, or body.start=random"
        )


def same_tokens(teacher: TeacherSpec, encoder: EncoderSpec) -> bool:
    """Whether what a teacher says of a token is said of the body's own: both are of one model,
    whatever it is called. Where one is gone, as where only a report is made, its name tells."""
    named = [(each.model, each.weights) for each in (teacher, encoder)]
    if named[0] == named[1]:
        return True
    try:
        theirs, own = (models.resolve(*each).digest for each in named)
    except ConfigError:
        return False
    return theirs == own


def skip(layers: int, of: int) -> tuple[tuple[int, int], ...]:
    """PKD's pairs: states 1 to layers − 1 follow the teacher's at even steps (12 → 6: 2, 4 … 10).

    The last one is left to the logits.
    """
    return tuple((state, state * of // layers) for state in range(1, layers))


def last(layers: int, of: int) -> tuple[tuple[int, int], ...]:
    """PKD's other pairs: the teacher's last states but one (12 → 6: 7 to 11)."""
    return tuple((state, of - layers + state) for state in range(1, layers))


def check_depth(layers: int, teacher: str, of: int) -> None:
    """Raise ConfigError for a body with more layers than the teacher that they follow has."""
    if layers > of:
        raise ConfigError(
            f"body.layers: {layers} were given, but teacher {teacher!r} has {of} to follow; give "
            "no more than that"
        )


def check_pairs(
    pairs: Sequence[tuple[int, int]], key: str, layers: int, teacher: str, of: int
) -> None:
    """Raise ConfigError for a pair whose states are not there.

    `key`: the setting that said so. `layers`, `of`: how many the body and the teacher have.
    """
    for ours, theirs in pairs:
        for state, has, who in ((ours, layers, "the body"), (theirs, of, f"teacher {teacher!r}")):
            if not 0 <= state <= has:
                raise ConfigError(
                    f"{key}: state {state} was given, but {who} has 0, the embeddings, to {has}"
                )
