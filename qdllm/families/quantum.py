"""The paper's student: features → linear → angles → circuit → ⟨Z⟩ → linear → logits."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, field_validator

from qdllm.circuits.circuit import (
    angle_count,
    circuit,
    gates,
    observable_count,
    observables,
    told,
    weight_count,
)
from qdllm.circuits.spec import CircuitSpec
from qdllm.engine.fusion import Program, compile_gates
from qdllm.errors import ConfigError, TrialError
from qdllm.families.family import Family
from qdllm.messages import shown
from qdllm.processors import chips
from qdllm.processors.chains import formed
from qdllm.processors.layout import enough
from qdllm.processors.readout import measurable
from qdllm.specs import EncoderSpec, FitSpec, LossSpec, Seeds, TeacherSpec, TrialSpec

if TYPE_CHECKING:
    from torch import Tensor

    from qdllm.fit import Examples, Report, Trained
    from qdllm.student import Student

BESIDE = 2
"""Layers that would take as long as the rest of a student does, measured on eleven qubits."""
MEMORY = 8 * 2**30
"""Bytes that a trial may need at once: what a small machine has for one of two trials."""


class StudentSpec(TrialSpec):
    """One trial: everything that decides what its students will be."""

    family: Literal["quantum"] = "quantum"
    teacher: TeacherSpec = TeacherSpec()
    encoder: EncoderSpec = EncoderSpec()
    circuit: CircuitSpec = CircuitSpec()
    # The published program scales each text's angles to [0, 10]; unscaled angles trained better.
    angles: Literal["raw", "minmax"] = "raw"
    loss: LossSpec = Field(LossSpec(), validate_default=True)
    fit: FitSpec = FitSpec()
    seeds: Seeds = (0, 1, 2, 3, 4)

    @field_validator("circuit")
    @classmethod
    def _noise_of_a_chip(cls, circuit: CircuitSpec) -> CircuitSpec:
        if circuit.noise and not chips.named(circuit.noise):
            raise ValueError(
                f"noise: {shown(circuit.noise)} is no chip that is known by name"
                f"{chips.hint(circuit.noise)}"
            )
        return circuit


class Quantum(Family[StudentSpec]):
    """Trained by distillation; simulated by the engine, or by another that takes its place."""

    name = "quantum"
    label = "quantum student"
    plural = "students"
    kind = "students"
    paper = "QD-LLM"
    told: ClassVar[Mapping[str, str]] = {
        "layers": "spec/circuit/layers",
        "alpha": "spec/loss/alpha",
        "lr": "spec/fit/lr",
        "validation": "metrics/val.accuracy",
    }
    spec = StudentSpec
    reads = ("features", "soft_labels")

    def check(self, spec: StudentSpec, texts_C: Sequence[int]) -> None:
        """Raise ConfigError where a batch would take more than `MEMORY`, or a chip is too small."""
        if spec.circuit.noise:
            without_bit = formed(circuit(spec.circuit), "two-chains").branches[0]
            enough(without_bit.qubits, chips.calibration(spec.circuit.noise))
            measurable(spec.circuit, "two-chains")
        if problem := _too_large(spec, sum(texts_C)):
            raise ConfigError(problem)

    def parameters(self, spec: StudentSpec, features: int, classes: int) -> int:
        """The paper's 9,275 at 768 features, two classes and eleven layers."""
        return student_parameters(spec.circuit, features, classes)

    def train(
        self, spec: StudentSpec, train: "Examples", validation: "Examples", report: "Report"
    ) -> "Trained":
        """As Family does."""
        from qdllm.fit import distil
        from qdllm.student import circuit_core

        if problem := _too_large(spec, len(train.labels_N)):
            raise TrialError(problem)  # one that a search came to
        core = circuit_core(spec.circuit, spec.angles)
        if spec.circuit.noise:
            from qdllm.processors.training import Noisy

            core = circuit_core(spec.circuit, spec.angles, Noisy(spec.circuit))
        return distil(core, spec.loss, spec.fit, spec.seeds, train, validation, report)

    def restore(
        self, spec: StudentSpec, features: int, classes: int, parameters_SP: "Tensor"
    ) -> "Student":
        """As Family does."""
        from qdllm.student import restore

        return restore(spec.circuit, spec.angles, features, classes, parameters_SP)

    def epochs(self, spec: StudentSpec) -> int:
        """As Family does."""
        return spec.fit.epochs

    def work(self, spec: StudentSpec) -> tuple[tuple[Any, ...], float]:
        """As Family does."""
        fit = spec.fit
        work = len(spec.seeds) * fit.epochs * (spec.circuit.layers + BESIDE)
        alike = (spec.circuit.model_copy(update={"layers": 1}), fit.batch_size)
        return alike, work


def _too_large(spec: StudentSpec, texts: int) -> str:
    """What is said of a trial that would take more than `MEMORY`; empty of others."""
    rows, examples = len(spec.seeds), min(spec.fit.batch_size, texts)
    if spec.circuit.noise:
        rows *= chips.TRAINED_ON
    needed = _program(spec.circuit).memory(rows, examples)
    if needed <= MEMORY:
        return ""
    return (
        f"{told(spec.circuit)}, trained for {len(spec.seeds)} seeds in batches of {examples}, "
        f"takes {needed / 2**30:,.1f} GiB, but a trial may take {MEMORY / 2**30:.0f}; give fewer "
        "qubits, layers or seeds, or a smaller fit.batch_size"
    )


@lru_cache
def _program(spec: CircuitSpec) -> Program:
    """As the engine has it, whose own comes with torch."""
    return compile_gates(gates(spec), spec.qubits, observables(spec))


def student_parameters(circuit: CircuitSpec, features: int, classes: int) -> int:
    """Trained parameters of a student with that circuit: linear layer, circuit, linear layer."""
    angles, read = angle_count(circuit), observable_count(circuit)
    return (features + 1) * angles + weight_count(circuit) + (read + 1) * classes


FAMILY = Quantum()
