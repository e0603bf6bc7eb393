"""What holds for every family of trainable models, whichever there are."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import readings
import torch
from checkout import ROOT

from qdllm import families, saved
from qdllm.encoder import Encoder
from qdllm.errors import ConfigError, TrialError
from qdllm.families import Family
from qdllm.fit import Examples
from qdllm.metrics import classification
from qdllm.predictor import Predictor
from qdllm.spec import fingerprint
from qdllm.specs import EncoderSpec, TrialSpec

FEATURES = 6
SMALL = {
    "circuit": {"qubits": 3, "layers": 1},
    "fit": {"epochs": 3, "batch_size": 16, "lr": 0.05},
    "kernel": {"qubits": 3, "layers": 1, "pad": 1, "scale": 1.0},
    "seeds": [4, 0, 7],
}
"""Little work for each; a family takes what its spec has."""
GOLDEN = {
    "distilbert": "8d7ab64fc33322df",
    "hard": "55c761dd6120b93c",
    "hitin": "25502d0fc8f5970e",
    "kl": "e516aea388f25618",
    "linear": "b5b30cc2c444c1f3",
    "lsfls": "a3abb39cfc82e8c5",
    "minillm": "2bfdee1e63c433d9",
    "pkd": "36f3f01aef62c317",
    "qtc": "ef4ebcf5c0b21d9c",
    "quantum": "c1c867100a9d8f4f",
    "tanh": "b58daad92f8ea117",
    "textrcnn": "066fd65e11003db1",
    "tinybert": "4fabfab64cedde14",
}
"""Fingerprints of the default specs. A change here makes every user train everything anew."""

every = pytest.mark.parametrize("family", families.families().values(), ids=lambda one: one.name)
both = pytest.mark.parametrize("classes", [2, 3])
learnt = pytest.mark.parametrize(
    ("family", "classes"),
    [
        pytest.param(family, classes, id=f"{family.name}-{classes}")
        for family in families.families().values()
        for classes in ((3,) if family.long else (2, 3))
    ],
)
"""Two classes are a case of their own where a head is written out; bodies have torch's."""


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """As trials run."""
    torch.set_num_threads(1)


def small(family: Family[Any], **settings: Any) -> TrialSpec:
    own = {
        key: value | settings.get(key, {}) if isinstance(value, dict) else settings.get(key, value)
        for key, value in (SMALL | readings.settings(family)).items()
        if key in family.spec.model_fields
    }
    return family.spec.parse(own)


def fitted(family: Family[Any]) -> str | None:
    """The group of settings that says how a family is trained."""
    return next((key for key in ("fit", "tuning", "training") if has(family, key)), None)


def longer(family: Family[Any], **settings: Any) -> TrialSpec:
    """A small spec with other settings of its training."""
    group = fitted(family)
    return small(family, **({group: settings} if group else {}))


def has(family: Family[Any], field: str) -> bool:
    return field in family.spec.model_fields


def separable(family: Family[Any], classes: int, examples: int, seed: int) -> Examples:
    """Features around one centre per class; a teacher who is right and nearly sure, if one is
    read. Of a family that reads tokens, words that tell their class."""
    if family.long:
        return readings.separable(family, small(family), classes, examples, seed)
    generator = torch.Generator().manual_seed(seed)
    labels_N = torch.arange(examples) % classes
    noise_NH = 0.3 * torch.randn(examples, FEATURES, generator=generator)
    teacher_NC = 4 * torch.eye(classes)[labels_N]
    return Examples(
        2 * torch.eye(classes, FEATURES)[labels_N] + noise_NH,
        teacher_NC if "soft_labels" in family.reads else None,
        labels_N,
    )


def trained(family: Family[Any], classes: int, spec: TrialSpec | None = None, scale: float = 1.0):
    """What training leaves, and all that was reported meanwhile."""
    reports: list[tuple[int, dict[str, torch.Tensor]]] = []
    splits = [separable(family, classes, *drawn) for drawn in ((45, 0), (31, 1))]
    training, validation = (
        split if scale == 1.0 else split._replace(features_NH=split.features_NH * scale)
        for split in splits
    )
    found = family.train(
        spec or small(family),
        training,
        validation,
        lambda epoch, values: reports.append((epoch, values)),
    )
    return found, reports


@learnt
def test_separable_classes_are_learnt(family, classes):
    spec = longer(family, epochs=14 if family.long else 8)
    if family.long:
        spec = spec.model_copy(update={"seeds": (4,)})
    curves = trained(family, classes, spec)[0].curves
    assert (curves["val.accuracy"][:, -1] > 0.8).all()


@learnt
def test_every_epoch_is_reported_with_the_curves_values(family, classes):
    spec = small(family)
    found, reports = trained(family, classes, spec)
    rows, epochs = len(spec.seeds), family.epochs(spec)
    assert [epoch for epoch, _ in reports] == list(range(1, epochs + 1))
    assert len(found.seconds_E) == epochs
    assert len(found.parameters_SP) == rows
    assert found.curves.keys() >= {"train.loss", "val.loss", "val.accuracy", "val.f1"}
    assert ("val.agreement" in found.curves) == ("soft_labels" in family.reads)
    for name, curve_SE in found.curves.items():
        assert curve_SE.shape == (rows, epochs), name
        for epoch, values in reports:
            assert torch.equal(values[name], curve_SE[:, epoch - 1]), name


@learnt
def test_a_seed_is_the_same_to_the_bit_alone_and_among_others(family, classes):
    if not has(family, "seeds"):
        assert len(family.spec.seeds) == 1
        return
    together, _ = trained(family, classes)
    for row, seed in enumerate(small(family).seeds):
        alone, _ = trained(family, classes, small(family, seeds=[seed]))
        assert torch.equal(alone.parameters_SP[0], together.parameters_SP[row])
        for name, curve_SE in alone.curves.items():
            assert torch.equal(curve_SE[0], together.curves[name][row]), name
    assert not torch.equal(together.parameters_SP[0], together.parameters_SP[1])


@learnt
def test_the_same_spec_gives_the_same_bits_again(family, classes):
    first, second = (trained(family, classes)[0] for _ in range(2))
    assert torch.equal(first.parameters_SP, second.parameters_SP)


@learnt
def test_what_is_restored_predicts_as_training_ended(family, classes):
    spec = small(family)
    found, _ = trained(family, classes, spec)
    validation = separable(family, classes, 31, 1)
    # As they come back from a store.
    parameters_SP = torch.from_numpy(found.parameters_SP.numpy().copy())
    models = [family.restore(spec, FEATURES, classes, parameters_SP) for _ in range(2)]
    logits_SNC = models[0].predict(validation.features_NH)
    assert logits_SNC.shape == (len(spec.seeds), 31, classes)
    assert torch.equal(models[1].predict(validation.features_NH), logits_SNC)
    # Calibration is a sum over all confidences, so hardly another set of logits has the same.
    measured = classification(logits_SNC, validation.labels_N, validation.logits_NC)
    for name, value_S in measured.items():
        assert torch.equal(found.curves[f"val.{name}"][:, -1], value_S), name
    for row in range(len(spec.seeds)):
        alone = family.restore(spec, FEATURES, classes, parameters_SP[row : row + 1])
        assert torch.equal(alone.predict(validation.features_NH)[0], logits_SNC[row])


@learnt
def test_parameters_are_as_many_as_a_row_has(family, classes):
    spec = small(family)
    found, _ = trained(family, classes, spec)
    assert family.parameters(spec, FEATURES, classes) == found.parameters_SP.shape[1]


@learnt
def test_divergence_is_named_or_cannot_be(family, classes):
    if group := fitted(family):
        spec = small(family, **{group: {"lr": 1e38 if group == "fit" else 1e30}}, seeds=[7])
        with pytest.raises(TrialError, match=r"diverged in epoch \d for seeds \[7\]"):
            trained(family, classes, spec)
        return
    for scale in (0.0, 1e-6, 1e6):
        found, _ = trained(family, classes, scale=scale)
        assert found.parameters_SP.isfinite().all()
        for name, curve_SE in found.curves.items():
            assert curve_SE.isfinite().all(), name


@learnt
def test_the_features_number_and_scale_are_taken_as_they_are(family, classes):
    """A column that never changes, as an encoder may have one, is no reason to fail."""
    spec, split = small(family), separable(family, classes, 45, 0)
    constant = torch.cat([split.features_NH, torch.ones(45, 1)], dim=1)
    found = family.train(spec, *[split._replace(features_NH=constant)] * 2, lambda *_: None)
    assert found.parameters_SP.isfinite().all()
    assert family.parameters(spec, FEATURES + 1, classes) == found.parameters_SP.shape[1]


def test_families_need_neither_torch_nor_sklearn():
    code = """
import sys
from qdllm import families
from qdllm.spec import fingerprint
specs = [family.spec() for family in families.families().values()]
for spec in specs:
    family = families.of(families.parse(spec.model_dump(mode="json")))
    family.check(spec, [40, 40, 41])
    if not family.long:
        family.parameters(spec, 384, 3)
    family.work(spec), family.epochs(spec), fingerprint(spec)
    family.beside(specs)
sys.exit(", ".join({"torch", "sklearn", "numba", "scipy"} & sys.modules.keys()) or None)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@every
def test_a_spec_is_read_back_as_it_was_written(family):
    for spec in (family.spec(), small(family)):
        assert families.parse(spec.model_dump(mode="json")) == spec
        assert families.of(spec) is family
        assert spec.family == family.name


@every
def test_an_unknown_key_is_refused_with_the_nearest(family):
    with pytest.raises(ConfigError) as caught:
        families.parse({"family": family.name, "tasks": {}})
    assert str(caught.value).startswith("unknown key 'tasks'; did you mean 'task'? There are: ")
    assert all(name in str(caught.value) for name in family.spec.model_fields)
    with pytest.raises(ConfigError, match=r"unknown key 'task\.sed'; did you mean 'seed'\?"):
        families.parse({"family": family.name, "task": {"sed": 1}})


def test_a_spec_that_names_no_family_is_the_papers_student():
    assert families.parse({}) == families.family("quantum").spec()


@pytest.mark.parametrize("name", ["tahn", "", None, 1, ["tanh"], {"tanh": 1}])
def test_an_unknown_family_is_refused_with_those_that_there_are(name):
    with pytest.raises(ConfigError) as caught:
        families.parse({"family": name})
    assert str(caught.value).startswith(f"unknown family {name!r}")
    assert str(caught.value).endswith(f"There are: {', '.join(families.families())}")


def test_the_nearest_family_is_named():
    with pytest.raises(ConfigError, match=r"unknown family 'tahn'; did you mean 'tanh'\?"):
        families.family("tahn")


@pytest.mark.parametrize("name", GOLDEN)
def test_the_defaults_keep_their_fingerprints(name):
    assert fingerprint(families.family(name).spec()) == GOLDEN[name]


def test_no_two_families_share_a_name_a_kind_or_a_fingerprint():
    found = families.families().values()
    for values in (
        [one.name for one in found],
        [one.kind for one in found],
        [one.label for one in found],
        [fingerprint(one.spec()) for one in found],
    ):
        assert len(set(values)) == len(values)


TEXTS = {
    "weather": ["rain fell on the coast", "a cold wind from the north", "sunny, with some cloud"],
    "kitchen": ["stir the soup slowly", "bake the bread for an hour", "chop two onions finely"],
    "money": ["the bank raised its rates", "shares fell again today", "the price of oil rose"],
}


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder(EncoderSpec())


@pytest.mark.parametrize(
    "family",
    [one for one in families.families().values() if "features" in one.reads],
    ids=lambda one: one.name,
)
@both
def test_a_saved_row_labels_texts(family, classes, encoder, tmp_path):
    names = sorted(TEXTS)[:classes]
    texts = [text for name in names for text in TEXTS[name]]
    labels_N = torch.arange(classes).repeat_interleave(3)
    features_NH = torch.as_tensor(encoder(texts))
    teacher_NC = 4 * torch.eye(classes)[labels_N] if "soft_labels" in family.reads else None
    split = Examples(features_NH, teacher_NC, labels_N)
    spec, width = small(family, fit={"batch_size": 3}), features_NH.shape[1]
    found = family.train(spec, split, split, lambda *_: None)
    row = len(spec.seeds) - 1
    saved.save(tmp_path, spec, names, width, found.parameters_SP[row].numpy())
    again = saved.load(tmp_path)
    assert (again.spec, again.classes, again.features) == (spec, names, width)
    assert np.array_equal(again.parameters_P, found.parameters_SP[row].numpy())
    predicted = Predictor(tmp_path)(texts)
    logits_NC = family.restore(spec, width, classes, found.parameters_SP).predict(features_NH)[row]
    assert predicted.labels == [names[index] for index in logits_NC.argmax(-1)]
    expected_NC = torch.softmax(logits_NC, -1).numpy()
    np.testing.assert_allclose(predicted.probabilities_NC, expected_NC, rtol=1e-5, atol=1e-6)
    assert Predictor(tmp_path)([]).labels == []
