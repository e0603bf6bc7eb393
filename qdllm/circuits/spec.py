"""What a grid says of the student's circuit."""

from collections.abc import Container
from typing import Annotated, Any

from pydantic import (
    BeforeValidator,
    Field,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticKnownError

from qdllm.circuits import openqasm
from qdllm.circuits.gates import QUBITS
from qdllm.circuits.layers import ANSATZE, ENCODINGS, OBSERVABLES
from qdllm.messages import shown
from qdllm.spec import Spec

FILE = "file"
"""What stands in place of an ansatz and an encoding that a file has itself."""

GATES = 200_000
"""Gates at most: more than any ansatz by name has on 20 qubits and 1,000 layers."""
STRINGS = 1000
"""Observables at most."""


def _whole(value: Any) -> Any:
    """A circuit of its own: a .qasm file's, or its text as specs carry it."""
    if value is None:
        return ""  # as the first records with circuits of their own have it
    if not isinstance(value, str) or not value:
        return value
    if not (openqasm.is_text(value) or value.endswith(openqasm.SUFFIX)):
        raise ValueError(f"{shown(value)} was given, but a circuit is a {openqasm.SUFFIX} file")
    text = _trained(value)
    if not openqasm.parse(text).angles:
        raise ValueError(
            f"{openqasm.label(text)} has no features' angles, so no text would change what it "
            "gives; declare some, as in input float x0;"
        )
    return text


def _layer(value: Any) -> Any:
    """An ansatz by name, or a layer as `_whole` takes a circuit."""
    if not isinstance(value, str):
        return value
    if openqasm.is_text(value) or value.endswith(openqasm.SUFFIX):
        return _trained(value)
    return _known(value, (*ANSATZE, FILE), f"{', '.join(map(repr, ANSATZE))} or a .qasm file")


def _trained(value: str) -> str:
    """A circuit's text from itself or from its file's path, if it can be trained."""
    text = value if openqasm.is_text(value) else openqasm.read(value)
    circuit, name = openqasm.parse(text), openqasm.label(text)
    if circuit.qubits < 2:
        raise ValueError(f"{name} has one qubit, but a circuit has 2 to {QUBITS}")
    if not circuit.weights:
        raise ValueError(
            f"{name} has no weights, so there is nothing to train; declare some, as in "
            "input float theta0;"
        )
    return text


def _known(value: str, names: Container[str], told: str) -> str:
    if value not in names:
        raise PydanticKnownError("literal_error", {"expected": told})
    return value


class CircuitSpec(Spec):
    """The student's circuit: angle encoding, then `layers` repetitions of an ansatz, or a file's.

    What a .qasm file holds travels in the spec itself, under the file's name (see
    `circuits.openqasm`); that name is not hashed.
    """

    joined = frozenset({"file", "encoding", "observables", "noise"})

    file: Annotated[str, BeforeValidator(_whole)] = ""
    """A whole circuit, which has its qubits, encoding and layers itself; empty: there is none."""
    ansatz: Annotated[str, BeforeValidator(_layer), Field(validate_default=True)] = "published"
    """By name, or a .qasm file with one layer."""
    qubits: int = Field(11, ge=2, le=QUBITS, validate_default=True)
    """A file's own, where there is one."""
    layers: int = Field(2, ge=1, le=1000, validate_default=True)
    encoding: str = Field("rx", validate_default=True)
    observables: str | tuple[str, ...] = Field("z", validate_default=True)
    """By name, or Pauli strings whose first letter is qubit 0's."""
    noise: str = Field("", max_length=100)
    """A chip under whose noise it is trained; empty: none. What it predicts is without noise."""

    @field_validator("ansatz", "encoding", "layers")
    @classmethod
    def _not_beside_a_file(cls, value: Any, info: ValidationInfo) -> Any:
        """A file's own stand in place of defaults; anything else contradicts it."""
        name = str(info.field_name)
        if not info.data.get("file"):
            if value == FILE:
                raise ValueError(f"{FILE!r} was given, but no file; set circuit.file")
            return value
        own = 1 if name == "layers" else FILE
        if value not in (own, cls.model_fields[name].default):
            raise ValueError(
                f"{openqasm.label(info.data['file'])} is a whole circuit, with {name} of its own; "
                f"leave it out, or set it to {own}, but {shown(value)} was given"
            )
        return own

    @field_validator("layers")
    @classmethod
    def _of_a_size(cls, layers: int, info: ValidationInfo) -> int:
        ansatz = info.data.get("ansatz", "")
        if openqasm.is_text(ansatz):
            gates = layers * len(openqasm.parse(ansatz).gates)
            if gates > GATES:
                raise ValueError(
                    f"{layers:,} layers of {openqasm.label(ansatz)} come to {gates:,} gates, but a "
                    f"circuit has {GATES:,} at most"
                )
        return layers

    @field_validator("qubits")
    @classmethod
    def _as_many_as_the_file_has(cls, qubits: int, info: ValidationInfo) -> int:
        texts = (info.data.get("file", ""), info.data.get("ansatz", ""))
        text = next(filter(openqasm.is_text, texts), "")
        if not text:
            return qubits
        own = openqasm.parse(text).qubits
        if qubits not in (own, cls.model_fields["qubits"].default):
            raise ValueError(
                f"{openqasm.label(text)} has {own}; leave it out, but {qubits} was given"
            )
        return own

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, encoding: str, info: ValidationInfo) -> str:
        if info.data.get("file"):
            return encoding
        _known(encoding, ENCODINGS, ", ".join(map(repr, ENCODINGS)))
        ansatz, qubits = info.data.get("ansatz", ""), info.data.get("qubits")
        if openqasm.is_text(ansatz) and qubits:
            own, given = openqasm.parse(ansatz).angles, qubits * len(ENCODINGS[encoding].gates)
            if len(own) > given:
                raise ValueError(
                    f"{openqasm.label(ansatz)} has {len(own)} features' angles, but {encoding!r} "
                    f"on {qubits} qubits gives {given}"
                )
        return encoding

    @field_validator("observables", mode="before")
    @classmethod
    def _pauli_strings(cls, value: Any, info: ValidationInfo) -> Any:
        qubits = info.data.get("qubits")
        if isinstance(value, str):
            return _known(value, OBSERVABLES, ", ".join(map(repr, OBSERVABLES)))
        if not isinstance(value, list | tuple) or not all(isinstance(one, str) for one in value):
            raise ValueError(
                f"{shown(value)} was given, but observables are {', '.join(OBSERVABLES)} or a list "
                "of Pauli strings"
            )
        if len(value) > STRINGS:
            raise ValueError(f"{len(value):,} strings were given, but {STRINGS:,} are the most")
        for string in value:
            if qubits and len(string) != qubits:
                length = len(string)
                raise ValueError(
                    f"{shown(string)} has {length} letters, but the circuit has {qubits} qubits"
                )
            if set(string) - set("IXYZ") or set(string) == {"I"}:
                raise ValueError(
                    f"{shown(string)} must be made of I, X, Y and Z, and not of I alone"
                )
        if not value or len(set(value)) < len(value):
            raise ValueError(f"{shown(list(value))} must name one or more strings, each once")
        return tuple(value)

    def hashed(self, plain: dict[str, Any]) -> dict[str, Any]:
        """As Spec does; a circuit's text is its digest."""
        plain = super().hashed(plain)
        for name in ("file", "ansatz"):
            if openqasm.is_text(plain.get(name, "")):
                plain[name] = openqasm.digest(plain[name])
        return plain
