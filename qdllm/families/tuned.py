"""What the families that read tokens have in common; each says what its net and its loss are."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from qdllm.families.family import Family
from qdllm.rivals.specs import BodySpec, TuningSpec, blocks, check_body
from qdllm.specs import EncoderSpec, Seeds, TrialSpec

if TYPE_CHECKING:
    from torch import Tensor

    from qdllm.fit import Examples, Kept, Report, Trained
    from qdllm.rivals.bodies import Net
    from qdllm.rivals.course import Course
    from qdllm.rivals.inference import Rows


class ReadingSpec(TrialSpec):
    """What the specs of all that is trained on tokens have. It is the encoder's model's
    that are read, which is what bodies are cut from; of its other settings, `max_length` counts."""

    encoder: EncoderSpec = EncoderSpec()
    seeds: Seeds = (0, 1, 2, 3, 4)

    if TYPE_CHECKING:

        @property
        def tuning(self) -> TuningSpec:
            """How it is trained."""


class CutSpec(ReadingSpec):
    """Of bodies cut from a model."""

    body: BodySpec = BodySpec()

    @property
    def depth(self) -> int:
        """How many layers its body has. Raises ConfigError as `blocks` does."""
        return len(blocks(self.body, self.encoder))


class BodiedSpec(CutSpec):
    """A body whose layers are a model's, fine-tuned."""

    tuning: TuningSpec = TuningSpec()


R = TypeVar("R", bound=ReadingSpec)
B = TypeVar("B", bound=CutSpec)


class Reading(Family[R], Generic[R]):
    """A net that reads tokens, all of it trained; a rival says which, and how."""

    reads: ClassVar[tuple[str, ...]] = ("tokens",)
    long = True

    @abstractmethod
    def net(self, spec: R, classes: int, dropout: float) -> "Net":
        """A net, whose values do not matter, on torch's default device."""

    @abstractmethod
    def beginning(self, spec: R, classes: int) -> "Callable[[int], Net]":
        """What gives for a seed the net as it is before training."""

    def teaching(self, spec: R, train: "Examples", classes: int) -> "Callable[[Any, int], Course]":
        """What makes of a net and its seed how it is trained on those texts; by their labels,
        unless a rival differs."""
        from qdllm.rivals.course import on_labels

        return on_labels(spec.tuning.epochs)

    def reader(self, spec: R) -> "Callable[[Sequence[str]], Tensor]":
        """As Family does."""
        from qdllm.rivals.reading import reader

        return reader(spec.encoder)

    def parameters(self, spec: R, features: int, classes: int) -> int:
        """As Family does: the whole net's, embeddings among them."""
        import torch

        from qdllm.rivals.bodies import size

        with torch.device("meta"):
            return size(self.net(spec, classes, 0.0))

    def train(
        self,
        spec: R,
        train: "Examples",
        validation: "Examples",
        report: "Report",
        kept: "Kept | None" = None,
    ) -> "Trained":
        """As Family does."""
        from qdllm.rivals import loop

        classes = 1 + int(train.labels_N.max())
        begin, teach = self.beginning(spec, classes), self.teaching(spec, train, classes)

        def make(seed: int) -> "Course":
            return teach(begin(seed), seed)

        return loop.train(spec.tuning, spec.seeds, make, train, validation, report, kept)

    def restore(self, spec: R, features: int, classes: int, parameters_SP: "Tensor") -> "Rows":
        """As Family does."""
        from qdllm.rivals.inference import Rows

        return Rows(self.net(spec, classes, 0.0), parameters_SP)

    def epochs(self, spec: R) -> int:
        """As Family does."""
        return spec.tuning.epochs


class Tuned(Reading[B], Generic[B]):
    """A body cut from a model."""

    told: ClassVar[Mapping[str, str]] = {
        "lr": "spec/tuning/lr",
        "epochs": "spec/tuning/epochs",
        "validation": "metrics/val.accuracy",
    }

    def net(self, spec: B, classes: int, dropout: float) -> "Net":
        """As Reading does: a plain body, unless a rival differs."""
        from qdllm.rivals.bodies import empty

        return empty(spec.body, spec.encoder, classes, dropout)

    def beginning(self, spec: B, classes: int) -> "Callable[[int], Net]":
        """As Reading does."""
        import torch

        from qdllm.rivals import bodies

        source, layers = bodies.load(spec.encoder), blocks(spec.body, spec.encoder)

        def begin(seed: int) -> "Net":
            with torch.device("meta"):
                net = self.net(spec, classes, spec.tuning.dropout)
            return bodies.begun(net, spec.body.start, layers, seed, source)

        return begin

    def check(self, spec: B, texts_C: Sequence[int]) -> None:
        """As Family does."""
        check_body(spec.body, spec.encoder)

    def work(self, spec: B) -> tuple[tuple[Any, ...], float]:
        """As Family does."""
        tuning = spec.tuning.batch_size, spec.tuning.precision
        alike = spec.encoder.model, spec.encoder.max_length, spec.body, *tuning
        return alike, len(spec.seeds) * self.epochs(spec)
