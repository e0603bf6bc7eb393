"""The two families that a circuit has to beat: against libraries, and beside which students."""

import numpy as np
import pytest
import torch
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from qdllm.circuits.spec import CircuitSpec
from qdllm.errors import TrialError
from qdllm.families import families, linear, quantum, tanh
from qdllm.families.linear import LinearSpec
from qdllm.families.quantum import StudentSpec
from qdllm.families.tanh import TanhSpec, width_within
from qdllm.fit import Examples
from qdllm.spec import fingerprint
from qdllm.specs import EncoderSpec, FitSpec, LossSpec, TaskSpec
from qdllm.student import classical_core

FEATURES = 6


def overlapping(classes: int, examples: int, seed: int) -> Examples:
    """Columns of scales from a thousandth to a thousand, and classes that cannot be told apart."""
    generator = torch.Generator().manual_seed(seed)
    labels_N = torch.randint(0, classes, (examples,), generator=generator)
    noise_NH = torch.randn(examples, FEATURES, generator=generator)
    scales_H = torch.logspace(-3, 3, FEATURES)
    features_NH = (torch.eye(classes, FEATURES)[labels_N] + noise_NH + 2) * scales_H
    return Examples(features_NH, None, labels_N)


@pytest.mark.parametrize("classes", [2, 3])
def test_a_linear_probe_is_sklearns_whose_strength_validation_chose(classes):
    train, validation, test = (overlapping(classes, size, size) for size in (90, 61, 50))
    pipelines = [
        make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=500)).fit(
            train.features_NH.numpy(), train.labels_N.numpy()
        )
        for strength in linear.STRENGTHS
    ]
    scores = [one.score(validation.features_NH.numpy(), validation.labels_N) for one in pipelines]
    assert len(set(scores)) > 1
    theirs = pipelines[int(np.argmax(scores))]
    found = linear.FAMILY.train(LinearSpec(), train, validation, lambda *_: None)
    assert found.curves["val.accuracy"].item() == pytest.approx(max(scores), abs=1e-12)
    model = linear.FAMILY.restore(LinearSpec(), FEATURES, classes, found.parameters_SP)
    ours_NC = softmax(model.predict(test.features_NH)[0].numpy(), axis=-1)
    # sklearn standardises in float32; here that is part of the weights, in float64.
    expected_NC = theirs.predict_proba(test.features_NH.numpy())
    np.testing.assert_allclose(ours_NC, expected_NC, rtol=1e-4, atol=1e-5)
    for name, part in (("train", train), ("val", validation)):
        loss = log_loss(part.labels_N, theirs.predict_proba(part.features_NH.numpy()))
        assert found.curves[f"{name}.loss"].item() == pytest.approx(loss, rel=1e-4)


def test_a_probes_predictions_do_not_depend_on_the_chunk(monkeypatch):
    split = overlapping(3, 60, 0)
    found = linear.FAMILY.train(LinearSpec(), split, split, lambda *_: None)
    model = linear.FAMILY.restore(LinearSpec(), FEATURES, 3, found.parameters_SP)
    whole = model.predict(split.features_NH)
    monkeypatch.setattr(linear, "CHUNK", 7)
    torch.testing.assert_close(model.predict(split.features_NH), whole, rtol=1e-12, atol=1e-12)


def test_a_head_is_a_tanh_between_two_linear_layers():
    spec = TanhSpec(circuit=CircuitSpec(qubits=3, layers=2))
    size = tanh.FAMILY.parameters(spec, FEATURES, 3)
    width = (size - 3) // (FEATURES + 4)
    assert width > 1
    parameters_SP = torch.randn(2, size, generator=torch.Generator().manual_seed(0))
    features_NH = torch.randn(5, FEATURES, generator=torch.Generator().manual_seed(1))
    logits_SNC = tanh.FAMILY.restore(spec, FEATURES, 3, parameters_SP).predict(features_NH)
    for row, values_P in enumerate(parameters_SP.numpy()):
        sizes = (width * FEATURES, width, 3 * width, 3)
        inner, inner_bias, outer, outer_bias = np.split(values_P, np.cumsum(sizes)[:-1])
        hidden = np.tanh(features_NH.numpy() @ inner.reshape(width, FEATURES).T + inner_bias)
        expected = hidden @ outer.reshape(3, width).T + outer_bias
        np.testing.assert_allclose(logits_SNC[row], expected, rtol=1e-4, atol=1e-5)


def test_a_deeper_head_has_a_tanh_between_all_its_layers():
    spec = TanhSpec(circuit=CircuitSpec(qubits=4, layers=1), deeper=(5, 2))
    size = tanh.FAMILY.parameters(spec, FEATURES, 3)
    width = width_within(size, FEATURES, 3, (5, 2))
    parameters_SP = torch.randn(2, size, generator=torch.Generator().manual_seed(0))
    features_NH = torch.randn(4, FEATURES, generator=torch.Generator().manual_seed(1))
    model = tanh.FAMILY.restore(spec, FEATURES, 3, parameters_SP)
    for row, values_P in enumerate(parameters_SP.numpy()):
        sizes = (width * FEATURES, width, width * 5, 5, 5 * 2, 2, 3 * 2, 3)
        parts = np.split(values_P, np.cumsum(sizes)[:-1])
        hidden = np.tanh(features_NH.numpy() @ parts[0].reshape(width, FEATURES).T + parts[1])
        hidden = np.tanh(hidden @ parts[2].reshape(width, 5) + parts[3])
        hidden = np.tanh(hidden @ parts[4].reshape(5, 2) + parts[5])
        expected = hidden @ parts[6].reshape(3, 2).T + parts[7]
        np.testing.assert_allclose(
            model.predict(features_NH)[row].numpy(), expected, rtol=1e-4, atol=1e-5
        )


def test_a_deeper_heads_layers_start_as_torchs_do_and_learn():
    core = classical_core(3, 64, 2)
    drawn = core.draw(torch.Generator().manual_seed(0))
    first, second = drawn.split([4 * 64, 65 * 2])
    for part, fan_in in ((first, 3), (second, 64)):
        assert 0.9 / fan_in**0.5 < part.abs().max() <= 1 / fan_in**0.5
    split = overlapping(2, 90, 0)
    spec = TanhSpec.parse(
        {"circuit": {"qubits": 4}, "deeper": [8], "fit": {"lr": 0.02, "epochs": 8}, "seeds": [0, 3]}
        | {"teacher": {"model": "none"}, "loss": {"alpha": 0}}
    )
    scaled = split._replace(features_NH=split.features_NH / split.features_NH.std(0))
    found = tanh.FAMILY.train(spec, scaled, scaled, lambda *_: None)
    assert (found.curves["train.loss"][:, -1] < found.curves["train.loss"][:, 0] - 0.1).all()
    alone = spec.model_copy(update={"seeds": (3,)})
    apart = tanh.FAMILY.train(alone, scaled, scaled, lambda *_: None)
    assert torch.equal(apart.parameters_SP[0], found.parameters_SP[1])


@pytest.mark.parametrize("features", [4, 384, 768])
@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("layers", [1, 11])
@pytest.mark.parametrize("deeper", [(), (3,), (3, 1)])
def test_a_head_is_as_large_as_it_can_be_within_its_students_size(
    features, classes, layers, deeper
):
    circuit = CircuitSpec(layers=layers)
    ours = quantum.FAMILY.parameters(StudentSpec(circuit=circuit), features, classes)
    theirs = tanh.FAMILY.parameters(TanhSpec(circuit=circuit, deeper=deeper), features, classes)
    one_unit = features + 1 + (*deeper, classes)[0]
    assert theirs <= ours < theirs + one_unit


def test_a_head_has_a_unit_where_none_would_fit():
    assert width_within(3, features=100, classes=2) == 1


def test_layers_that_leave_no_room_for_a_first_one_are_refused():
    spec = TanhSpec(circuit=CircuitSpec(qubits=2, layers=1), deeper=(64, 64))
    with pytest.raises(TrialError, match=r"deeper: \[64, 64\] leaves no unit .* fewer or narr"):
        tanh.FAMILY.parameters(spec, FEATURES, 2)


TASK, ENCODER = TaskSpec(seed=3), EncoderSpec(pooling="first")


def students(**settings) -> list[StudentSpec]:
    shared = StudentSpec(task=TASK, encoder=ENCODER, seeds=(1, 2))
    small = shared.model_copy(update={"circuit": CircuitSpec(layers=1)} | settings)
    return [small, small.model_copy(update={"circuit": CircuitSpec(layers=4)})]


def test_heads_stand_beside_students_in_each_way_that_those_are_trained():
    ways = [(LossSpec(alpha=alpha), FitSpec(lr=lr)) for alpha in (0.0, 0.9) for lr in (0.1, 0.2)]
    asked = [spec for loss, fit in ways for spec in students(loss=loss, fit=fit)]
    heads = tanh.FAMILY.beside(asked)
    assert {(head.loss, head.fit) for head in heads} == set(ways)
    assert len(heads) == len(ways)
    for head in heads:
        assert (head.task, head.encoder, head.seeds) == (TASK, ENCODER, (1, 2))
        assert head.circuit == CircuitSpec(layers=4), "the largest student's"
    # In whatever order they are asked for, they are the same heads.
    assert tanh.FAMILY.beside(asked[::-1]) == heads


def test_one_probe_stands_beside_all_that_read_the_same_features():
    asked = students(fit=FitSpec(lr=0.1)) + students()
    assert linear.FAMILY.beside(asked) == [LinearSpec(task=TASK, encoder=ENCODER)]
    assert linear.FAMILY.beside([TanhSpec(encoder=ENCODER)]) == [LinearSpec(encoder=ENCODER)]


def test_no_head_stands_beside_trials_without_a_circuit():
    assert tanh.FAMILY.beside([LinearSpec(), TanhSpec()]) == []


def test_references_ask_for_no_references():
    asked = students()
    for family in families().values():
        for reference in family.beside(asked):
            assert type(reference) is family.spec


def test_another_way_of_training_is_another_head():
    assert fingerprint(TanhSpec()) != fingerprint(TanhSpec(fit=FitSpec(lr=0.2)))
    assert fingerprint(TanhSpec()) != fingerprint(TanhSpec(circuit=CircuitSpec(layers=4)))
    assert fingerprint(TanhSpec()) != fingerprint(TanhSpec(deeper=(4,)))
    assert fingerprint(LinearSpec()) == fingerprint(LinearSpec(encoder=ENCODER))
