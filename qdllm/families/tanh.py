"""The student's classical counterpart: a tanh layer where the student has its circuit."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from qdllm.circuits.circuit import weight_count
from qdllm.circuits.spec import CircuitSpec
from qdllm.errors import ConfigError, TrialError
from qdllm.families.family import Family
from qdllm.families.quantum import StudentSpec, student_parameters
from qdllm.messages import shown
from qdllm.specs import EncoderSpec, FitSpec, LossSpec, Seeds, TeacherSpec, TrialSpec

if TYPE_CHECKING:
    from torch import Tensor

    from qdllm.fit import Examples, Report, Trained
    from qdllm.student import Student


class TanhSpec(TrialSpec):
    """A head of hidden layers with tanh, trained as a student is.

    The first one is as wide as it can be where all have no more parameters than a student with
    `circuit`.
    """

    joined = frozenset({"deeper"})

    family: Literal["tanh"] = "tanh"
    teacher: TeacherSpec = TeacherSpec()
    encoder: EncoderSpec = EncoderSpec()
    circuit: CircuitSpec = CircuitSpec()
    loss: LossSpec = Field(LossSpec(), validate_default=True)
    fit: FitSpec = FitSpec()
    seeds: Seeds = (0, 1, 2, 3, 4)
    deeper: tuple[Annotated[int, Field(ge=1, le=1024)], ...] = Field((), max_length=100)
    """Units of each hidden layer after the first."""


class Tanh(Family[TanhSpec]):
    """What a circuit has to beat at its own size."""

    name = "tanh"
    label = "classical head"
    plural = "classical heads"
    kind = "tanh"
    told: ClassVar[Mapping[str, str]] = {
        "alpha": "spec/loss/alpha",
        "lr": "spec/fit/lr",
        "validation": "metrics/val.accuracy",
    }
    spec = TanhSpec
    reads = ("features", "soft_labels")

    def check(self, spec: TanhSpec, texts_C: Sequence[int]) -> None:
        """Raise ConfigError where its deeper layers leave no room for a first one."""
        features = spec.encoder.features() if spec.deeper else None
        if features is not None:
            try:
                _widths(spec, features, len(texts_C))
            except TrialError as error:
                raise ConfigError(str(error)) from None

    def parameters(self, spec: TanhSpec, features: int, classes: int) -> int:
        """As Family does; no more than the student with that circuit has, if one unit is not."""
        return _count(features, *_widths(spec, features, classes), classes)

    def train(
        self, spec: TanhSpec, train: "Examples", validation: "Examples", report: "Report"
    ) -> "Trained":
        """As Family does."""
        from qdllm.fit import distil
        from qdllm.student import classical_core

        features, classes = train.features_NH.shape[1], 1 + int(train.labels_N.max())
        core = classical_core(*_widths(spec, features, classes))
        return distil(core, spec.loss, spec.fit, spec.seeds, train, validation, report)

    def restore(
        self, spec: TanhSpec, features: int, classes: int, parameters_SP: "Tensor"
    ) -> "Student":
        """As Family does."""
        from qdllm.student import Student, classical_core

        core = classical_core(*_widths(spec, features, classes))
        return Student.of(core, features, classes, parameters_SP)

    def epochs(self, spec: TanhSpec) -> int:
        """As Family does."""
        return spec.fit.epochs

    def work(self, spec: TanhSpec) -> tuple[tuple[Any, ...], float]:
        """As Family does."""
        return (spec.fit.batch_size, *spec.deeper), len(spec.seeds) * spec.fit.epochs

    def beside(self, students: Sequence[TrialSpec]) -> list[TanhSpec]:
        """Heads of the largest student's size, one for each way in which students are trained.

        So that the head chooses as freely as they do.
        """
        quantum = [spec for spec in students if isinstance(spec, StudentSpec)]
        if not quantum:
            return []
        largest = max({spec.circuit for spec in quantum}, key=_size)
        shared = quantum[0].model_dump(include={"task", "teacher", "encoder", "seeds"})
        ways = sorted({(spec.loss, spec.fit) for spec in quantum}, key=repr)
        return [TanhSpec(**shared, circuit=largest, loss=loss, fit=fit) for loss, fit in ways]


def width_within(parameters: int, features: int, classes: int, deeper: Sequence[int] = ()) -> int:
    """Units of the widest first layer of a tanh network with at most that many parameters.

    `deeper`: units of the layers after it. At least one, which may be too many.
    """
    after = (*deeper, classes)
    return max((parameters - _count(0, *after)) // (features + 1 + after[0]), 1)


def _widths(spec: TanhSpec, features: int, classes: int) -> tuple[int, ...]:
    """Units of each hidden layer of the head that a spec describes.

    Raises TrialError where its deeper layers leave no room for a first one.
    """
    size = student_parameters(spec.circuit, features, classes)
    found = (width_within(size, features, classes, spec.deeper), *spec.deeper)
    if spec.deeper and _count(features, *found, classes) > size:
        raise TrialError(
            f"deeper: {shown(list(spec.deeper))} leaves no unit for the first layer of a head that "
            f"may have {size:,} parameters on {features:,} features; give fewer or narrower layers"
        )
    return found


def _count(*sizes: int) -> int:
    """Parameters of linear layers from one size to the next."""
    return sum((size + 1) * units for size, units in pairwise(sizes))


def _size(circuit: CircuitSpec) -> tuple[int, str]:
    """Orders circuits by their weights, and those with as many in a fixed way."""
    return weight_count(circuit), repr(circuit)


FAMILY = Tanh()
