import pytest
import torch

from jobs import kinds
from jobs.kinds.trials import KINDS
from qdllm import families
from qdllm.errors import ConfigError, TrialError
from qdllm.fit import Examples
from qdllm.models import resolve

SMALL = {
    "teacher": {"model": "none"},
    "loss": {"alpha": 0},
    "fit": {"epochs": 2, "batch_size": 8},
    "circuit": {"qubits": 2, "layers": 1},
    "seeds": [0, 1],
}


def examples(rows: int, seed: int) -> Examples:
    generator = torch.Generator().manual_seed(seed)
    features_NH = torch.randn(rows, 4, generator=generator)
    return Examples(features_NH, None, (features_NH[:, 0] > 0).long())


@pytest.mark.parametrize("name", ["quantum", "tanh"])
def test_without_a_teacher_students_learn_as_from_one_without_weight(name):
    spec = families.parse(SMALL | {"family": name})
    untaught = examples(40, 0), examples(20, 1)
    taught = [part._replace(logits_NC=torch.randn(len(part.labels_N), 2)) for part in untaught]
    ours, theirs = (
        families.of(spec).train(spec, *parts, lambda epoch, values: None)
        for parts in (untaught, taught)
    )
    assert torch.equal(ours.parameters_SP, theirs.parameters_SP)
    assert torch.equal(ours.curves["val.loss"], theirs.curves["val.loss"])
    assert set(theirs.curves) - set(ours.curves) == {"val.agreement"}


@pytest.mark.parametrize("name", ["quantum", "tanh"])
def test_a_trial_without_a_teacher_is_made_from_features_alone(name):
    spec = families.parse(SMALL | {"family": name})
    kind = next(one for one in KINDS if one.name == families.of(spec).kind)
    assert list(kind.needs(spec)) == ["features"]
    assert list(kinds.kind(kind.name).needs(families.parse({"family": name}))) == [
        "features",
        "soft_labels",
    ]


@pytest.mark.parametrize("loss", [{"loss": {"alpha": 0.5}}, {"loss": {}}, {}])
def test_a_weight_of_no_teacher_is_refused(loss):
    plain = {key: value for key, value in SMALL.items() if key != "loss"}
    with pytest.raises(ConfigError, match=r"alpha, the teacher's weight, must be 0.*loss.alpha=0"):
        families.parse(plain | loss)


def test_none_is_no_encoder():
    with pytest.raises(ConfigError, match="is no model"):
        resolve("none")


def test_a_circuit_that_takes_too_much_memory_is_refused():
    spec = families.parse(SMALL | {"circuit": {"qubits": 20}, "fit": {"batch_size": 512}})
    message = r"20 qubits with 2 layers, trained for 2 seeds in batches of 512, takes 8\.\d GiB"
    quantum = families.of(spec)
    with pytest.raises(ConfigError, match=message):
        quantum.check(spec, [400, 400])
    quantum.check(spec, [100, 100])
    with pytest.raises(TrialError, match=message):
        quantum.train(spec, examples(800, 0), examples(20, 1), lambda epoch, values: None)
