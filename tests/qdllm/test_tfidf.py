import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tiny_models import texts_of

from qdllm import saved
from qdllm.errors import ConfigError
from qdllm.families.linear import LinearSpec
from qdllm.models import FITTED_FILE, resolve
from qdllm.predictor import Predictor
from qdllm.specs import EncoderSpec, TeacherSpec
from qdllm.tfidf import BLOCKS, Tfidf, _counter

TEXTS = texts_of(80)


@pytest.fixture(scope="module")
def fitted():
    return Tfidf.fit(TEXTS, 24)


def test_the_features_are_the_leading_directions_of_scikits_own_weights(fitted):
    weights_NT = np.hstack(
        [_counter(block, min_df=2).fit_transform(TEXTS).toarray() for block in BLOCKS]
    ).astype(float)
    features_NH = fitted(TEXTS).astype(float)
    assert features_NH.shape == (80, 24)
    assert np.square(features_NH).mean() == pytest.approx(1, abs=1e-3)
    directions_TH = fitted.tensors["directions"].astype(float)
    cosines_HH = directions_TH.T @ directions_TH / np.square(directions_TH).sum(axis=0).mean()
    np.testing.assert_allclose(cosines_HH, np.eye(24), atol=1e-3)
    ratio_NH = features_NH / (weights_NT @ directions_TH)
    np.testing.assert_allclose(ratio_NH, 1, rtol=2e-3)
    # No 24 directions hold more than those of numpy's full decomposition.
    most = np.square(np.linalg.svd(weights_NT, compute_uv=False)[:24]).sum()
    held = np.square(weights_NT @ np.linalg.qr(directions_TH)[0]).sum()
    assert 0.98 * most < held < most


def test_it_is_fitted_to_the_training_texts_alone_and_the_same_each_time(fitted):
    again = Tfidf.fit(TEXTS, 24)
    for name, values in fitted.tensors.items():
        assert values.tobytes() == again.tensors[name].tobytes()
    assert Tfidf.fit(TEXTS[:60], 24)(TEXTS).tobytes() != fitted(TEXTS).tobytes()


def test_a_text_has_its_features_whatever_stands_beside_it(fitted):
    whole_NH = fitted(TEXTS)
    assert np.concatenate([fitted([text]) for text in TEXTS]).tobytes() == whole_NH.tobytes()
    assert fitted([]).shape == (0, 24)
    assert not fitted(["unheardofs"[:0]]).any()


def test_what_was_written_gives_the_same_to_the_bit(fitted, tmp_path):
    fitted.save(tmp_path / "encoder")
    assert Tfidf.load(tmp_path / "encoder")(TEXTS).tobytes() == fitted(TEXTS).tobytes()
    assert resolve(str(tmp_path / "encoder")).digest != resolve("tfidf").digest


def test_a_student_is_served_with_it(fitted, tmp_path):
    spec = LinearSpec(encoder=EncoderSpec(model="tfidf", components=24))
    parameters_P = np.random.default_rng(0).normal(size=25)
    saved.save(tmp_path, spec, ["no", "yes"], 24, parameters_P, fitted)
    found = Predictor(tmp_path)([TEXTS[3], None, TEXTS[5]])
    logits_N = fitted([TEXTS[3], TEXTS[5]]).astype(float) @ parameters_P[:-1] + parameters_P[-1]
    expected_N = 1 / (1 + np.exp(-logits_N))
    np.testing.assert_allclose(found.probabilities_NC[[0, 2], 1], expected_N, rtol=1e-5)
    assert found.labels[1] is None


def test_another_encoder_than_that_of_training_is_refused(fitted, tmp_path):
    spec = LinearSpec(encoder=EncoderSpec(model="tfidf", components=24))
    saved.save(tmp_path, spec, ["no", "yes"], 24, np.zeros(25), fitted)
    file = tmp_path / saved.ENCODER / FITTED_FILE
    tensors = load_file(file)
    save_file(tensors | {"idf": tensors["idf"] + 1}, file)
    with pytest.raises(ConfigError, match="trained on the features"):
        Predictor(tmp_path)


@pytest.mark.parametrize(
    "damage",
    [
        lambda tensors: tensors | {"idf": tensors["idf"][:-1]},
        lambda tensors: tensors | {"terms": tensors["terms"][:-1]},
        lambda tensors: {"terms": tensors["terms"], "idf": tensors["idf"]},
        lambda tensors: tensors | {"terms": np.frombuffer(b"[1]", np.uint8)},
    ],
)
def test_what_is_damaged_is_refused(fitted, tmp_path, damage):
    save_file(damage(fitted.tensors), tmp_path / FITTED_FILE)
    with pytest.raises(ConfigError, match="is not what was saved"):
        Tfidf.load(tmp_path)


@pytest.mark.parametrize("texts", [TEXTS[:10], ["one", "two", "three"] * 10])
def test_more_directions_than_there_are_texts_or_terms_are_refused(texts):
    with pytest.raises(ConfigError, match=r"encoder.components=40 is more .*components=\d+ is the"):
        Tfidf.fit(texts, 40)


def test_no_terms_in_common_are_refused():
    with pytest.raises(ConfigError, match=r"encoder\.components=2 is more"):
        Tfidf.fit(["a", "b", "c"], 2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": "minilm", "components": 5}, "belongs to encoder.model=tfidf"),
        ({"model": "tfidf", "hidden_layers": [4]}, "has no hidden_layers"),
        ({"model": "tfidf", "pooling": "max"}, "has no pooling"),
        ({"model": "tfidf", "components": 0}, "at least 1"),
        ({"pooling": []}, "at least 1"),
        ({"pooling": ["mean", "mean"]}, "repeats one"),
        ({"pooling": "median"}, "pooling"),
    ],
)
def test_settings_of_another_encoder_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        EncoderSpec.parse(settings)


def test_one_pooling_in_a_list_is_that_pooling():
    assert EncoderSpec.parse({"pooling": ["max"]}) == EncoderSpec.parse({"pooling": "max"})
    assert EncoderSpec.parse({"model": "tfidf"}).components == 768


def test_it_is_no_teacher():
    with pytest.raises(ConfigError, match="is no teacher"):
        TeacherSpec.parse({"model": "tfidf"})
