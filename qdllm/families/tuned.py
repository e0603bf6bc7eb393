"""What the families of fine-tuned bodies have in common; each says what its loss is."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from qdllm.families.family import Family
from qdllm.rivals.specs import BodySpec, TuningSpec, check_body
from qdllm.specs import EncoderSpec, Seeds, TrialSpec

if TYPE_CHECKING:
    from torch import Tensor

    from qdllm.fit import Examples, Kept, Report, Trained
    from qdllm.rivals.bodies import Net
    from qdllm.rivals.course import Course
    from qdllm.rivals.inference import Rows


class CutSpec(TrialSpec):
    """What the specs of all these families have. The encoder's model is what bodies are cut from;
    of its other settings, `max_length` alone is read."""

    encoder: EncoderSpec = EncoderSpec()
    body: BodySpec = BodySpec()
    seeds: Seeds = (0, 1, 2, 3, 4)

    if TYPE_CHECKING:

        @property
        def tuning(self) -> TuningSpec:
            """How the body is trained."""


class BodiedSpec(CutSpec):
    """A body whose layers are a model's, fine-tuned."""

    tuning: TuningSpec = TuningSpec()


B = TypeVar("B", bound=CutSpec)


class Tuned(Family[B], Generic[B]):
    """A body, all of it trained; a rival says how."""

    reads: ClassVar[tuple[str, ...]] = ("tokens",)
    long = True
    told: ClassVar[Mapping[str, str]] = {
        "lr": "spec/tuning/lr",
        "epochs": "spec/tuning/epochs",
        "validation": "metrics/val.accuracy",
    }

    def net(self, spec: B, classes: int, dropout: float) -> "Net":
        """A net without values, on torch's default device; a plain body unless a rival differs."""
        from qdllm.rivals.bodies import empty

        return empty(spec.body, spec.encoder, classes, dropout)

    def teaching(self, spec: B, train: "Examples", classes: int) -> "Callable[[Any, int], Course]":
        """What makes of a body and its seed how it is trained on those texts; by their labels,
        unless a rival differs."""
        from qdllm.rivals.course import on_labels

        return on_labels(spec.tuning.epochs)

    def check(self, spec: B, texts_C: Sequence[int]) -> None:
        """As Family does."""
        check_body(spec.body, spec.encoder)

    def reader(self, spec: B) -> "Callable[[Sequence[str]], Tensor]":
        """As Family does."""
        from qdllm.rivals.reading import reader

        return reader(spec.encoder)

    def parameters(self, spec: B, features: int, classes: int) -> int:
        """As Family does: the whole body's, embeddings among them."""
        import torch

        from qdllm.rivals.bodies import size

        with torch.device("meta"):
            return size(self.net(spec, classes, 0.0))

    def train(
        self,
        spec: B,
        train: "Examples",
        validation: "Examples",
        report: "Report",
        kept: "Kept | None" = None,
    ) -> "Trained":
        """As Family does."""
        import torch

        from qdllm.rivals import bodies, loop

        source, classes = bodies.load(spec.encoder), 1 + int(train.labels_N.max())
        teach = self.teaching(spec, train, classes)

        def make(seed: int) -> "Course":
            with torch.device("meta"):
                net = self.net(spec, classes, spec.tuning.dropout)
            return teach(bodies.begun(net, spec.body, seed, source), seed)

        return loop.train(spec.tuning, spec.seeds, make, train, validation, report, kept)

    def restore(self, spec: B, features: int, classes: int, parameters_SP: "Tensor") -> "Rows":
        """As Family does."""
        from qdllm.rivals.inference import Rows

        return Rows(self.net(spec, classes, 0.0), parameters_SP)

    def epochs(self, spec: B) -> int:
        """As Family does."""
        return spec.tuning.epochs

    def work(self, spec: B) -> tuple[tuple[Any, ...], float]:
        """As Family does."""
        tuning = spec.tuning.batch_size, spec.tuning.precision
        alike = spec.encoder.model, spec.encoder.max_length, spec.body, *tuning
        return alike, len(spec.seeds) * self.epochs(spec)
