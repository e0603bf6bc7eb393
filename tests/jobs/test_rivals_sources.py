"""Tokens, a teacher's states and its adapter: made, verified, and read by a trial of the store."""

import json
import shutil

import numpy as np
import pytest
import readings
import tiny_models
import torch
from commands import here

from jobs import kinds, teacher, teacher_states, tokens, trial
from jobs.inputs import gather
from jobs.kept import Kept
from jobs.kinds import Job
from jobs.store import Store
from qdllm import families, saved
from qdllm import teacher as science
from qdllm.encoder import pretrained, tokenize
from qdllm.errors import ConfigError, StoreError, TeacherError
from qdllm.predictor import Predictor
from qdllm.rivals import loop
from qdllm.specs import TaskSpec
from qdllm.texts import data


@pytest.fixture(scope="module")
def task(tmp_path_factory) -> TaskSpec:
    return readings.task(tmp_path_factory.mktemp("texts"))


def spec_of(name: str, task: TaskSpec, **settings):
    family = families.family(name)
    plain = readings.settings(family) | {"seeds": [1, 0], "task": task.model_dump()} | settings
    return family.spec.parse(plain)


@pytest.fixture(scope="module")
def store(tmp_path_factory, task) -> Store:
    """With all that TinyBERT and PKD are made from."""
    made, dataset = Store(str(tmp_path_factory.mktemp("store"))), data.load(task)
    makers = {
        "tokens": tokens.run,
        "soft-labels": teacher.run,
        "teacher-states": teacher_states.run,
    }

    def make(job: Job) -> None:
        if job.kind in makers:
            makers[job.kind](job, dataset, made)

    for name in ("pkd", "tinybert"):
        kinds.named(families.family(name).kind, spec_of(name, task), task, dataset.digest, make)
    return made


def job_of(spec, task: TaskSpec) -> Job:
    return kinds.named(families.of(spec).kind, spec, task, data.load(task).digest)


def test_tokens_are_the_tokenizers_and_end_where_a_text_does(store, task):
    (name,) = store.fingerprints("tokens")
    record, found = store.load("tokens", name)
    dataset = data.load(task)
    expected = tokenize(pretrained(readings.tiny(), 16)[0], dataset.texts, 16)
    rows = np.concatenate([found[split] for split in data.SPLITS])
    assert [row[row >= 0].tolist() for row in rows] == expected
    assert record.summary["width"] == max(map(len, expected)) == rows.shape[1]
    assert all((np.diff((row >= 0).astype(int)) <= 0).all() for row in rows)


def test_states_are_the_stored_teachers_pooled_as_its_head_reads_them(store, task):
    (name,) = store.fingerprints("teacher-states")
    record, found = store.load("teacher-states", name)
    assert found.keys() == {"train"}
    assert record.summary["largest_difference"] < 1e-4
    dataset, spec = data.load(task), spec_of("pkd", task)
    assert record.spec["layers"] == list(spec.teacher_layers) == [0, 2]
    (adapter,) = store.fingerprints("adapters")
    values = {key: torch.tensor(value) for key, value in store.load("adapters", adapter)[1].items()}
    tokenizer, model = science.reload(spec.teacher, 3, values)
    width = tiny_models.HIDDEN
    for row in (0, 7):
        (ids,) = tokenize(tokenizer, [dataset.train.texts[row]], 16)
        with torch.no_grad():
            states = model.transformer(
                torch.tensor([ids]), torch.ones(1, len(ids)), output_hidden_states=True
            ).hidden_states
        for at, layer in enumerate((0, 2)):
            stored = found["train"][row, at * width : (at + 1) * width]
            np.testing.assert_allclose(stored, states[layer][0].mean(0), atol=1e-5)


def test_states_of_a_teacher_that_says_something_else_are_refused(store, task, tmp_path):
    other, dataset = Store(str(tmp_path)), data.load(task)
    job = job_of(spec_of("pkd", task), task)
    names = {kind: job.made_from[role] for role, kind in (("soft_labels", "soft-labels"),)}
    record, arrays = store.load("soft-labels", names["soft-labels"])
    (adapter,) = store.fingerprints("adapters")
    for kind, name in (("adapters", adapter), ("soft-labels", record.fingerprint)):
        was, tensors = store.load(kind, name)
        shifted = {key: array + (kind == "soft-labels") for key, array in tensors.items()}
        plain = was.model_dump()
        kept = {key: plain[key] for key in ("spec", "made_from", "summary", "seconds")}
        other.publish(kind, name, tensors=shifted, **kept)
    states = kinds.named(
        "teacher-states",
        kinds.kind("teacher-states").of_trial(spec_of("pkd", task)),
        task,
        dataset.digest,
    )
    with pytest.raises(TeacherError, match=r"differ from its stored soft labels by up to 1, "):
        teacher_states.run(states, dataset, other)
    assert not other.fingerprints("teacher-states")
    assert arrays


@pytest.mark.parametrize("name", ["pkd", "tinybert", "hitin"])
def test_a_trial_of_the_store_ends_as_before_where_its_worker_is_killed(
    name, store, task, monkeypatch, tmp_path
):
    monkeypatch.setattr(loop, "KEEP_SECONDS", 0.0)
    job, dataset = job_of(spec_of(name, task), task), data.load(task)
    arrays = gather(store, job.made_from, dataset)
    whole = Store(str(tmp_path / "whole"))
    trial.train(job, arrays, whole)
    assert not whole.files("checkpoints"), "cleared with the result"
    broken, times, save = Store(str(tmp_path / "broken")), [], Kept.save

    def killed(self, *parts):
        save(self, *parts)
        times.append(1)
        if len(times) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(Kept, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        trial.train(job, arrays, broken)
    assert {file.path.split("/")[0] for file in broken.files()} == {"checkpoints"}
    monkeypatch.setattr(Kept, "save", save)
    trial.train(job, arrays, broken)
    assert not broken.files("checkpoints")
    first, second = (each.load(job.kind, job.fingerprint) for each in (whole, broken))
    assert np.array_equal(first[1]["parameters"], second[1]["parameters"])
    assert first[0].summary["metrics"] == second[0].summary["metrics"]


@pytest.mark.parametrize("name", ["pkd", "lsfls"])
def test_more_seeds_are_trained_alone_and_give_what_all_at_once_gave(
    name, store, task, monkeypatch, tmp_path
):
    """From the most that there are of the first of them."""
    dataset, trained, train = data.load(task), [], loop._Row.train

    def heard(row, *given):
        trained.append(row.seed)
        train(row, *given)

    monkeypatch.setattr(loop._Row, "train", heard)
    grown, whole = Store(str(tmp_path / "grown")), Store(str(tmp_path / "whole"))
    jobs = [job_of(spec_of(name, task, seeds=seeds), task) for seeds in ([3], [3, 1], [3, 1, 4, 0])]
    arrays = gather(store, jobs[0].made_from, dataset)
    for job in jobs:
        trial.train(job, arrays, grown)
    assert trained == [3, 1, 4, 0]
    trial.train(jobs[-1], arrays, whole)
    key = jobs[-1].kind, jobs[-1].fingerprint
    (record, tensors), (other, others) = grown.load(*key), whole.load(*key)
    assert tensors.keys() == others.keys()
    for part, tensor in tensors.items():
        assert np.array_equal(tensor, others[part]), part
    assert record.summary["metrics"] == other.summary["metrics"]
    first = grown.record(jobs[1].kind, jobs[1].fingerprint)
    assert record.seconds > first.summary["seconds_per_epoch"] * tensors["train.loss"].shape[1]


def test_what_another_worker_has_published_is_not_trained_to_its_end(
    store, task, monkeypatch, tmp_path
):
    monkeypatch.setattr(loop, "KEEP_SECONDS", 0.0)
    job, other = job_of(spec_of("hard", task), task), Store(str(tmp_path))
    arrays, save, trained = gather(store, job.made_from, data.load(task)), Kept.save, []

    def saved(self, *parts):
        if not trained:
            trained.append(1)
            monkeypatch.setattr(Kept, "save", save)
            trained.append(trial.train(job, arrays, other))
        save(self, *parts)
        pytest.fail("there was nothing left to keep")

    monkeypatch.setattr(Kept, "save", saved)
    assert trial.train(job, arrays, other) == trained[1]
    assert not other.files("checkpoints")


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("minillm", {"tuning": {"epochs": 1}, "terms": {"hard_epochs": 1}}, "hard_epochs"),
        ("lsfls", {"few": {"labelled": 2, "rounds": 20, "share": 0.1}}, "few.rounds"),
        ("hitin", {"tuning": {"batch_size": 35}}, "batch"),
    ],
)
def test_a_trial_that_a_search_came_to_is_checked_like_one_of_a_grid(
    name, settings, message, store, task, tmp_path
):
    job = job_of(spec_of(name, task, **settings), task)
    arrays = gather(store, job.made_from, data.load(task))
    with pytest.raises(ConfigError, match=message):
        trial.train(job, arrays, Store(str(tmp_path)))


def test_a_damaged_trial_of_fewer_seeds_is_named_and_training_begins_anew(
    store, task, tmp_path, capsys
):
    few, more = (job_of(spec_of("hard", task, seeds=seeds), task) for seeds in ([1], [1, 2]))
    arrays, other = gather(store, few.made_from, data.load(task)), Store(str(tmp_path))
    trial.train(few, arrays, other)
    (path,) = (tmp_path / "hard" / few.fingerprint).glob("*.safetensors")
    path.write_bytes(path.read_bytes()[:-4])
    trial.train(more, arrays, other)
    assert "training begins anew" in capsys.readouterr().err
    assert other.record("hard", more.fingerprint).summary["metrics"]["val.accuracy"]


def test_a_damaged_checkpoint_is_named_and_training_begins_anew(store, task, tmp_path, capsys):
    spec = spec_of("hard", task, seeds=[1])
    job, dataset = job_of(spec, task), data.load(task)
    arrays, other = gather(store, job.made_from, dataset), Store(str(tmp_path))
    Kept(job, other).save({"curves": []}, {"x": torch.zeros(3)})
    (path,) = (tmp_path / "checkpoints" / job.fingerprint).glob("*.safetensors")
    path.write_bytes(path.read_bytes()[:-4])
    trial.train(job, arrays, other)
    assert "training begins anew" in capsys.readouterr().err
    assert other.has("hard", job.fingerprint)


def test_a_saved_body_labels_texts_as_its_trial_did(store, task, tmp_path):
    spec = spec_of("hard", task, tuning={"epochs": 12, "lr": 0.03, "batch_size": 16})
    job, dataset, other = job_of(spec, task), data.load(task), Store(str(tmp_path / "store"))
    trial.train(job, gather(store, job.made_from, dataset), other)
    record, tensors = other.load(job.kind, job.fingerprint)
    folder = tmp_path / "saved"
    folder.mkdir()
    saved.save(folder, spec, dataset.classes, 16, tensors["parameters"][1])
    found = Predictor(folder)([*dataset.test.texts, "", None])
    right = [
        label == dataset.classes[own]
        for label, own in zip(found.labels, dataset.test.labels_N, strict=False)
    ]
    assert np.mean(right) == record.summary["metrics"]["test.accuracy"][1] > 0.5
    assert found.labels[-2:] == [None, None]


def test_the_commands_print_fingerprints_and_say_what_is_missing(store, task, tmp_path):
    spec = spec_of("pkd", task)
    path = tmp_path / "job.json"

    def asked(**parts) -> str:
        path.write_text(json.dumps({"task": task.model_dump(), **parts}), encoding="utf-8")
        return str(path)

    body = {"model": readings.tiny(), "max_length": 16}
    printed = here("jobs.tokens", [asked(tokens=body, store=store.uri)])
    assert printed.strip() in store.fingerprints("tokens")
    states = {"teacher": spec.teacher.model_dump(mode="json"), "layers": [0, 2]}
    printed = here("jobs.teacher_states", [asked(states=states, store=store.uri)])
    assert printed.strip() in store.fingerprints("teacher-states")
    empty = str(tmp_path / "empty")
    printed = here("jobs.teacher_states", [asked(states=states, store=empty)], status=1)
    assert "there is no soft-labels/" in printed


def test_a_body_is_cut_from_the_model_that_was_planned_or_not_at_all(task, tmp_path):
    folder, dataset = tmp_path / "model", data.load(task)
    tiny_models.save("bert", str(folder))
    own, other = Store(str(tmp_path / "store")), {"model": str(folder), "max_length": 16}
    job = job_of(spec_of("hard", task, encoder=other), task)
    read = kinds.kind("tokens").of_trial(job.spec)
    tokens.run(kinds.named("tokens", read, task, dataset.digest), dataset, own)
    arrays = gather(own, job.made_from, dataset)
    config = folder / "config.json"
    config.write_text(config.read_text() + " ")
    with pytest.raises(ConfigError, match=r"the files in .* have the digest"):
        trial.train(job, arrays, own)
    assert not own.has("hard", job.fingerprint)


def test_a_model_is_itself_by_whatever_name(tmp_path):
    other = shutil.copytree(readings.tiny(), tmp_path / "model")
    twin = families.family("pkd").spec.parse(
        readings.settings(families.family("pkd")) | {"teacher": {"model": str(other)}}
    )
    assert not twin.mapped
    (other / "config.json").write_text((other / "config.json").read_text() + " ")
    assert twin.mapped


def test_an_adapter_that_is_gone_is_named(store, task, tmp_path):
    job = job_of(spec_of("tinybert", task), task)
    with pytest.raises(StoreError, match="there is no "):
        gather(Store(str(tmp_path)), job.made_from, data.load(task))
