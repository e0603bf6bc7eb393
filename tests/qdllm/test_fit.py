"""Training: what is learnt, what is refused, and that seeds do not see one another."""

from functools import partial

import numpy as np
import pytest
import torch

from qdllm.circuits.spec import CircuitSpec
from qdllm.errors import TrialError
from qdllm.fit import PACES, Adam, Examples, Row, fit, gradients
from qdllm.specs import FitSpec, LossSpec
from qdllm.student import Student, circuit_core, classical_core, parameter_count

FEATURES, CLASSES = 6, 3
CIRCUIT = CircuitSpec(qubits=4, layers=2)


def separable(examples: int, seed: int) -> Examples:
    """Features around one centre per class, and a teacher who is right and nearly sure."""
    generator = torch.Generator().manual_seed(seed)
    labels_N = torch.randint(0, CLASSES, (examples,), generator=generator)
    centres_CH = 2 * torch.eye(CLASSES, FEATURES)
    noise_NH = 0.3 * torch.randn(examples, FEATURES, generator=generator)
    teacher_NC = 4 * torch.eye(CLASSES)[labels_N]
    return Examples(centres_CH[labels_N] + noise_NH, teacher_NC, labels_N)


TRAIN, VALIDATION = separable(60, 0), separable(40, 1)


def train(seeds, *, lr=0.05, alpha=0.5, core=None, epochs=4, batch_size=8):
    student = Student(core or circuit_core(CIRCUIT, "raw"), FEATURES, CLASSES, seeds)
    rates = lr if isinstance(lr, list) else [lr] * len(seeds)
    alphas = alpha if isinstance(alpha, list) else [alpha] * len(seeds)
    rows = [
        Row(seed, LossSpec(alpha=alpha), FitSpec(epochs=epochs, batch_size=batch_size, lr=lr))
        for seed, alpha, lr in zip(seeds, alphas, rates, strict=True)
    ]
    return student, fit(student, TRAIN, VALIDATION, rows)


@pytest.mark.parametrize("core", [circuit_core(CIRCUIT, "raw"), classical_core(4)])
def test_separable_classes_are_learnt(core):
    _, fitted = train([0, 1], core=core, epochs=6)
    assert (fitted.curves["val.accuracy"][:, -1] > 0.9).all()
    loss_SE = fitted.curves["train.loss"]
    assert (loss_SE[:, -1] < loss_SE[:, 0]).all()
    assert len(fitted.seconds_E) == 6


def test_a_seed_is_the_same_to_the_bit_alone_and_among_five():
    torch.set_num_threads(1)
    together, curves = train([3, 1, 4, 0, 5])
    for row, seed in enumerate([3, 1, 4, 0, 5]):
        alone, own = train([seed])
        assert torch.equal(alone.parameters_SP[0], together.parameters_SP[row])
        for name, curve_SE in own.curves.items():
            assert torch.equal(curve_SE[0], curves.curves[name][row]), name


def test_a_population_may_differ_in_learning_rate_and_alpha():
    together, _ = train([0, 0], lr=[0.05, 0.001], alpha=[0.9, 0.0])
    for row, (lr, alpha) in enumerate([(0.05, 0.9), (0.001, 0.0)]):
        alone, _ = train([0], lr=lr, alpha=alpha)
        assert torch.equal(alone.parameters_SP[0], together.parameters_SP[row])


@pytest.mark.parametrize(
    ("loss", "how"), [(LossSpec(temperature=1), FitSpec()), (LossSpec(), FitSpec(batch_size=4))]
)
def test_a_population_differs_in_nothing_else(loss, how):
    student = Student(classical_core(4), FEATURES, CLASSES, [0, 1])
    rows = [Row(0, LossSpec(), FitSpec()), Row(1, loss, how)]
    with pytest.raises(AssertionError, match="differ in seed, alpha and learning rate alone"):
        fit(student, TRAIN, VALIDATION, rows)


def test_adam_is_torchs_adam():
    student = Student(classical_core(4), FEATURES, CLASSES, [0, 1])
    theirs = student.parameters_SP.clone().requires_grad_()
    peer = torch.optim.Adam([theirs], lr=0.01)
    ours = Adam(student, torch.full((2,), 0.01))
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        theirs.grad = torch.randn(theirs.shape, generator=generator)
        ours.step(theirs.grad)
        peer.step()
    torch.testing.assert_close(student.parameters_SP, theirs.detach(), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_a_schedule_is_torchs_schedule(schedule):
    steps = 4 * 8  # epochs of 60 examples in batches of 8
    student = Student(classical_core(4), FEATURES, CLASSES, [0])
    theirs = student.parameters_SP.clone().requires_grad_()
    peer = torch.optim.Adam([theirs], lr=0.01)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(peer, steps)
    ours = Adam(student, torch.full((1,), 0.01), partial(PACES[schedule], steps))
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        theirs.grad = torch.randn(theirs.shape, generator=generator)
        ours.step(theirs.grad)
        peer.step()
        if schedule == "cosine":
            falling.step()
    torch.testing.assert_close(student.parameters_SP, theirs.detach(), rtol=1e-5, atol=1e-7)


def test_a_falling_rate_leaves_the_last_epoch_little_to_change():
    def moved(schedule: str) -> float:
        student, seen = Student(classical_core(4), FEATURES, CLASSES, [0]), []
        spec = FitSpec(epochs=12, batch_size=8, schedule=schedule)
        row = Row(0, LossSpec(), spec)
        fit(
            student,
            TRAIN,
            VALIDATION,
            [row],
            lambda *_: seen.append(student.parameters_SP.clone()),
        )
        return float((seen[-1] - seen[-2]).norm())

    assert moved("cosine") < moved("constant") / 4


def fixed(logits: torch.Tensor, slope: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A loss whose gradient is given."""
    return (logits * slope).sum((1, 2)), slope


@pytest.mark.parametrize(("examples", "features"), [(203, 384), (7, 384), (64, 768), (11, 385)])
def test_odd_sizes_are_the_same_to_the_bit_alone_and_among_five(examples, features):
    """BLAS may sum otherwise where a student's matrix is not aligned, as in a last, short batch."""
    torch.set_num_threads(1)
    core = circuit_core(CircuitSpec(qubits=11, layers=1), "raw")
    generator = torch.Generator().manual_seed(0)
    texts = torch.randn(5, examples, features, generator=generator)
    slope = torch.randn(5, examples, CLASSES, generator=generator)
    together = Student(core, features, CLASSES, range(5))
    logits = together(texts)
    _, whole = gradients(together, texts, partial(fixed, slope=slope))
    for seed in range(5):
        alone = Student(core, features, CLASSES, [seed])
        own = slice(seed, seed + 1)
        assert torch.equal(alone(texts[own])[0], logits[seed])
        _, mine = gradients(alone, texts[own], partial(fixed, slope=slope[own]))
        assert torch.equal(mine[0], whole[seed])


@pytest.mark.parametrize("core", [circuit_core(CIRCUIT, "minmax"), classical_core(4)])
def test_the_gradients_written_out_are_autograds(core):
    student = Student(core, FEATURES, CLASSES, [0, 1], dtype=torch.float64)
    features = TRAIN.features_NH.double().expand(2, -1, -1)
    generator = torch.Generator().manual_seed(0)
    shape = (2, len(TRAIN.labels_N), CLASSES)
    slope = torch.randn(shape, generator=generator, dtype=torch.float64)
    _, ours = gradients(student, features, partial(fixed, slope=slope))
    theirs = torch.autograd.grad(
        student(features), list(student.parameters()), slope, materialize_grads=True
    )
    flat = torch.cat([leaf.flatten(1) for leaf in theirs], dim=1)
    torch.testing.assert_close(ours, flat, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("core", [circuit_core(CIRCUIT, "raw"), classical_core(4)])
@pytest.mark.parametrize("batch_size", [8, 60])
def test_divergence_names_seeds_epoch_and_learning_rate(core, batch_size):
    message = r"diverged in epoch [12] for seeds \[7\]: .* try a learning rate below 1e\+38"
    with pytest.raises(TrialError, match=message):
        train([7], lr=1e38, core=core, batch_size=batch_size)


def test_predictions_do_not_depend_on_the_chunk(monkeypatch):
    student, _ = train([0], epochs=1)
    whole = student.predict(VALIDATION.features_NH)
    monkeypatch.setattr("qdllm.student.CHUNK", 7)
    torch.testing.assert_close(student.predict(VALIDATION.features_NH), whole, rtol=0, atol=1e-6)


def test_the_papers_student_has_9275_parameters():
    core = circuit_core(CircuitSpec(ansatz="published", qubits=11, layers=11), "raw")
    assert parameter_count(core, features=768, classes=2) == 9275
    student = Student(core, 768, 2, [0])
    assert sum(leaf.numel() for leaf in student.parameters()) == 9275


def test_minmax_stretches_each_texts_angles_to_0_and_10():
    seen = []

    def spy(spec, angles_SNQ, weights_SW):
        seen.append(angles_SNQ)
        return torch.cos(angles_SNQ)

    core = circuit_core(CIRCUIT, "minmax", simulate=spy)
    Student(core, FEATURES, CLASSES, [0])(TRAIN.features_NH)
    np.testing.assert_allclose(seen[0].amin(-1).detach(), 0, atol=1e-6)
    np.testing.assert_allclose(seen[0].amax(-1).detach(), 10, atol=1e-5)
