"""Circuits that people bring: what is read, what is refused and with which line, and no bombs."""

import itertools
import math
import random

import pytest
import torch
from dense import dense

from qdllm.circuits import openqasm
from qdllm.circuits.circuit import circuit as circuit_of
from qdllm.circuits.gates import GATES, Angle, Circuit, Gate, angle, constant, weight
from qdllm.circuits.layers import ANSATZE
from qdllm.circuits.openqasm import parse, written
from qdllm.circuits.spec import CircuitSpec
from qdllm.errors import ConfigError

QISKIT = """OPENQASM 3.0;
include "stdgates.inc";
input float[64] alpha;
input float[64] _x_0_;
input float[64] _x_1_;
input float[64] _θ_0_;
gate rxx(p0) _gate_q_0, _gate_q_1 {
  h _gate_q_0;
  h _gate_q_1;
  cx _gate_q_0, _gate_q_1;
  rz(p0) _gate_q_1;
  cx _gate_q_0, _gate_q_1;
  h _gate_q_1;
  h _gate_q_0;
}
gate sxdg _gate_q_0 {
  s _gate_q_0;
  h _gate_q_0;
  s _gate_q_0;
}
bit[3] meas;
qubit[3] q;
rx(_x_0_) q[0];
ry(0.5 + 2*_x_1_) q[1];
rxx(-1 + _θ_0_/2) q[1], q[2];
U(alpha, 0.1, -_θ_0_) q[0];
sxdg q[1];
p(3*pi/4) q[2];
barrier q[0], q[1], q[2];
meas[0] = measure q[0];
meas[1] = measure q[1];
meas[2] = measure q[2];
"""
"""As qiskit.qasm3.dumps writes it, Qiskit 2.6."""

HEAD = 'OPENQASM 3.0;\ninclude "stdgates.inc";\ninput float x;\ninput float theta;\nqubit[3] q;\n'


def test_a_circuit_as_qiskit_writes_it():
    made = parse(QISKIT)
    assert made.qubits == 3
    assert made.angles == ("_x_0_", "_x_1_")
    assert made.weights == ("alpha", "_θ_0_")
    assert made.gates == (
        Gate("rx", (0,), (angle(0),)),
        Gate("ry", (1,), (Angle(angle=1, factor=2.0, offset=0.5),)),
        # Its own definition means what the table's means, so it is the table's.
        Gate("rxx", (1, 2), (Angle(weight=1, factor=0.5, offset=-1.0),)),
        Gate("u", (0,), (weight(0), constant(0.1), Angle(weight=1, factor=-1.0))),
        *(Gate(name, (1,)) for name in ("s", "h", "s")),
        Gate("p", (2,), (constant(0.75 * math.pi),)),
    )


def test_what_is_written_is_read_again_as_it_was():
    randomly = random.Random(0)
    for _ in range(30):
        gates = [Gate("rx", (0,), (angle(0),)), Gate("ry", (1,), (weight(0),))]
        for name, kind in GATES.items():
            angles = tuple(
                randomly.choice(
                    [angle(1), weight(1), Angle(1, None, -0.3, 2.5), constant(randomly.random())]
                )
                for _ in range(kind.angles)
            )
            gates.append(Gate(name, tuple(randomly.sample(range(4), kind.qubits)), angles))
        gates += [Gate("rz", (3,), (angle(1),)), Gate("rz", (3,), (weight(1),))]
        made = Circuit(4, tuple(gates), ("x0", "x1"), ("q", "theta"))
        assert parse(written(made)) == made


@pytest.mark.parametrize("ansatz", ANSATZE)
def test_built_in_circuits_can_be_written(ansatz):
    made = circuit_of(CircuitSpec(ansatz=ansatz, qubits=4))
    text = written(made._replace(weights=tuple(f"w{n}" for n in range(len(made.weights)))))
    assert parse(text).gates == made.gates


@pytest.mark.parametrize(
    ("line", "gates"),
    [
        ("ccx q[0], q[1], q[2];", [Gate("ccx", (0, 1, 2))]),
        ("cswap q[2], q[0], q[1];", [Gate("cswap", (2, 0, 1))]),
        (
            "cu(1.1, 2.2, -0.7, 0.4) q[0], q[2];",
            [
                Gate("cu", (0, 2), (constant(1.1), constant(2.2), constant(-0.7))),
                Gate("p", (0,), (constant(0.4),)),
            ],
        ),
        ("u2(0.3, 2.1) q[1];", [Gate("u", (1,), tuple(map(constant, (math.pi / 2, 0.3, 2.1))))]),
        ("u3(0.3, 2.1, 1) q[1];", [Gate("u", (1,), tuple(map(constant, (0.3, 2.1, 1.0))))]),
        ("cphase(0.3) q[1], q[0];", [Gate("cp", (1, 0), (constant(0.3),))]),
        ("id q[0]; phase(2) q[1];", [Gate("p", (1,), (constant(2.0),))]),
    ],
)
def test_what_the_standard_library_has_beside_the_table(line, gates):
    text = HEAD + "rx(x) q[0]; ry(theta) q[1]; h q[2]; rz(0.9) q; cx q[0], q[2]; ry(1.3) q;\n"
    before, made = parse(text), parse(text + line)
    strings = ["".join(letters) for letters in itertools.product("IXYZ", repeat=3)][1:]
    numbers = torch.tensor([[1.3]]).double(), torch.tensor([0.7]).double()
    ours = dense(made.gates, 3, strings, *numbers)
    expected = dense([*before.gates, *gates], 3, strings, *numbers)
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-12)


def test_definitions_registers_constants_and_aliases_are_written_out():
    made = parse(
        "qubit[2] a; qubit b; input angle[32] features_0; input float w;\n"
        "const float half = pi / 2; float third = 2 ** 0.5 * sin(half);\n"
        "gate mine(s, t) p, q { rz(s - half) p; cx p, q; ry(2 * t + s * 0) q; gphase(s); }\n"
        "x a; cx a, b; mine(features_0, w) a[-1], b; rzz(w + features_0 + 1) a[0], b;\n"
        "rz(third) b; bit c = measure b;".replace("bit c = measure b;", "")
    )
    assert (made.angles, made.weights) == (("features_0",), ("w",))
    assert made.gates == (
        Gate("x", (0,)),
        Gate("x", (1,)),
        Gate("cx", (0, 2)),
        Gate("cx", (1, 2)),
        Gate("rz", (1,), (Angle(angle=0, offset=-math.pi / 2),)),
        Gate("cx", (1, 2)),
        Gate("ry", (2,), (Angle(weight=0, factor=2.0),)),
        # What turns by a sum turns by its parts.
        Gate("rzz", (0, 2), (weight(0),)),
        Gate("rzz", (0, 2), (angle(0),)),
        Gate("rzz", (0, 2), (constant(1.0),)),
        Gate("rz", (2,), (constant(math.sqrt(2)),)),
    )


def test_a_definition_that_means_something_else_is_what_it_says():
    made = parse(HEAD + "gate rxx(a) p, q { rx(a) p; rx(a) q; }\nrxx(x) q[0], q[1]; rz(theta) q;")
    assert [gate.name for gate in made.gates[:2]] == ["rx", "rx"]


@pytest.mark.parametrize(
    ("body", "line", "message"),
    [
        ("foo q[0];", 6, "unknown gate 'foo'"),
        ("hh q[0];", 6, "unknown gate 'hh'; did you mean 'h'?"),
        ("\nrx(phi) q[0];", 7, "unknown parameter 'phi'; declare it, as in input float phi;"),
        ("rx(thta) q[0];", 6, "unknown parameter 'thta'; did you mean 'theta'?"),
        ("rx(x) q[3];", 6, "q[3] is out of range; q has 3 qubits, from q[0] to q[2]"),
        ("rx(x) r[0];", 6, "unknown qubit 'r'. There are: q"),
        ("cx q[0], q[0];", 6, "cx takes 2 different qubits and 0 angles, but qubits [0, 0]"),
        ("rx q[0];", 6, "rx takes 1 different qubits and 1 angles, but qubits [0] and 0 angles"),
        ("qubit[2] r; cx q, r;", 6, "cx goes over registers of [2, 3] qubits"),
        ("rx(x * theta) q[0];", 6, "an angle is a number, or a parameter times a number plus"),
        ("rx(x / 0) q[0];", 6, "this expression has no finite value"),
        ("rx(9.0 ** 999999) q[0];", 6, "this expression has no finite value"),
        ("rx(sin(x)) q[0];", 6, "an angle is a number, or a parameter times a number plus"),
        ("u(x + theta, 0, 0) q[0];", 6, "u turns by one parameter in each of its angles"),
        ("bit c;\nc = measure q[0];\nrx(x) q[0];", 7, "qubit 0 is measured here, but turned again"),
        ("reset q[0];", 6, "quantum reset is no part of a circuit of gates"),
        ("if (true) { x q[0]; }", 6, "branching statement is no part of a circuit of gates"),
        ("for int i in [0:2] { x q[i]; }", 6, "for in loop is no part of a circuit of gates"),
        ("while (true) { x q[0]; }", 6, "while loop is no part of a circuit of gates"),
        ("def f(qubit a) { x a; }", 6, "subroutine definition is no part of a circuit"),
        ("ctrl @ x q[0], q[1];", 6, "a gate cannot have modifiers here"),
        ("gate g a { ctrl @ x a; }\ng q[0];", 6, "a gate cannot have modifiers here"),
        ("gate g a { x b; }\ng q[0];", 6, "a gate's definition acts on its own qubits: ['a']"),
        ("gate g a { x a; }\ngate g a { y a; }", 7, "gate 'g' is defined twice"),
        ("rx(x) q[0:1];", 6, "give one index for q, or all of it"),
        ("rx(x) q[x];", 6, "this must be a constant, but ['x'] are inputs"),
        ("input int n;", 6, "'n' must be an input float, one for each weight or feature"),
        ("input array[float, 3] n;", 6, "'n' must be an input float"),
        ("output float n;", 6, "'n' must be an input float"),
        ("int n;", 6, "only bits for measurements and constant numbers can be declared"),
        ("qubit[18] r;", 6, "a circuit has 1 to 20 qubits, but this makes 21 of them"),
        ('include "mine.inc";', 6, "only 'stdgates.inc' can be included, but 'mine.inc' was"),
        ("rx(x q[0];", 6, "this is not OpenQASM 3:"),
        ("@", 6, "this is not OpenQASM 3"),
        ("x q[0];", 3, "no gate turns by input 'x'; leave it out"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_line(body, line, message):
    with pytest.raises(ConfigError) as caught:
        parse(HEAD + body, "my.qasm")
    assert str(caught.value).startswith(f"my.qasm:{line}: ")
    assert message in str(caught.value)


def test_openqasm_2_is_refused():
    text = '// old\nOPENQASM 2.0;\ninclude "qelib1.inc";\nqreg q[2];\nrx(0.1) q[0];\n'
    with pytest.raises(ConfigError, match=r"my.qasm:2: this is OpenQASM 2, in which parameters"):
        parse(text, "my.qasm")


def test_no_qubits_is_refused():
    with pytest.raises(ConfigError, match=r"my.qasm:1: there are no qubits; declare some"):
        parse("OPENQASM 3.0;", "my.qasm")


@pytest.mark.parametrize(
    "text",
    [
        # 2^60 gates in sixty lines; then none at all, but as many calls; then one in another.
        HEAD
        + "gate g0 a { x a; }\n"
        + "".join(f"gate g{n} a {{ g{n - 1} a; g{n - 1} a; }}\n" for n in range(1, 60))
        + "g59 q[0];",
        HEAD
        + "gate g0 a { }\n"
        + "".join(f"gate g{n} a {{ g{n - 1} a; g{n - 1} a; }}\n" for n in range(1, 60))
        + "g59 q[0];",
        # The table's own names too, which are compared with the table when they are defined.
        HEAD
        + "gate g0 a { x a; }\n"
        + "".join(f"gate g{n} a {{ g{n - 1} a; g{n - 1} a; }}\n" for n in range(1, 60))
        + "gate h a { g59 a; }",
        HEAD + "gate g a { g a; }\ng q[0];",
        HEAD + "gate h a { h a; }",
        HEAD + "rx(" + "(" * 990 + "x" + ")" * 990 + ") q[0];",
        HEAD + "rx(" + "(" * 5000 + "x" + ")" * 5000 + ") q[0];",
        HEAD + "rx(" + "-" * 1900 + "x) q[0];",
        HEAD + "rx(x + " + "9" * 1990 + ") q[0];",
        HEAD + "x q[0];\n" * 100_000,
        HEAD + "x q;\n" * 5_000,
    ],
    ids=[
        "doubling",
        "nothing",
        "table",
        "itself",
        "in-table",
        "parens",
        "more-parens",
        "signs",
        "digits",
        "long",
        "many",
    ],
)
def test_bombs_are_refused_before_they_go_off(text):
    with pytest.raises(ConfigError, match=r"my.qasm:\d+: "):
        parse(text, "my.qasm")


def test_a_file_travels_as_text_under_its_name(tmp_path):
    first, second = tmp_path / "a b.qasm", tmp_path / "c.qasm"
    first.write_text(QISKIT)
    second.write_text(QISKIT.replace("\n", "  // a comment\n\n").replace("0.5 +", "1 / 2 +"))
    texts = [openqasm.read(str(path)) for path in (first, second)]
    assert [text.splitlines()[0] for text in texts] == ["// a_b.qasm", "// c.qasm"]
    assert openqasm.digest(texts[0]) == openqasm.digest(texts[1])
    assert openqasm.label(texts[0]) == f"a_b.qasm {openqasm.digest(texts[0])[:7]}"
    assert parse(texts[0]) == parse(QISKIT)


@pytest.mark.parametrize(
    "angle", ["(-1) ** 0.5", "1 / 0", "sqrt(-1)", "10 ** 999", "1e999", "log(0)"]
)
def test_an_angle_that_is_no_real_number_is_told(angle):
    text = f"OPENQASM 3.0;\nqubit[2] q;\ninput float x0;\nrx({angle} * x0) q[0];\n"
    with pytest.raises(ConfigError, match="circuit:4: this expression has no finite value"):
        openqasm.parse(text)


def test_sums_count_by_what_they_are_written_out_to():
    names = [f"w{number}" for number in range(60)]
    text = "OPENQASM 3.0;\nqubit q;\n" + "".join(f"input float {name};\n" for name in names)
    with pytest.raises(ConfigError, match="comes to more than 10,000 gates"):
        openqasm.parse(text + f"ry({' + '.join(names)}) q;\n" * 200)


def test_a_file_that_cannot_be_read_is_told(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot use '.*none\.qasm': No such file"):
        openqasm.read(str(tmp_path / "none.qasm"))
    (tmp_path / "latin.qasm").write_bytes(b"// \xe9")
    with pytest.raises(ConfigError, match=r"latin.qasm is not UTF-8 text"):
        openqasm.read(str(tmp_path / "latin.qasm"))
