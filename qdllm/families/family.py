"""What every family of trainable model says of itself, and does."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

from qdllm.models import FITTED_FILE
from qdllm.specs import TrialSpec

if TYPE_CHECKING:
    from torch import Tensor

    from qdllm.fit import Examples, Report, Trained

S = TypeVar("S", bound=TrialSpec)


class Model(Protocol):
    """S trained rows of one shape."""

    def predict(self, features_NH: "Tensor") -> "Tensor":
        """logits_SNC of every row for the same examples."""
        ...


class Family(ABC, Generic[S]):
    """One kind of trainable model. Importing it imports no torch; `train` and `restore` do.

    Seeds do not see one another: a row's parameters and curves are the same to the bit whichever
    rows are trained beside it.
    """

    name: ClassVar[str]
    """As a grid's `family` has it."""
    label: ClassVar[str]
    """As tables call one that stands beside others."""
    plural: ClassVar[str]
    """As they call several."""
    kind: ClassVar[str]
    """The kind of its trials in the store."""
    told: ClassVar[Mapping[str, str]]
    """What a list of results tells of a trial: names, and paths in its record."""
    spec: type[S]
    reads: ClassVar[tuple[str, ...]]
    """What its trials are made from, by the roles of jobs.kinds: `features`, `soft_labels`. The
    first is what its models make logits of."""
    long: ClassVar[bool] = False
    """Whether a trial takes so long that it wants all cores of a node, or a GPU, and keeps what it
    has done: its `train` takes `kept` too, and goes on from there."""
    paper: ClassVar[str] = ""
    """The paper's name for it; empty where it has none."""
    control: ClassVar[str] = ""
    """The family that is the same but for what this one adds, and that it has to pass."""

    def sources(self, spec: S) -> tuple[str, ...]:
        """What trials with that spec are made from: `reads`, and what its settings ask for."""
        return self.reads

    def lacks(self, spec: S) -> tuple[str, ...]:
        """What of its loss falls away with that teacher, or is had in another form, in words."""
        return ()

    def check(self, spec: S, texts_C: Sequence[int]) -> None:
        """Raise ConfigError for what cannot be trained, before anything is; without torch.

        `texts_C`: how many training texts each class has.
        """
        return

    def reader(self, spec: S) -> "Callable[[Sequence[str]], Tensor]":
        """What makes of texts what `predict` takes. Raises ConfigError where a model is missing."""
        import torch

        from qdllm.encoder import Encoder
        from qdllm.tfidf import Tfidf

        beside = Path(spec.encoder.model)
        fitted = (beside / FITTED_FILE).is_file()
        encoder = Tfidf.load(beside) if fitted else Encoder(spec.encoder)
        return lambda texts: torch.as_tensor(encoder(texts))

    @abstractmethod
    def parameters(self, spec: S, features: int, classes: int) -> int:
        """How many numbers one row trains."""

    @abstractmethod
    def train(
        self, spec: S, train: "Examples", validation: "Examples", report: "Report"
    ) -> "Trained":
        """Train a row for each of the spec's seeds.

        Raises TrialError, with seeds and epoch, where losses or parameters stop being finite.
        """

    @abstractmethod
    def restore(self, spec: S, features: int, classes: int, parameters_SP: "Tensor") -> Model:
        """Trained rows from their parameters: what predicts as they did, to the bit."""

    @abstractmethod
    def work(self, spec: S) -> tuple[tuple[Any, ...], float]:
        """What must be the same for two trials' times to compare, and what the time grows with.

        The number of texts is not part of it.
        """

    def epochs(self, spec: S) -> int:
        """How often training reports."""
        return 1

    def beside(self, students: Sequence[TrialSpec]) -> list[S]:
        """The trials that shall stand beside a sweep's, as references.

        `students`: trials of one task that are made from the same features and soft labels.
        """
        return []
