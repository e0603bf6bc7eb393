"""What is known of a chip: how long its qubits last, how often its gates and readouts fail."""

from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from qdllm.spec import Spec, fingerprint

Fidelity = Annotated[float, Field(ge=0, le=1)]
"""Of a gate, as randomised benchmarking gives it; 0 means that nobody knows it."""
Index = Annotated[int, Field(ge=0, lt=10_000)]
Microseconds = Annotated[float, Field(ge=0, le=1e9)]
Nanoseconds = Annotated[float, Field(gt=0, le=1e9)]
Error = Annotated[float, Field(ge=0, lt=0.5)]
USABLE = 0.9
"""A coupler below it is left alone: operators floor what is broken at some such value."""


class Readout(Spec):
    """How often a qubit is read wrongly."""

    reads_0_as_1: Error
    reads_1_as_0: Error


class Qubit(Spec):
    """One qubit. Times and fidelities of 0 are not known, so it cannot be used."""

    index: Index
    t1_us: Microseconds
    t2_us: Microseconds
    fidelity: Fidelity
    """Of any one rotation about an axis other than Z; those about Z are free and perfect."""
    readout: Readout | None = None
    """None: as the calibration's own."""


class Coupler(Spec):
    """Two qubits between which there is a CZ."""

    qubits: tuple[Index, Index]
    fidelity: Fidelity


class Calibration(Spec):
    """A chip at one time. A frozen record: its digest is part of what was measured with it."""

    chip: str = Field(max_length=100)
    time: str = Field(max_length=100)
    """When it was taken."""
    source: str = Field("", max_length=1000)
    """Who published it, and where."""
    one_qubit_ns: Nanoseconds
    two_qubit_ns: Nanoseconds
    readout: Readout | None = None
    """Of qubits that have none of their own."""
    qubits: tuple[Qubit, ...] = Field(max_length=10_000)
    couplers: tuple[Coupler, ...] = Field(max_length=100_000)

    @field_validator("qubits")
    @classmethod
    def _each_once(cls, qubits: tuple[Qubit, ...]) -> tuple[Qubit, ...]:
        if not qubits:
            raise ValueError("a chip has qubits, but none are listed")
        if len({one.index for one in qubits}) < len(qubits):
            raise ValueError("a qubit's index may stand once, but one stands there twice")
        return qubits

    @model_validator(mode="after")
    def _whole(self) -> Any:
        known = {one.index for one in self.qubits}
        for coupler in self.couplers:
            if len({*coupler.qubits} & known) < 2:
                raise ValueError(
                    f"couplers: {list(coupler.qubits)} must be two qubits that are listed"
                )
        lacking = [one.index for one in self.qubits if one.readout is None]
        if lacking and self.readout is None:
            raise ValueError(
                f"readout: qubit {lacking[0]} has none; give it one, or the calibration one for "
                'all, as in "readout": {"reads_0_as_1": 0.03, "reads_1_as_0": 0.1}'
            )
        return self

    @property
    def digest(self) -> str:
        """What names it wherever it was used."""
        return fingerprint(self)

    def read(self, index: int) -> Readout:
        """How a qubit is read."""
        found = self.qubit(index).readout or self.readout
        assert found, "a calibration has one for each qubit"
        return found

    def qubit(self, index: int) -> Qubit:
        """A qubit by its number on the chip."""
        return next(one for one in self.qubits if one.index == index)

    def usable(self) -> dict[tuple[int, int], float]:
        """Fidelities of the couplers that a circuit may use, in both directions.

        Those that are known, not below `USABLE`, between qubits of which all is known.
        """
        good = {one.index for one in self.qubits if one.t1_us and one.t2_us and one.fidelity}
        return {
            pair: coupler.fidelity
            for coupler in self.couplers
            if coupler.fidelity >= USABLE and set(coupler.qubits) <= good
            for pair in (coupler.qubits, coupler.qubits[::-1])
        }
