"""A stored trial beside a stored teacher: how often both name the same class."""

import json
import shutil

import pytest
import readings
import torch
from commands import here

from jobs import agree, kinds, teacher, tokens, trial
from jobs.kinds import Job
from jobs.store import Store
from qdllm import families
from qdllm.errors import StoreError
from qdllm.specs import AgreementSpec, TaskSpec
from qdllm.texts import data

TAUGHT, UNTAUGHT = "kl", "hard"


@pytest.fixture(scope="module")
def task(tmp_path_factory) -> TaskSpec:
    return readings.task(tmp_path_factory.mktemp("texts"), wrong=7)


@pytest.fixture(scope="module")
def made(tmp_path_factory, task) -> tuple[Store, dict[str, Job]]:
    """A store with a teacher and two trials, one of which it has taught; and these, by family."""
    store, dataset = Store(str(tmp_path_factory.mktemp("store"))), data.load(task)
    makers = {"tokens": tokens.run, "soft-labels": teacher.run}
    trials = {}

    def make(job: Job) -> None:
        makers.get(job.kind, trial.run)(job, dataset, store)

    for name in (TAUGHT, UNTAUGHT):
        family = families.family(name)
        settings = readings.settings(family) | {"seeds": [1, 0], "task": task.model_dump()}
        spec = family.spec.parse(settings)
        trials[name] = kinds.named(family.kind, spec, task, dataset.digest, make)
    return store, trials


def compared(family: str, made: tuple[Store, dict[str, Job]], **other: str) -> Job:
    store, trials = made
    (labels,) = store.fingerprints("soft-labels")
    made_from = {"trial": trials[family].fingerprint, "soft_labels": labels} | other
    return Job.of("agreements", AgreementSpec(family=family), made_from)


def test_what_a_teacher_taught_has_the_same_agreement_in_its_own_record(made, task):
    store, trials = made
    job = compared(TAUGHT, made)
    agree.run(job, data.load(task), store)
    own = store.record(TAUGHT, trials[TAUGHT].fingerprint).summary["metrics"]
    found = store.record("agreements", job.fingerprint).summary["metrics"]
    assert found == {"test.agreement": own["test.agreement"]}
    assert len(found["test.agreement"]) == 2


def test_what_it_did_not_teach_is_predicted_once_more(made, task, tmp_path):
    store, trials = made
    untaught = store.record(UNTAUGHT, trials[UNTAUGHT].fingerprint)
    assert "test.agreement" not in untaught.summary["metrics"]
    job = compared(UNTAUGHT, made)
    request = {"agreement": job.spec.model_dump(), "store": store.uri, **job.made_from}
    (tmp_path / "job.json").write_text(json.dumps(request))
    assert here("jobs.agree", [str(tmp_path / "job.json")]).strip().endswith(job.fingerprint)
    parameters_SP = torch.tensor(store.load(UNTAUGHT, untaught.fingerprint)[1]["parameters"])
    ids_NT = torch.tensor(store.load("tokens", untaught.made_from["tokens"])[1]["test"])
    model = families.family(UNTAUGHT).restore(trials[UNTAUGHT].spec, 0, 3, parameters_SP)
    taught_NC = store.load("soft-labels", job.made_from["soft_labels"])[1]["test"]
    said_SN = model.predict(ids_NT.long()).argmax(-1).numpy()
    record = store.record("agreements", job.fingerprint)
    expected = (said_SN == taught_NC.argmax(-1)).mean(1).tolist()
    assert record.summary["metrics"]["test.agreement"] == expected
    assert 0 < min(expected) < 1


@pytest.mark.parametrize("role", ["trial", "soft_labels"])
def test_what_is_not_there_is_named(made, task, role):
    job = compared(UNTAUGHT, made, **{role: "feed" * 4})
    with pytest.raises(StoreError, match="feed" * 4):
        agree.run(job, data.load(task), made[0])


def test_other_texts_are_refused(made, task, tmp_path):
    without = shutil.ignore_patterns("agreements")
    shutil.copytree(made[0].uri.removeprefix("file://"), tmp_path / "store", ignore=without)
    others = data.load(task.model_copy(update={"seed": 1}))
    with pytest.raises(StoreError, match="was made from other texts, or another order"):
        agree.run(compared(UNTAUGHT, made), others, Store(str(tmp_path / "store")))


def test_a_family_that_is_none_is_an_error_in_one_line(made, tmp_path):
    job = compared(UNTAUGHT, made)
    request = {"agreement": {"family": "hrad"}, "store": made[0].uri, **job.made_from}
    (tmp_path / "job.json").write_text(json.dumps(request))
    assert "unknown family 'hrad'" in here("jobs.agree", [str(tmp_path / "job.json")], status=2)
