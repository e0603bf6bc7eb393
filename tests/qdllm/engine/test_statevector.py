"""The engine by oracle (a dense simulation, finite differences) and by what it promises."""

import math
import threading

import hypothesis.strategies as st
import pytest
import torch
from dense import dense
from hypothesis import given, settings
from torch import Tensor
from torch.fx.experimental import _config as meta

import qdllm
from qdllm.circuits.circuit import angle_count, observable_count
from qdllm.circuits.gates import GATES, Angle, Gate, constant
from qdllm.circuits.layers import ANSATZE, ENCODINGS, OBSERVABLES
from qdllm.engine import cpu, tensors
from qdllm.engine.fusion import compile_gates
from qdllm.engine.statevector import program_of
from qdllm.errors import ConfigError

ENGINES = [pytest.param(cpu, id="cpu"), pytest.param(tensors, id="tensors")]
RELATIVE = {torch.float32: 1e-5, torch.float64: 1e-10}
SPECS = st.builds(
    qdllm.CircuitSpec,
    ansatz=st.sampled_from(list(ANSATZE)),
    encoding=st.sampled_from(list(ENCODINGS)),
    observables=st.sampled_from(list(OBSERVABLES)),
    qubits=st.integers(2, 7),
    layers=st.integers(1, 4),
)
properties = settings(deadline=None, derandomize=True, max_examples=25)
many = settings(deadline=None, derandomize=True, max_examples=150)


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Angles in (−π, π)."""
    generator = torch.Generator().manual_seed(seed)
    return ((torch.rand(shape, generator=generator) - 0.5) * 2 * math.pi).to(dtype)


def inputs(
    spec: qdllm.CircuitSpec, students: int, examples: int, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor]:
    return (
        draw(students, examples, angle_count(spec), seed=1, dtype=dtype),
        draw(students, qdllm.weight_count(spec), seed=2, dtype=dtype),
    )


def run(spec: qdllm.CircuitSpec, angles: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Expectations, and the gradients of a fixed combination of them."""
    angles, weights = angles.clone().requires_grad_(), weights.clone().requires_grad_()
    results = qdllm.expectations(spec, angles, weights)
    factors = torch.linspace(
        0.5, 1.5, results.shape[-1], dtype=results.dtype, device=results.device
    )
    (results * factors).sum().backward()
    return results.detach(), angles.grad, weights.grad


def distance(ours: Tensor, theirs: Tensor) -> float:
    """Largest difference over the largest entry."""
    return ((ours - theirs).abs().max() / theirs.abs().max()).item()


@st.composite
def circuits(draw_from: st.DrawFn) -> tuple[list[Gate], int, int, int, list[str] | None]:
    """Any gates of the table in any order, angles shared or not, and any observables."""
    qubits = draw_from(st.integers(1, 5))
    inputs, weights = draw_from(st.integers(1, 4)), draw_from(st.integers(1, 6))
    factor, offset = st.sampled_from([1.0, -1.0, 0.5, 2.0]), st.sampled_from([0.0, 0.3, -1.2])
    angles = st.one_of(
        st.builds(Angle, st.integers(0, weights - 1), st.none(), factor, offset),
        st.builds(Angle, st.none(), st.integers(0, inputs - 1), factor, offset),
        st.builds(constant, st.floats(-3, 3)),
    )
    places = st.permutations(range(qubits))
    fitting = [name for name, kind in GATES.items() if kind.qubits <= qubits]
    body = []
    for name in draw_from(st.lists(st.sampled_from(fitting), max_size=25)):
        kind = GATES[name]
        on = tuple(draw_from(places)[: kind.qubits])
        body.append(Gate(name, on, tuple(draw_from(angles) for _ in range(kind.angles))))
    string = st.text("IXYZ", min_size=qubits, max_size=qubits).filter(lambda one: set(one) != {"I"})
    strings = st.none() | st.lists(string, min_size=1, max_size=6, unique=True)
    return body, qubits, inputs, weights, draw_from(strings)


@pytest.mark.parametrize("engine", ENGINES)
def test_any_circuit_compiles_to_what_a_dense_simulation_gives(engine):
    @many
    @given(circuits())
    def check(case: tuple[list[Gate], int, int, int, list[str] | None]) -> None:
        circuit, qubits, inputs, count, strings = case
        angles, weights = draw(3, inputs).requires_grad_(), draw(count, seed=7).requires_grad_()
        every = [("I" * q + "Z").ljust(qubits, "I") for q in range(qubits)]
        expected = dense(circuit, qubits, strings or every, angles, weights)
        grads = draw(*expected.shape, seed=8)
        # A sum with zeros, so that a circuit of constants has gradients too.
        touched = expected + 0 * (angles.sum() + weights.sum())
        expected_grads = torch.autograd.grad(touched, (angles, weights), grads)
        a, w = angles.detach()[None], weights.detach()[None]
        program = compile_gates(circuit, qubits, strings)
        results, saved, bad = engine.forward(program, a, w, True)
        assert bad == -1
        *found, bad = engine.backward(program, saved, a, w, grads[None])
        assert bad == -1
        torch.testing.assert_close(results[0], expected.detach(), rtol=0, atol=1e-12)
        for ours, theirs in zip(found, expected_grads, strict=True):
            torch.testing.assert_close(ours[0], theirs, rtol=0, atol=1e-12)

    check()


@pytest.mark.parametrize("ansatz", ["published", "textbook"])
@pytest.mark.parametrize("qubits", [2, 3, 5])
def test_gradcheck(ansatz, qubits):
    finite_differences(qdllm.CircuitSpec(ansatz=ansatz, qubits=qubits, layers=2))


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("ansatz", ["strongly-entangling", "brick", "all-to-all"])
def test_gradcheck_of_every_encoding(ansatz, encoding):
    spec = qdllm.CircuitSpec(
        ansatz=ansatz, encoding=encoding, qubits=3, layers=2, observables=["ZII", "XYI", "IXZ"]
    )
    finite_differences(spec)


def finite_differences(spec: qdllm.CircuitSpec) -> None:
    angles, weights = (t.requires_grad_() for t in inputs(spec, 2, 3, torch.float64))
    assert torch.autograd.gradcheck(
        lambda a, w: qdllm.expectations(spec, a, w), (angles, weights), atol=1e-7
    )


@pytest.mark.parametrize(
    "settings",
    [
        {"ansatz": ansatz, "qubits": qubits, "layers": layers}
        for ansatz in ("published", "textbook")
        for qubits, layers in ((2, 3), (6, 2), (11, 2), (12, 1))
    ]
    + [
        {"ansatz": "brick", "encoding": "rz-ry", "observables": "z+all-zz", "qubits": 11},
        {"ansatz": "all-to-all", "encoding": "reuploading", "observables": "z+zz", "qubits": 10},
    ],
)
def test_torch_operations_give_what_the_kernels_give(monkeypatch, settings):
    spec = qdllm.CircuitSpec.parse(settings)
    for dtype, limit in RELATIVE.items():
        case = inputs(spec, 2, 3, dtype)
        kernels = run(spec, *case)
        with monkeypatch.context() as patch:
            patch.setattr("qdllm.engine.statevector._engine", lambda tensor: tensors)
            operations = run(spec, *case)
        for ours, theirs in zip(kernels, operations, strict=True):
            assert distance(ours, theirs) < limit


def test_torch_operations_make_no_tensor_on_another_device(monkeypatch):
    """On the meta device, which has shapes alone: what would not mix on a GPU does not there."""
    monkeypatch.setattr(meta, "meta_nonzero_assume_all_nonzero", True)
    monkeypatch.setattr(tensors, "_first_bad", lambda values, weights: -1)

    @properties
    @given(SPECS)
    def check(spec: qdllm.CircuitSpec) -> None:
        angles, weights = (tensor.to("meta") for tensor in inputs(spec, 2, 3))
        program = program_of(spec)
        results, saved, _ = tensors.forward(program, angles, weights, True)
        *found, _ = tensors.backward(program, saved, angles, weights, torch.ones_like(results))
        assert {tensor.device.type for tensor in (results, *found)} == {"meta"}

    check()


needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("ansatz", ["published", "textbook"])
def test_a_gpu_gives_what_the_kernels_give(ansatz):
    spec = qdllm.CircuitSpec(ansatz=ansatz, layers=11)
    for dtype, limit in RELATIVE.items():
        case = inputs(spec, 5, 8, dtype)
        there = run(spec, *(t.cuda() for t in case))
        for ours, theirs in zip(there, run(spec, *case), strict=True):
            assert distance(ours.cpu(), theirs) < limit


@properties
@given(SPECS, st.integers(1, 3), st.sampled_from([1, 2, 7, 8, 9, 31]))
def test_expectations_are_bounded_and_one_example_is_like_many(spec, students, examples):
    angles, weights = inputs(spec, students, examples)
    results, angle_grads, _ = run(spec, angles, weights)
    assert results.shape == (students, examples, observable_count(spec))
    assert results.abs().max() <= 1 + 1e-5
    last = run(spec, angles[:, -1:], weights)
    assert torch.equal(last[0], results[:, -1:])
    assert torch.equal(last[1], angle_grads[:, -1:])


@properties
@given(SPECS, st.integers(1, 9))
def test_two_dimensions_are_one_student_of_three(spec, examples):
    angles, weights = inputs(spec, 1, examples)
    flat, stacked = run(spec, angles[0], weights[0]), run(spec, angles, weights)
    assert all(torch.equal(one, many[0]) for one, many in zip(flat, stacked, strict=True))


@properties
@given(SPECS, st.integers(1, 3), st.integers(1, 9))
def test_memory_layout_does_not_matter(spec, students, examples):
    angles, weights = inputs(spec, students, examples)
    plain = run(spec, angles, weights)
    transposed = angles.permute(2, 0, 1).contiguous().permute(1, 2, 0)
    every_other = torch.stack([weights, weights], dim=-1).flatten(1)[:, ::2]
    for ours, theirs in zip(run(spec, transposed, every_other), plain, strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("layers", [2, 11])
def test_a_student_is_the_same_to_the_bit_alone_and_among_five(layers):
    spec = qdllm.CircuitSpec(layers=layers)
    angles, weights = inputs(spec, 5, 11)
    together = run(spec, angles, weights)
    for s in range(5):
        alone = run(spec, angles[s : s + 1], weights[s : s + 1])
        for ours, theirs in zip(alone, together, strict=True):
            assert torch.equal(ours[0], theirs[s])


def test_runs_repeat_to_the_bit_whatever_runs_beside_them():
    spec, other = qdllm.CircuitSpec(layers=3), qdllm.CircuitSpec(ansatz="textbook", qubits=9)
    case, disturbance = inputs(spec, 2, 8), inputs(other, 1, 20)
    first = run(spec, *case)
    again: list[tuple[Tensor, ...]] = []
    threads = [
        threading.Thread(target=lambda: again.extend(run(spec, *case) for _ in range(20))),
        threading.Thread(target=lambda: [run(other, *disturbance) for _ in range(20)]),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(again) == 20
    for repeat in again:
        assert all(torch.equal(ours, theirs) for ours, theirs in zip(repeat, first, strict=True))


def test_a_second_backward_through_a_kept_graph_repeats_the_first():
    spec = qdllm.CircuitSpec(qubits=6)
    angles, weights = (t.requires_grad_() for t in inputs(spec, 1, 4))
    total = qdllm.expectations(spec, angles, weights).sum()
    first = torch.autograd.grad(total, (angles, weights), retain_graph=True)
    second = torch.autograd.grad(total, (angles, weights))
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(second, first, strict=True))


def test_evaluation_without_gradients_is_the_same_to_the_bit():
    spec = qdllm.CircuitSpec(qubits=9, layers=2)
    angles, weights = inputs(spec, 3, 19)
    kept = run(spec, angles, weights)[0]
    assert torch.equal(qdllm.expectations(spec, angles, weights), kept)
    with torch.no_grad():
        assert torch.equal(qdllm.expectations(spec, angles.requires_grad_(), weights), kept)


@pytest.mark.parametrize("layers", [1, 2, 5])
def test_the_last_qubit_of_the_published_circuit_is_cos_of_its_angle(layers):
    spec = qdllm.CircuitSpec(layers=layers)
    angles, weights = inputs(spec, 1, 4, torch.float64)
    results, _, weight_grads = run(spec, angles, weights)
    torch.testing.assert_close(results[..., 10], angles[..., 10].cos(), rtol=0, atol=1e-12)
    names = qdllm.weight_names(spec)
    dead = [
        name.startswith(f"layer{layers - 1}.rz_") or (".rz_" in name and name.endswith(".10"))
        for name in names
    ]
    assert torch.equal(weight_grads[0] == 0, torch.tensor(dead))


def test_angles_far_from_zero_wrap_around():
    # A multiple of 4π is the identity; float64 holds it to 1e-9 at these sizes.
    spec = qdllm.CircuitSpec(qubits=4, layers=2)
    angles, weights = inputs(spec, 1, 3, torch.float64)
    near = qdllm.expectations(spec, angles, weights)
    for turns in (100, 10**6):
        far = qdllm.expectations(spec, angles + 4 * math.pi * turns, weights - 4 * math.pi * turns)
        torch.testing.assert_close(far, near, rtol=0, atol=1e-15 * 4 * math.pi * turns * 100)
    huge = qdllm.expectations(spec, torch.full_like(angles, 1e300), weights)
    assert huge.abs().max() <= 1 + 1e-12


SPEC = qdllm.CircuitSpec(qubits=3, layers=1)
WEIGHTS = qdllm.weight_count(SPEC)


@pytest.mark.parametrize(
    ("angles", "weights", "message"),
    [
        ((4, 2), (WEIGHTS,), r"\(4, 2\) with .* were given, but 'published' on 3 qubits"),
        ((4, 3), (WEIGHTS + 1,), rf"takes \(N, 3\) with \({WEIGHTS},\), or \(S, N, 3\)"),
        ((2, 4, 3), (3, WEIGHTS), r"\(2, 4, 3\) with weights \(3, "),
        ((2, 4, 3), (WEIGHTS,), "were given"),
        ((3,), (WEIGHTS,), "were given"),
        ((0, 4, 3), (0, WEIGHTS), "give at least one student and one example"),
        ((2, 0, 3), (2, WEIGHTS), "give at least one student and one example"),
        ((0, 3), (WEIGHTS,), "give at least one student and one example"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(angles, weights, message):
    with pytest.raises(ConfigError, match=message):
        qdllm.expectations(SPEC, torch.zeros(angles), torch.zeros(weights))


@pytest.mark.parametrize(
    ("angles", "weights"),
    [
        (torch.float32, torch.float64),
        (torch.float16, torch.float16),
        (torch.int64, torch.int64),
        (torch.complex64, torch.complex64),
        (torch.bfloat16, torch.bfloat16),
    ],
)
def test_precisions_that_do_not_fit_are_refused(angles, weights):
    given_angles = torch.zeros(2, 3, dtype=angles)
    with pytest.raises(ConfigError, match=f"angles are {angles} and weights {weights}, but both"):
        qdllm.expectations(SPEC, given_angles, torch.zeros(WEIGHTS, dtype=weights))


def test_devices_that_differ_are_refused():
    with pytest.raises(ConfigError, match="angles are on cpu and weights on meta; move"):
        qdllm.expectations(SPEC, torch.zeros(2, 3), torch.zeros(WEIGHTS, device="meta"))
    with pytest.raises(ConfigError, match="on meta, but the engine runs on cpu and cuda"):
        qdllm.expectations(
            SPEC, torch.zeros(2, 3, device="meta"), torch.zeros(WEIGHTS, device="meta")
        )


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("gradients", [False, True])
def test_the_first_example_that_is_not_finite_is_named(monkeypatch, engine, value, gradients):
    monkeypatch.setattr("qdllm.engine.statevector._engine", lambda tensor: engine)
    angles, weights = inputs(SPEC, 3, 12)
    angles[1, 9, 2] = angles[2, 0, 0] = value
    with pytest.raises(ConfigError, match=rf"student 1, example 9 are \[.*{value}\], but every"):
        qdllm.expectations(SPEC, angles.requires_grad_(gradients), weights)
    # The first of these weights moves the result; the other, behind the last rotation, cannot.
    for at, name in ((3, r"layer0\.rzz_delta\.0"), (-1, r"layer0\.rz_gamma\.2")):
        angles, weights = inputs(SPEC, 3, 12)
        weights[2, at] = value
        with pytest.raises(ConfigError, match=f"weight {name} of student 2 is {value}, but"):
            qdllm.expectations(SPEC, angles, weights)


@pytest.mark.gpu
@needs_gpu
def test_a_gpu_names_what_is_not_finite():
    angles, weights = (tensor.cuda() for tensor in inputs(SPEC, 3, 12))
    angles[1, 9, 2] = math.nan
    with pytest.raises(ConfigError, match=r"student 1, example 9 are \[.*nan\], but every"):
        qdllm.expectations(SPEC, angles.requires_grad_(), weights)
    with pytest.raises(ConfigError, match="angles are on cpu and weights on cuda:0; move"):
        qdllm.expectations(SPEC, angles.detach().cpu(), weights)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_loss_gradient_that_is_not_finite_is_named(monkeypatch, engine):
    monkeypatch.setattr("qdllm.engine.statevector._engine", lambda tensor: engine)
    angles, weights = inputs(SPEC, 2, 10)
    results = qdllm.expectations(SPEC, angles.requires_grad_(), weights)
    factors = torch.ones_like(results)
    factors[1, 8, 0] = math.nan
    with pytest.raises(ConfigError, match=r"student 1, example 8 is \[nan, 1, 1\]"):
        (results * factors).sum().backward()


@pytest.mark.parametrize(
    ("circuit", "students", "examples"),
    [
        ({"qubits": 11, "layers": 11}, 5, 64),
        ({"qubits": 10, "layers": 7, "encoding": "reuploading", "ansatz": "brick"}, 2, 3),
        ({"qubits": 12, "layers": 2, "encoding": "rz-ry", "observables": "z+all-zz"}, 1, 20),
    ],
)
def test_memory_is_what_the_kernels_hold(circuit, students, examples):
    spec = qdllm.CircuitSpec.parse(circuit)
    program = program_of(spec)
    _, saved, _ = cpu.forward(program, *inputs(spec, students, examples), keep=True)
    held = sum(array.nbytes for array in saved) + cpu.memory.bytes()
    held += cpu.plan_of(program).maps.nbytes
    assert program.memory(students, examples) == pytest.approx(held, rel=0.05)
