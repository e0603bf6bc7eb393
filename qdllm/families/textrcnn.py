"""TextRCNN: each word between its left and right contexts (Lai et al., AAAI 2015).

`form: hiagm` is the text encoder that the paper's description fits rather than the work it cites: a
bidirectional GRU, then convolutions (HiAGM, ACL 2020, as HiTIN's program has it). Words are the
tokens of the encoder's model, whose embeddings they start from; there are no skip-gram vectors.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from qdllm.families.tuned import Reading, ReadingSpec
from qdllm.rivals.specs import ScratchSpec, Width, check_words
from qdllm.spec import Spec

if TYPE_CHECKING:
    from qdllm.rivals.recurrent import Recurrent


class WordsSpec(Spec):
    """What a word becomes. `base`: the encoder's own embeddings, as wide as they are; `random`: of
    `width`. `context` and `hidden` are Lai's; the other form has sizes of its own."""

    start: Literal["base", "random"] = "base"
    width: Width = 50
    context: Width = 50
    hidden: Width = 100


class PlainSpec(ScratchSpec):
    """As in the programs that people run."""

    weight_decay: float = Field(0.0, ge=0, le=100)
    dropout: float = Field(0.0, ge=0, lt=1)

    def hashed(self, plain: dict[str, Any]) -> dict[str, Any]:
        """As TuningSpec does; beside it, by what the bounds of first values go."""
        return super().hashed(plain) | {"start": "fan-in"}


class TextRcnnSpec(ReadingSpec):
    """A recurrent net on hard labels."""

    family: Literal["textrcnn"] = "textrcnn"
    form: Literal["lai", "hiagm"] = "lai"
    words: WordsSpec = WordsSpec()
    training: PlainSpec = PlainSpec()

    @property
    def tuning(self) -> PlainSpec:
        """How it is trained: all but the words begins at random."""
        return self.training


class TextRcnn(Reading[TextRcnnSpec]):
    """What a text gives without a transformer."""

    name = "textrcnn"
    label = "TextRCNN"
    plural = "TextRCNNs"
    kind = "textrcnn"
    told: ClassVar[Mapping[str, str]] = {
        "form": "spec/form",
        "lr": "spec/training/lr",
        "validation": "metrics/val.accuracy",
    }
    spec = TextRcnnSpec

    def check(self, spec: TextRcnnSpec, texts_C: Sequence[int]) -> None:
        """As Family does."""
        check_words(spec.encoder)

    def net(self, spec: TextRcnnSpec, classes: int, dropout: float) -> "Recurrent":
        """As Reading does. Lai's has 25,200 + 101 for each class at width 50, and 50 for each
        word."""
        from qdllm import models
        from qdllm.rivals.recurrent import Gated, Lai

        config, words = models.config(spec.encoder.model, spec.encoder.weights), spec.words
        width = words.width if words.start == "random" else config["hidden_size"]
        if spec.form == "hiagm":
            return Gated(config["vocab_size"], width, classes, dropout)
        return Lai(config["vocab_size"], width, words.context, words.hidden, classes, dropout)

    def beginning(self, spec: TextRcnnSpec, classes: int) -> "Callable[[int], Recurrent]":
        """As Reading does."""
        import torch

        from qdllm.rivals import bodies

        source = bodies.load(spec.encoder) if spec.words.start == "base" else None

        def begin(seed: int) -> "Recurrent":
            net = self.net(spec, classes, spec.tuning.dropout)
            net.draw(torch.Generator().manual_seed(seed))
            if source is not None:
                net.words.weight.data.copy_(source.embeddings.word_embeddings.weight)
            return net

        return begin

    def work(self, spec: TextRcnnSpec) -> tuple[tuple[Any, ...], float]:
        """As Family does."""
        training = spec.tuning.batch_size, spec.tuning.precision
        alike = spec.form, spec.words, spec.encoder.max_length, *training
        return alike, len(spec.seeds) * self.epochs(spec)


FAMILY = TextRcnn()
