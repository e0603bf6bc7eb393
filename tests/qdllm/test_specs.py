"""Specs and fingerprints: what changes a name, what does not, and that names last."""

import pickle

import pytest

from qdllm import errors
from qdllm.circuits.spec import CircuitSpec
from qdllm.errors import ConfigError
from qdllm.families.quantum import StudentSpec
from qdllm.spec import fingerprint
from qdllm.specs import EncoderSpec, FitSpec, LossSpec, TaskSpec, TeacherSpec

GOLDEN = {
    CircuitSpec: "b6b75e6e91d8ca5c",
    EncoderSpec: "90d6f56fe5e343d5",
    FitSpec: "619e59775ffcf937",
    LossSpec: "0a484a232cec2d26",
    StudentSpec: "c1c867100a9d8f4f",
    TaskSpec: "e0935f7c718016fd",
    TeacherSpec: "19339179731b23ef",
}
"""Fingerprints of the defaults. A change here makes every user compute everything anew."""


@pytest.mark.parametrize("spec", GOLDEN)
def test_the_defaults_keep_their_fingerprints(spec):
    assert fingerprint(spec()) == GOLDEN[spec]


def test_a_setting_and_a_dependency_change_the_name():
    names = [
        fingerprint(FitSpec()),
        fingerprint(FitSpec(lr=0.05)),
        fingerprint(FitSpec(), features="a"),
        fingerprint(FitSpec(), features="b"),
        fingerprint(FitSpec(), soft_labels="a"),
    ]
    assert len(set(names)) == len(names)


def test_what_enters_by_its_digest_does_not_enter_by_its_name():
    assert fingerprint(TaskSpec(name="a", data="x.csv")) == fingerprint(TaskSpec(name="b"))
    assert fingerprint(TaskSpec(seed=1)) != fingerprint(TaskSpec())
    assert fingerprint(EncoderSpec(model="a")) == fingerprint(EncoderSpec(model="b"))
    nested = StudentSpec(teacher=TeacherSpec(epochs=9))
    assert fingerprint(nested, soft_labels="a") == fingerprint(StudentSpec(), soft_labels="a")


def test_one_and_one_point_zero_are_the_same_setting():
    assert fingerprint(LossSpec(alpha=1)) == fingerprint(LossSpec(alpha=1.0))


def test_a_spec_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        FitSpec().lr = 1.0


def test_every_problem_is_told_at_once():
    with pytest.raises(ConfigError) as caught:
        StudentSpec.parse({"fit": {"lr": -1, "epocs": 2}, "losss": {}})
    message = str(caught.value)
    assert "fit.lr must be greater than 0, but -1 was given" in message
    assert "unknown key 'fit.epocs'; did you mean 'epochs'? There are: batch_size" in message
    assert "unknown key 'losss'; did you mean 'loss'?" in message


def test_errors_have_one_root_and_survive_pickling():
    classes = [value for value in vars(errors).values() if isinstance(value, type)]
    assert len(classes) > 3
    for error in classes:
        assert issubclass(error, errors.QdllmError)
        copy = pickle.loads(pickle.dumps(error("what was given")))
        assert type(copy) is error
        assert str(copy) == "what was given"
