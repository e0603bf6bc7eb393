"""The contenders: each turns a problem into a call that returns values and both gradients.

A call does what one training step needs of a simulator: all expectations of a batch, and the
gradients, in every angle and every weight, of one scalar of them. PEERS at the end lists who takes
part.
"""

import importlib.metadata
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

import qdllm
from qdllm.circuits.circuit import gates, observables
from qdllm.circuits.gates import Angle, Gate, weight
from qdllm.circuits.layers import ENCODINGS

Array = NDArray[Any]


class Problem(NamedTuple):
    """One batch: the scalar is Σ factors · expectations."""

    spec: qdllm.CircuitSpec
    angles_NA: Array
    weights_W: Array
    factors_NM: Array


class Answer(NamedTuple):
    expectations_NM: Array
    angle_grads_NA: Array
    weight_grads_W: Array


Call = Callable[[], Answer]


class Peer(NamedTuple):
    name: str
    package: str
    """The installed distribution that it needs."""
    prepare: Callable[[Problem], Call]
    """Everything that is done once per circuit."""

    def version(self) -> str | None:
        """None where the package is not installed."""
        try:
            return importlib.metadata.version(self.package)
        except importlib.metadata.PackageNotFoundError:
            return None


def engine(problem: Problem) -> Call:
    angles, weights = (
        torch.tensor(array, dtype=torch.float32, requires_grad=True)
        for array in (problem.angles_NA, problem.weights_W)
    )
    factors = torch.tensor(problem.factors_NM, dtype=torch.float32)

    def call() -> Answer:
        results = qdllm.expectations(problem.spec, angles, weights)
        grads = torch.autograd.grad(results, (angles, weights), factors)
        return Answer(results.detach().numpy(), *(grad.numpy() for grad in grads))

    return call


def grouped(circuit: Sequence[Gate], merge: bool) -> tuple[list[Gate], list[list[int]]]:
    """The circuit with weights numbered as its gates come, and which of ours each one sums.

    With `merge`, neighbouring rotations of one kind on one qubit become one. For circuits each of
    whose weights turns one gate, by itself.
    """
    result: list[Gate] = []
    groups: list[list[int]] = []
    for gate in circuit:
        number = gate.angles[0].weight if gate.angles else None
        if number is None:
            result.append(gate)
        elif merge and result[-1][:2] == gate[:2] and result[-1].angles[0].weight is not None:
            groups[-1].append(number)
        else:
            result.append(gate._replace(angles=(weight(len(groups)),)))
            groups.append([number])
    return result, groups


def signs(spec: qdllm.CircuitSpec) -> Array:
    """(2^Q, M): what each amplitude's probability counts in strings of Z."""
    index = np.arange(2**spec.qubits)
    columns = []
    for string in observables(spec):
        assert not set(string) & set("XY"), "only strings of Z are read off probabilities"
        bits = [index >> q & 1 for q, letter in enumerate(string) if letter == "Z"]
        columns.append(1 - 2 * (np.sum(bits, axis=0) % 2))
    return np.stack(columns, -1)


def mindquantum_as_published(problem: Problem) -> Call:
    return _mindquantum_jacobian(problem, *grouped(gates(problem.spec), merge=False))


def mindquantum_merged(problem: Problem) -> Call:
    return _mindquantum_jacobian(problem, *grouped(gates(problem.spec), merge=True))


def _mindquantum_jacobian(
    problem: Problem, circuit: Sequence[Gate], groups: list[list[int]]
) -> Call:
    """As the published program does: one adjoint sweep for each of the observables."""
    import mindquantum
    from mindquantum.core.operators import Hamiltonian
    from mindquantum.simulator import Simulator

    from qdllm.mindquantum import circuit_of, operator_of

    simulator = Simulator("mqvector", problem.spec.qubits, dtype=mindquantum.complex64)
    measured = [
        Hamiltonian(operator_of(string)).astype(mindquantum.complex64)
        for string in observables(problem.spec)
    ]
    program = circuit_of(circuit)
    run = simulator.get_expectation_with_grad(measured, program, parallel_worker=1)
    sums = np.array([problem.weights_W[group].sum() for group in groups])
    order = _order(program)

    def call() -> Answer:
        values, in_angles, in_weights = run(problem.angles_NA[:, order], sums)
        angle_grads = np.empty_like(problem.angles_NA)
        angle_grads[:, order] = np.einsum("nm,nma->na", problem.factors_NM, in_angles.real)
        weight_grads = np.einsum("nm,nmw->w", problem.factors_NM, in_weights.real)
        return Answer(values.real, angle_grads, _spread(weight_grads, groups))

    return call


def _order(program: Any) -> list[int]:
    """The input angles as MindQuantum lists them; weights come as they are numbered."""
    return [int(name.removeprefix("angle")) for name in program.encoder_params_name]


def mindquantum_weighted(problem: Problem) -> Call:
    """What a user who knows would write: per example one Hamiltonian, so one adjoint sweep."""
    import mindquantum
    from mindquantum.core.operators import Hamiltonian, QubitOperator
    from mindquantum.simulator import Simulator

    from qdllm.mindquantum import circuit_of, operator_of

    circuit, groups = grouped(gates(problem.spec), merge=True)
    program = circuit_of(circuit)
    simulator = Simulator("mqvector", problem.spec.qubits, dtype=mindquantum.complex64)
    sums = np.array([problem.weights_W[group].sum() for group in groups])
    order, counted, strings = _order(program), signs(problem.spec), observables(problem.spec)
    # A circuit's parameters come as its gates do, those of the inputs between the weights.
    given = {f"weight{number}": value for number, value in enumerate(sums)}
    names = program.params_name

    def call() -> Answer:
        rows = []
        for angles_A, factors_M in zip(problem.angles_NA, problem.factors_NM, strict=True):
            values_of = given | {f"angle{number}": value for number, value in enumerate(angles_A)}
            simulator.reset()
            simulator.apply_circuit(program, np.array([values_of[name] for name in names]))
            values = np.abs(simulator.get_qs()) ** 2 @ counted
            simulator.reset()
            operator = sum(
                (operator_of(*pair) for pair in zip(strings, factors_M.tolist(), strict=True)),
                QubitOperator(),
            )
            hamiltonian = Hamiltonian(operator).astype(mindquantum.complex64)
            run = simulator.get_expectation_with_grad(hamiltonian, program, parallel_worker=1)
            _, in_angles, in_weights = run(angles_A[None, order], sums)
            angle_grads = np.empty_like(angles_A)
            angle_grads[order] = in_angles.real[0, 0]
            rows.append((values, angle_grads, in_weights.real[0, 0]))
        values, angle_grads, in_weights = (np.stack(part) for part in zip(*rows, strict=True))
        return Answer(values, angle_grads, _spread(in_weights.sum(0), groups))

    return call


def _spread(grads: Array, groups: list[list[int]]) -> Array:
    """Every weight of a merged rotation has that rotation's gradient."""
    result = np.empty(sum(map(len, groups)))
    for grad, group in zip(grads, groups, strict=True):
        result[group] = grad
    return result


def _value(angle: Angle, angles: Any, weights: Any) -> Any:
    if angle.constant:
        return angle.offset
    source = weights[angle.weight] if angle.weight is not None else angles[angle.angle]
    return angle.factor * source + angle.offset


def pennylane_lightning(problem: Problem) -> Call:
    import pennylane as qml

    apply = {"rx": qml.RX, "ry": qml.RY, "rz": qml.RZ, "rzz": qml.IsingZZ}
    apply |= {"cx": qml.CNOT, "cz": qml.CZ}
    device = qml.device("lightning.qubit", wires=problem.spec.qubits, c_dtype=np.complex64)
    measured = [
        qml.prod(*(qml.Z(q) for q, letter in enumerate(string) if letter == "Z"))
        for string in observables(problem.spec)
    ]

    @qml.qnode(device, interface="torch", diff_method="adjoint")
    def circuit(angles: torch.Tensor, weights: torch.Tensor) -> list[Any]:
        for gate in gates(problem.spec):
            values = (_value(angle, angles, weights) for angle in gate.angles)
            apply[gate.name](*values, wires=gate.qubits)
        return [qml.expval(each) for each in measured]

    angles, weights = (
        torch.tensor(array, requires_grad=True) for array in (problem.angles_NA, problem.weights_W)
    )
    factors = torch.tensor(problem.factors_NM)

    def call() -> Answer:
        results = torch.stack([torch.stack(circuit(row, weights)) for row in angles])
        grads = torch.autograd.grad(results, (angles, weights), factors.to(results))
        return Answer(results.detach().numpy(), *(grad.numpy() for grad in grads))

    return call


def qulacs_backprop(problem: Problem) -> Call:
    """Merged rotations, one weighted observable per example; Qulacs has double precision alone."""
    import qulacs

    qubits = problem.spec.qubits
    made, groups = grouped(gates(problem.spec), merge=True)
    circuit = qulacs.ParametricQuantumCircuit(qubits)
    # Its rotations turn the other way.
    add = {
        "rx": circuit.add_parametric_RX_gate,
        "ry": circuit.add_parametric_RY_gate,
        "rz": circuit.add_parametric_RZ_gate,
    }
    turned: list[Angle] = []
    for gate in made:
        if gate.angles:
            turned += gate.angles
        if gate.name == "rzz":
            circuit.add_parametric_multi_Pauli_rotation_gate(list(gate.qubits), [3, 3], 0.0)
        elif gate.name in add:
            add[gate.name](gate.qubits[0], 0.0)
        else:
            {"cx": circuit.add_CNOT_gate, "cz": circuit.add_CZ_gate}[gate.name](*gate.qubits)
    sums = np.array([problem.weights_W[group].sum() for group in groups])
    counted, strings = signs(problem.spec), observables(problem.spec)
    names = [
        " ".join(f"Z {q}" for q, letter in enumerate(string) if letter == "Z") for string in strings
    ]
    state = qulacs.QuantumState(qubits)

    def call() -> Answer:
        values, weight_grads = [], np.zeros(len(groups))
        angle_grads = np.zeros_like(problem.angles_NA)
        for n, (angles_A, factors_M) in enumerate(
            zip(problem.angles_NA, problem.factors_NM, strict=True)
        ):
            for number, angle in enumerate(turned):
                circuit.set_parameter(number, -_value(angle, angles_A, sums))
            state.set_zero_state()
            circuit.update_quantum_state(state)
            values.append(np.abs(state.get_vector()) ** 2 @ counted)
            observable = qulacs.Observable(qubits)
            for name, factor in zip(names, factors_M, strict=True):
                observable.add_operator(factor, name)
            for angle, slope in zip(turned, circuit.backprop(observable), strict=True):
                if angle.angle is None:
                    weight_grads[angle.weight] -= slope
                else:
                    angle_grads[n, angle.angle] -= slope
        return Answer(np.stack(values), angle_grads, _spread(weight_grads, groups))

    return call


def tensorcircuit_jax(problem: Problem) -> Call:
    """Merged rotations, compiled by XLA for the whole batch: what a user who knows would write.

    Three layers or more run in a loop: at eleven it is faster than writing them out, and compiles
    in seconds, not minutes. CNOTs in a row are one permutation, which takes half the time of gates;
    the loop takes it with the weights where layers differ in it. All expectations are read off the
    state at once, the quickest of its ways.
    """
    import jax
    import jax.numpy as jnp
    import tensorcircuit as tc

    tc.set_backend("jax")
    tc.set_dtype("complex64")
    spec = problem.spec
    made, groups = grouped(gates(spec), merge=True)
    counted = jnp.asarray(signs(spec), jnp.float32)
    before, blocks, after = _repeated(spec, _pieces(made, spec.qubits))
    weights = sum(map(_turned, blocks[0])) if blocks else 0
    kept = [[piece for piece in block if not isinstance(piece, Gate)] for block in blocks]
    moves = tuple(jnp.asarray(np.stack(same)) for same in zip(*kept, strict=True))

    def state(given: Any, those: Sequence[Any], angles: Any, sums: Any) -> Any:
        numbers = iter(range(len(sums)))
        for are_gates, run in groupby(those, lambda piece: isinstance(piece, Gate)):
            if not are_gates:
                for source in run:
                    given = given[source]
                continue
            circuit = tc.Circuit(spec.qubits, inputs=given)
            for gate in run:
                # Weights are numbered as gates come, here from the first of those.
                own = [
                    a._replace(weight=next(numbers)) if _turned(gate) else a for a in gate.angles
                ]
                by = [_value(angle, angles, sums) for angle in own]
                # Its qubit 0 is the most significant bit.
                on = [spec.qubits - 1 - q for q in gate.qubits]
                if gate.name == "rzz":
                    circuit.rzz(*on, theta=by[0])
                else:
                    getattr(circuit, gate.name)(*on, **({"theta": by[0]} if by else {}))
            given = circuit.state()
        return given

    def values(angles: Any, sums: Any) -> Any:
        def step(given: Any, own: Any) -> Any:
            turns, sources = own
            taken = iter(sources)
            block = [piece if isinstance(piece, Gate) else next(taken) for piece in blocks[0]]
            return state(given, block, angles, turns), None

        amplitudes = state(tc.Circuit(spec.qubits).state(), before, angles, sums[:0])
        split = len(blocks) * weights
        if blocks:
            turns = sums[:split].reshape(len(blocks), weights)
            amplitudes, _ = jax.lax.scan(step, amplitudes, (turns, moves))
        amplitudes = state(amplitudes, after, angles, sums[split:])
        return jnp.abs(amplitudes) ** 2 @ counted

    factors = jnp.asarray(problem.factors_NM, jnp.float32)
    batch = jax.vmap(values, (0, None))

    @jax.jit
    def run(angles: Any, sums: Any) -> Any:
        found, back = jax.vjp(batch, angles, sums)
        return found, *back(factors)

    sums = np.array([problem.weights_W[group].sum() for group in groups], np.float32)
    angles = problem.angles_NA.astype(np.float32)

    def call() -> Answer:
        found, angle_grads, weight_grads = map(np.asarray, run(angles, sums))
        return Answer(found, angle_grads, _spread(weight_grads, groups))

    return call


def _pieces(made: Sequence[Gate], qubits: int) -> list[Gate | Array]:
    """Gates, and for CNOTs in a row the index that each amplitude is taken from."""
    pieces: list[Gate | Array] = []
    for are_moves, run in groupby(made, lambda gate: gate.name == "cx"):
        if not are_moves:
            pieces += run
            continue
        target = index = np.arange(2**qubits)
        for gate in run:
            control, flipped = gate.qubits
            target = target ^ ((target >> control & 1) << flipped)
        source = np.empty_like(index)
        source[target] = index
        pieces.append(source)
    return pieces


def _repeated(
    spec: qdllm.CircuitSpec, pieces: list[Gate | Array]
) -> tuple[list[Gate | Array], list[list[Gate | Array]], list[Gate | Array]]:
    """What comes before the layers, the layers, in blocks that differ in CNOTs alone, and the rest.

    Layers that alternate are a block together. No blocks where fewer than three would follow one
    another, or layers differ in length.
    """
    encoding = ENCODINGS[spec.encoding]
    once = 0 if encoding.every_layer else spec.qubits * len(encoding.gates)
    before, layers = pieces[:once], pieces[once:]
    size, rest = divmod(len(layers), spec.layers)
    if rest == 0:
        alike = [
            (piece.name, piece.qubits, None if _turned(piece) else piece.angles)
            if isinstance(piece, Gate)
            else None
            for piece in layers
        ]
        for period in range(size, len(alike) // 3 + 1, size):
            whole = len(alike) // period * period
            if alike[:whole] == alike[:period] * (whole // period):
                blocks = [layers[start : start + period] for start in range(0, whole, period)]
                return before, blocks, layers[whole:]
    return before, [], layers


def _turned(piece: Gate | Array) -> bool:
    """Whether by a weight; each weight of a merged circuit turns one gate, by itself."""
    return isinstance(piece, Gate) and any(angle.weight is not None for angle in piece.angles)


ENGINE = Peer("this engine", "numba", engine)
PEERS = (
    Peer("MindQuantum, as published", "mindquantum", mindquantum_as_published),
    Peer("MindQuantum, merged rotations", "mindquantum", mindquantum_merged),
    Peer("MindQuantum, one weighted Hamiltonian", "mindquantum", mindquantum_weighted),
    Peer("PennyLane lightning, as published", "pennylane-lightning", pennylane_lightning),
    Peer("Qulacs, merged rotations", "qulacs", qulacs_backprop),
    Peer("TensorCircuit-NG on jax, merged", "tensorcircuit-ng", tensorcircuit_jax),
)
