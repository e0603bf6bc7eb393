"""What every family of trainable model says of itself, and does."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

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
    """What its trials are made from, by the roles of jobs.kinds: `features`, `soft_labels`."""

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
