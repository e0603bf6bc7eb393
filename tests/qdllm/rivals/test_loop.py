"""The staged loop: what is broken off ends as it would have, and rivals without their terms are
their control."""

import json
import time
from collections.abc import Mapping
from typing import Any

import pytest
import readings
import torch
from torch import Tensor

from qdllm import families
from qdllm.batches import scheduled
from qdllm.errors import TrialError
from qdllm.families import Family, lsfls
from qdllm.fit import Examples
from qdllm.rivals import course, loop
from qdllm.rivals.bodies import vector
from qdllm.spec import fingerprint
from qdllm.specs import TrialSpec

CLASSES = 3


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def parsed(name: str, **settings: Any) -> tuple[Family[Any], TrialSpec]:
    family = families.family(name)
    return family, family.spec.parse(readings.settings(family) | {"seeds": [4, 0]} | settings)


def trained(name: str, kept: Any = None, **settings: Any):
    family, spec = parsed(name, **settings)
    splits = [readings.separable(family, spec, CLASSES, *drawn) for drawn in ((45, 0), (31, 1))]
    return family.train(spec, *splits, lambda *_: None, kept=kept)


class Broken(Exception):
    """What ends a worker here."""


class Memory:
    """Keeps as a store does, as bytes, and ends training after so many times."""

    def __init__(self, lasts: int) -> None:
        self.lasts, self.saved, self.seen = lasts, None, 0

    def load(self) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
        if self.saved is None:
            return None
        return json.loads(self.saved[0]), {name: one.clone() for name, one in self.saved[1].items()}

    def save(self, told: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        self.saved = json.dumps(told), {name: one.clone() for name, one in tensors.items()}
        self.seen += 1
        if self.seen == self.lasts:
            raise Broken

    def first(self) -> None:
        return None


@pytest.mark.parametrize("name", ["tinybert", "lsfls", "hitin"])
def test_training_that_is_broken_off_anywhere_ends_with_the_same_bits(name, monkeypatch):
    """With maps thrown away, chosen labels, and running statistics, at every seventh step."""
    monkeypatch.setattr(loop, "KEEP_SECONDS", 0.0)
    whole, memory = trained(name), Memory(7)
    for _ in range(100):
        try:
            found = trained(name, memory)
            break
        except Broken:
            memory.seen = 0
    assert torch.equal(found.parameters_SP, whole.parameters_SP)
    for curve, values_SE in whole.curves.items():
        assert torch.equal(found.curves[curve], values_SE), curve


def test_what_the_store_takes_is_no_part_of_an_epochs_seconds(monkeypatch):
    """By a clock that only keeping moves."""
    now, memory = [0.0], Memory(0)
    save = memory.save

    def slow(*parts: Any) -> None:
        now[0] += 1000
        save(*parts)

    monkeypatch.setattr(memory, "save", slow)
    monkeypatch.setattr(loop.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(loop, "KEEP_SECONDS", 0.0)
    assert trained("hard", memory).seconds_E == [0.0, 0.0]
    assert now[0] > 0


def test_what_diverged_says_so_again(monkeypatch):
    """Nothing is kept of it that the same command would go on from."""
    monkeypatch.setattr(loop, "KEEP_SECONDS", 0.0)
    memory = Memory(0)
    for _ in range(2):
        with pytest.raises(TrialError, match="training diverged in epoch 1 for seeds \\[4\\]"):
            trained("hard", memory, tuning={"epochs": 2, "batch_size": 4, "lr": 1e30})


def test_what_another_program_kept_is_not_gone_on_from():
    memory = Memory(0)
    memory.saved = json.dumps({"curve": []}), {}
    assert torch.equal(trained("hard", memory).parameters_SP, trained("hard").parameters_SP)


OFF = {
    "pkd": {"terms": {"alpha": 0.0, "states": 0.0}},
    "distilbert": {"terms": {"kl": 0.0, "cosine": 0.0, "hard": 1.0}},
    "minillm": {"terms": {"reverse_kl": 0.0, "hard": 1.0, "hard_epochs": 1}},
    "lsfls": {"few": {"labelled": "all"}, "body": readings.BODY},
}


@pytest.mark.parametrize("name", OFF)
def test_a_rival_without_its_own_terms_is_its_control_to_the_bit(name):
    control, rival = trained("hard"), trained(name, **OFF[name])
    assert torch.equal(rival.parameters_SP, control.parameters_SP)


def test_tinybert_without_its_own_terms_is_its_narrow_bodys_control():
    body = readings.OWN["tinybert"]["body"]
    terms = {"transformer_epochs": 0, "prediction": 0.0, "hard": 1.0}
    assert torch.equal(
        trained("tinybert", terms=terms).parameters_SP, trained("hard", body=body).parameters_SP
    )


@pytest.mark.parametrize("name", ["pkd", "distilbert", "minillm", "kl"])
def test_a_rival_with_them_is_not(name):
    control = trained("hard")
    assert not torch.equal(trained(name).parameters_SP, control.parameters_SP)


@pytest.mark.parametrize("name", ["pkd", "distilbert", "tinybert"])
def test_under_a_teacher_of_another_model_it_says_what_falls_away_and_trains(name, tmp_path):
    import tiny_models

    family, own = parsed(name)
    assert family.lacks(own) == ()
    other = tiny_models.save("bloom", tmp_path)
    teacher = {"model": other, "max_length": 16, "rank": 2}
    assert families.of(own).lacks(parsed(name, teacher=teacher)[1])
    spec = parsed(name, teacher=teacher)[1]
    assert "adapter" not in family.sources(spec)
    assert "teacher_states" in family.sources(spec)
    family.check(spec, [15, 15, 15])
    found = trained(name, teacher=teacher)
    size = family.parameters(spec, 0, CLASSES)
    assert found.parameters_SP.shape == (2, size), "maps are thrown away"


def test_tinyberts_first_stage_does_not_hold_the_second_back():
    """Sixty steps of larger gradients before: it passes its narrow body's control all the same."""
    own = {"epochs": 10, "batch_size": 16, "lr": 0.03, "dropout": 0.0}
    terms, body = {"transformer_epochs": 20}, readings.OWN["tinybert"]["body"]
    taught = trained("tinybert", seeds=[4], terms=terms, training=own)
    control = trained("hard", seeds=[4], body=body, tuning=own)
    at, by = (found.curves["val.accuracy"][0, -1] for found in (taught, control))
    assert at >= by - 0.05
    assert by > 0.9


def test_learning_rates_warm_up_and_decay_over_all_stages_alike():
    steps = [scheduled(1.0, 0.25, step, 8) for step in range(8)]
    assert steps == pytest.approx([1 / 3, 2 / 3, 1.0, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6])
    stages = [
        course.Stage(2, None),
        course.Stage(1, None),
        course.Stage(1, None, lambda predict: None),
        course.Stage(2, None, fresh=True),
    ]
    places = [(epoch.at, epoch.of) for epoch in course.epochs(stages)]
    assert places == [(0, 3), (1, 3), (2, 3), (0, 1), (0, 2), (1, 2)]


def test_passes_of_one_epoch_train_as_so_many_epochs_do_and_are_measured_once():
    """Where one batch holds all texts and nothing is dropped, so that chance has no part."""
    family, spec = parsed("hard", tuning={"batch_size": 45, "dropout": 0.0, "lr": 0.003})
    splits = [readings.separable(family, spec, CLASSES, *drawn) for drawn in ((45, 0), (31, 1))]
    begin = family.beginning(spec, CLASSES)

    def curves(epochs: int, passes: int) -> dict[str, Tensor]:
        def make(seed: int) -> course.Course:
            made = course.on_labels(epochs)(begin(seed), seed)
            return made._replace(stages=[made.stages[0]._replace(passes=passes)])

        return loop.train(spec.tuning, spec.seeds, make, *splits, lambda *_: None).curves

    single, double = curves(6, 1), curves(3, 2)
    torch.testing.assert_close(double["val.loss"], single["val.loss"][:, 1::2], rtol=1e-3, atol=0)
    mean = single["train.loss"].unflatten(1, (3, 2)).mean(2)
    torch.testing.assert_close(double["train.loss"], mean, rtol=1e-3, atol=0)
    assert (mean[:, -1] < mean[:, 0]).all()


def test_few_labels_are_drawn_of_each_class_from_the_training_split_alone():
    labels_N = torch.arange(60) % 3
    rows_N = lsfls.drawn(labels_N, 4, 3, seed=1)
    assert labels_N[rows_N].bincount().tolist() == [4, 4, 4]
    assert len(set(rows_N.tolist())) == 12
    assert not torch.equal(rows_N, lsfls.drawn(labels_N, 4, 3, seed=2))


def test_the_clearest_of_each_predicted_class_join_and_no_labelled_text_twice():
    sure_N = torch.tensor([9.0, 1.0, 5.0, 3.0, 7.0, 2.0, 8.0, 4.0])
    logits_NC = torch.stack([sure_N, torch.zeros(8)], 1)
    logits_NC[4:] = logits_NC[4:].flip(1)
    rows_N, labels_N = lsfls.clearest(logits_NC, torch.tensor([0, 6]), 0.7)
    # Of rows 1 to 3 and of 4, 5 and 7, two each.
    assert rows_N.tolist() == [2, 3, 4, 7]
    assert labels_N.tolist() == [0, 0, 1, 1]


def test_each_round_labels_more_and_begins_with_the_body_as_it_was(monkeypatch):
    """Round r takes r times the share, and trains the body that the first one had (Wang 2023)."""
    clearest, begin, shares, begun = lsfls.clearest, loop._Row._begin, [], []

    def chosen(logits_NC: Tensor, labelled_N: Tensor, share: float) -> tuple[Tensor, Tensor]:
        shares.append(share)
        return clearest(logits_NC, labelled_N, share)

    def heard(row: Any, stage: course.Stage) -> None:
        begin(row, stage)
        begun.append(vector(row.net))

    monkeypatch.setattr(lsfls, "clearest", chosen)
    monkeypatch.setattr(loop._Row, "_begin", heard)
    few = {"labelled": 2, "rounds": 2, "share": 0.3}
    (ended_P,) = trained("lsfls", seeds=[4], few=few).parameters_SP
    assert shares == [0.3, 0.6]
    family, spec = parsed("lsfls", seeds=[4], few=few)
    fresh_P = vector(family.beginning(spec, CLASSES)(4))
    assert len(begun) == 3
    assert all(torch.equal(begun_P, fresh_P) for begun_P in begun)
    assert not torch.equal(ended_P, fresh_P)


def test_what_a_round_labels_is_part_of_its_seconds(monkeypatch):
    own, waits = loop.logits, 0.2

    def slow(net: Any, ids_NT: Tensor) -> Tensor:
        if len(ids_NT) == 45:
            time.sleep(waits)
        return own(net, ids_NT)

    monkeypatch.setattr(loop, "logits", slow)
    seconds_E = trained("lsfls", seeds=[4]).seconds_E
    assert len(seconds_E) == 2
    assert seconds_E[1] >= waits, "the training split, which has 45 texts"


def test_self_training_sees_no_label_but_those_it_was_given():
    """Other labels of all other texts change nothing."""
    family, spec = parsed("lsfls", seeds=[4])
    split, validation = (
        readings.separable(family, spec, CLASSES, *drawn) for drawn in ((45, 0), (31, 1))
    )
    given_N = lsfls.drawn(split.labels_N, spec.few.labelled, CLASSES, 4)

    def same(labels_N: Tensor, each: int, classes: int, seed: int) -> Tensor:
        return given_N

    found = []
    for shift in (0, 1):
        labels_N = (split.labels_N + shift) % CLASSES
        labels_N[given_N] = split.labels_N[given_N]
        examples = Examples(split.features_NH, None, labels_N)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(lsfls, "drawn", same)
            found.append(family.train(spec, examples, validation, lambda *_: None))
    assert torch.equal(found[0].parameters_SP, found[1].parameters_SP)


@pytest.mark.parametrize("name", ["pkd", "tinybert", "textrcnn"])
def test_training_in_bfloat16_goes_the_way_of_float32(name):
    family = families.family(name)
    settings = readings.settings(family)
    group = "tuning" if "tuning" in settings else "training"
    rounded = {group: settings[group] | {"precision": "bfloat16", "lr": 0.003}}
    whole = {group: settings[group] | {"lr": 0.003}}
    found, wanted = trained(name, **rounded), trained(name, **whole)
    assert not torch.equal(found.parameters_SP, wanted.parameters_SP)
    for curve in ("train.loss", "val.loss"):
        torch.testing.assert_close(found.curves[curve], wanted.curves[curve], rtol=0.01, atol=0)
    prints = [fingerprint(family.spec.parse(settings | each)) for each in (whole, rounded)]
    assert len({*prints}) == 2
