"""What a grid may say of a circuit, and what of it names a result."""

import json
import pickle

import pytest

import qdllm
from qdllm.circuits.circuit import angle_count, circuit, observables, told, weight_names
from qdllm.circuits.spec import CircuitSpec
from qdllm.errors import ConfigError
from qdllm.families.quantum import StudentSpec, student_parameters
from qdllm.spec import fingerprint

WHOLE = """OPENQASM 3.0;
include "stdgates.inc";
input float x0;
input float x1;
input float theta;
qubit[3] q;
h q[0];
rx(x0) q[1];
ry(2 * x1) q[2];
crx(theta) q[0], q[2];
"""
LAYER = """OPENQASM 3.0;
include "stdgates.inc";
input float a;
input float b;
qubit[3] q;
ry(a) q[0];
rxx(b) q[1], q[2];
"""


@pytest.fixture
def files(tmp_path):
    """Paths of a whole circuit and of a layer."""
    for name, text in (("whole", WHOLE), ("layer", LAYER)):
        (tmp_path / f"{name}.qasm").write_text(text)
    return tmp_path


def test_a_whole_circuit_brings_all_but_its_observables(files):
    spec = CircuitSpec(file=str(files / "whole.qasm"), observables="z+zz")
    assert (spec.qubits, spec.layers, spec.ansatz, spec.encoding) == (3, 1, "file", "file")
    assert weight_names(spec) == ("theta",)
    assert circuit(spec).angles == ("x0", "x1")
    assert observables(spec) == ("ZII", "IZI", "IIZ", "ZZI", "IZZ")
    assert student_parameters(spec, 10, 2) == 11 * 2 + 1 + 6 * 2
    assert told(spec).startswith("'whole.qasm ")


def test_a_layer_is_repeated_with_weights_of_its_own(files):
    spec = CircuitSpec(ansatz=str(files / "layer.qasm"), layers=2, encoding="rz-ry")
    assert (spec.qubits, angle_count(spec)) == (3, 6)
    assert weight_names(spec) == ("layer0.a", "layer0.b", "layer1.a", "layer1.b")
    layers = [gate for gate in circuit(spec).gates if gate.angles[0].weight is not None]
    assert [gate.angles[0].weight for gate in layers] == [0, 1, 2, 3]


def test_a_layer_may_load_the_encodings_angles_again(files):
    path = files / "again.qasm"
    path.write_text(LAYER + "input float x_0; input float x_1; rz(x_1) q[0]; rz(x_0) q[1];")
    made = circuit(CircuitSpec(ansatz=str(path), encoding="ry"))
    again = [gate for gate in made.gates[3:] if gate.angles[0].angle is not None]
    assert [gate.angles[0].angle for gate in again] == [1, 0, 1, 0]
    path.write_text(LAYER + "".join(f"input float x{n}; rz(x{n}) q[0];" for n in range(4)))
    with pytest.raises(ConfigError, match="has 4 features' angles, but 'rx' on 3 qubits gives 3"):
        CircuitSpec.parse({"ansatz": str(path)})
    assert angle_count(CircuitSpec(ansatz=str(path), encoding="rz-ry")) == 6


def test_the_circuit_travels_and_the_file_may_go(files):
    spec = StudentSpec.parse({"circuit": {"file": str(files / "whole.qasm")}, "seeds": [0]})
    plain = json.dumps(spec.model_dump(mode="json"))
    (files / "whole.qasm").unlink()
    again = StudentSpec.parse(json.loads(plain))
    assert again == spec == pickle.loads(pickle.dumps(spec))
    assert fingerprint(again) == fingerprint(spec)
    assert circuit(again.circuit) == circuit(spec.circuit)


def test_content_names_a_result_and_the_files_name_does_not(files):
    def name(text, **settings):
        path = files / f"{len(list(files.iterdir()))}.qasm"
        path.write_text(text)
        return fingerprint(CircuitSpec.parse({"file": str(path)} | settings))

    assert name(WHOLE) == name(WHOLE) == name("// more\n" + WHOLE.replace("2 * x1", "x1 * 2.0"))
    assert name(WHOLE) == name(WHOLE, observables="z", qubits=3, layers=1)
    others = {
        name(WHOLE),
        name(WHOLE.replace("2 * x1", "3 * x1")),
        name(WHOLE.replace("theta", "phi")),
        name(WHOLE, observables="z+zz"),
        name(WHOLE, observables=["XII"]),
        fingerprint(CircuitSpec(ansatz=str(files / "layer.qasm"))),
        fingerprint(CircuitSpec(ansatz=str(files / "layer.qasm"), encoding="ry")),
    }
    assert len(others) == 7


def test_what_has_its_default_does_not_enter_a_name():
    assert fingerprint(CircuitSpec(encoding="rx", observables="z")) == fingerprint(CircuitSpec())
    assert fingerprint(CircuitSpec(encoding="ry")) != fingerprint(CircuitSpec())


MISTAKES = {
    "no file": ({"file": "none.qasm"}, "cannot use 'none.qasm': No such file"),
    "no qasm": ({"file": "mine.py"}, "'mine.py' was given, but a circuit is a .qasm file"),
    "an ansatz beside": (
        {"file": "whole", "ansatz": "brick"},
        "is a whole circuit, with ansatz of",
    ),
    "an encoding beside": ({"file": "whole", "encoding": "ry"}, "with encoding of its own; leave"),
    "layers beside": ({"file": "whole", "layers": 3}, "set it to 1, but 3 was given"),
    "other qubits": ({"file": "whole", "qubits": 4}, "has 3; leave it out, but 4 was given"),
    "a layer's qubits": ({"ansatz": "layer", "qubits": 4}, "has 3; leave it out, but 4 was given"),
    "no weights": (
        {"file": WHOLE.replace("(theta)", "(1)").replace("input float theta;", "")},
        "has no weights, so there is nothing to train",
    ),
    "no angles": (
        {"file": WHOLE.replace("x0", "y0").replace("x1", "y1")},
        "has no features' angles, so no text would change what it gives",
    ),
    "a layer without weights": (
        {"ansatz": "OPENQASM 3.0;\nqubit[2] q;\nswap q[0], q[1];"},
        "has no weights",
    ),
    "one qubit": (
        {"file": "input float x; input float w; qubit q; rx(x) q; ry(w) q;\n"},
        "has one qubit, but a circuit has 2 to 20",
    ),
    "an unknown gate": ({"file": WHOLE + "foo q[0];\n"}, ".qasm:11: unknown gate 'foo'"),
    "no such ansatz": ({"ansatz": "bric"}, "unknown ansatz 'bric'; did you mean 'brick'?"),
    "no such encoding": ({"encoding": "rz"}, "unknown encoding 'rz'. There are: rx, ry, rz-ry"),
    "no such observables": ({"observables": "zz"}, "unknown observables 'zz'; did you mean 'z+zz'"),
    "a string too short": ({"observables": ["ZZ"]}, "'ZZ' has 2 letters, but the circuit has 11"),
    "no Pauli string": ({"observables": ["ZA"], "qubits": 2}, "'ZA' must be made of I, X, Y and Z"),
    "the identity": ({"observables": ["II"], "qubits": 2}, "and not of I alone"),
    "no strings": ({"observables": []}, "must name one or more strings, each once"),
    "a string twice": ({"observables": ["ZI", "ZI"], "qubits": 2}, "each once"),
    "a number": (
        {"observables": 3},
        "observables are z, z+zz, z+all-zz or a list of Pauli strings",
    ),
    "qubits": ({"qubits": 21}, "20"),
    "no text": ({"ansatz": 3}, "ansatz"),
    "the word itself": ({"ansatz": "file"}, "no file; set circuit.file"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes_are_told(case, files, monkeypatch):
    monkeypatch.chdir(files)
    settings, message = MISTAKES[case]
    for key in ("file", "ansatz"):
        value = settings.get(key)
        if value in ("whole", "layer"):
            settings = settings | {key: f"{value}.qasm"}
        elif isinstance(value, str) and "\n" in value:
            (files / "given.qasm").write_text(value)
            settings = settings | {key: "given.qasm"}
    with pytest.raises(ConfigError) as caught:
        CircuitSpec.parse(settings)
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_the_engine_says_which_circuit_it_was_given(files):
    import torch

    spec = CircuitSpec(file=str(files / "whole.qasm"))
    with pytest.raises(ConfigError, match=r"'whole.qasm \w+' on 3 qubits takes \(N, 2\) with \(1,"):
        qdllm.expectations(spec, torch.zeros(4, 3), torch.zeros(1))


def test_no_file_is_written_as_nothing_or_as_null():
    null = CircuitSpec.parse({"file": None, "layers": 3})
    assert null == CircuitSpec.parse({"layers": 3})
    assert fingerprint(null) == fingerprint(CircuitSpec(layers=3))
