"""TextRCNN: each word between its left and right contexts (Lai et al., AAAI 2015).

`form: hiagm` is the text encoder that the paper's description fits rather than the work it cites: a
bidirectional GRU, then convolutions (HiAGM, ACL 2020, as HiTIN's program has it). Words are the
tokens of the encoder's model, whose embeddings they start from; there are no skip-gram vectors.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from qdllm.families.family import Family
from qdllm.rivals.specs import ScratchSpec, Width, check_words
from qdllm.spec import Spec
from qdllm.specs import EncoderSpec, Seeds, TrialSpec

if TYPE_CHECKING:
    from torch import Tensor

    from qdllm.fit import Examples, Kept, Report, Trained
    from qdllm.rivals.course import Course
    from qdllm.rivals.inference import Rows
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


class TextRcnnSpec(TrialSpec):
    """A recurrent net on hard labels."""

    family: Literal["textrcnn"] = "textrcnn"
    encoder: EncoderSpec = EncoderSpec()
    form: Literal["lai", "hiagm"] = "lai"
    words: WordsSpec = WordsSpec()
    training: PlainSpec = PlainSpec()
    seeds: Seeds = (0, 1, 2, 3, 4)


class TextRcnn(Family[TextRcnnSpec]):
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
    reads = ("tokens",)
    long = True

    def check(self, spec: TextRcnnSpec, texts_C: Sequence[int]) -> None:
        """As Family does."""
        check_words(spec.encoder)

    def reader(self, spec: TextRcnnSpec) -> "Callable[[Sequence[str]], Tensor]":
        """As Family does."""
        from qdllm.rivals.reading import reader

        return reader(spec.encoder)

    def parameters(self, spec: TextRcnnSpec, features: int, classes: int) -> int:
        """As Family does. Lai's 25,200 + 101 for each class at width 50, and 50 for each word."""
        import torch

        from qdllm.rivals.bodies import size

        with torch.device("meta"):
            return size(self._net(spec, classes))

    def train(
        self,
        spec: TextRcnnSpec,
        train: "Examples",
        validation: "Examples",
        report: "Report",
        kept: "Kept | None" = None,
    ) -> "Trained":
        """As Family does."""
        import torch

        from qdllm.rivals import bodies, course, loop

        classes, plain = 1 + int(train.labels_N.max()), course.on_labels(spec.training.epochs)
        source = bodies.load(spec.encoder) if spec.words.start == "base" else None

        def make(seed: int) -> "Course":
            net = self._net(spec, classes)
            net.draw(torch.Generator().manual_seed(seed))
            if source is not None:
                net.words.weight.data.copy_(source.embeddings.word_embeddings.weight)

            return plain(net, seed)

        return loop.train(spec.training, spec.seeds, make, train, validation, report, kept)

    def restore(
        self, spec: TextRcnnSpec, features: int, classes: int, parameters_SP: "Tensor"
    ) -> "Rows":
        """As Family does."""
        from qdllm.rivals.inference import Rows

        return Rows(self._net(spec, classes), parameters_SP)

    def epochs(self, spec: TextRcnnSpec) -> int:
        """As Family does."""
        return spec.training.epochs

    def work(self, spec: TextRcnnSpec) -> tuple[tuple[Any, ...], float]:
        """As Family does."""
        training = spec.training.batch_size, spec.training.precision
        alike = spec.form, spec.words, spec.encoder.max_length, *training
        return alike, len(spec.seeds) * spec.training.epochs

    def _net(self, spec: TextRcnnSpec, classes: int) -> "Recurrent":
        from qdllm import models
        from qdllm.rivals.recurrent import Gated, Lai

        config, words = models.config(spec.encoder.model, spec.encoder.weights), spec.words
        width = words.width if words.start == "random" else config["hidden_size"]
        dropout = spec.training.dropout
        if spec.form == "hiagm":
            return Gated(config["vocab_size"], width, classes, dropout)
        return Lai(config["vocab_size"], width, words.context, words.hidden, classes, dropout)


FAMILY = TextRcnn()
