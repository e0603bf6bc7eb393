"""Plans: each result named once, and set differences with the store."""

import time
from pathlib import Path

import numpy as np
import pytest

from jobs import fingerprints
from jobs.store import Store
from orchestrator import grid
from orchestrator.grid.space import at
from orchestrator.plan import Plan, plan, probe_spec
from orchestrator.sweep import main
from qdllm.specs import fingerprint
from qdllm.texts import data


@pytest.fixture(scope="module")
def dataset():
    return data.load(grid.specs(grid.load("ablation"))[0].task)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path))


def missing(made: Plan) -> int:
    jobs = made.features + made.teachers + made.probes + made.trials
    return sum(not job.held for job in jobs)


def specs(*settings: str):
    return grid.specs(grid.override(grid.load("ablation"), settings))


def publish(store: Store, job) -> None:
    store.publish(
        job.kind,
        job.fingerprint,
        tensors={"x": np.zeros(1)},
        spec={},
        made_from=job.made_from,
        summary={},
        seconds=0.0,
    )


def test_trials_share_features_teacher_and_references(dataset, store):
    made = plan(specs(), dataset, store)
    assert [len(jobs) for jobs in (made.features, made.teachers, made.probes)] == [1, 1, 1]
    assert len(made.trials) == 60
    assert len({trial.fingerprint for trial in made.trials}) == 60
    assert missing(made) == 63


def test_what_has_a_record_is_held(dataset, store):
    made = plan(specs(), dataset, store)
    for job in (*made.features, *made.trials[:7]):
        publish(store, job)
    again = plan(specs(), dataset, store)
    assert again.name == made.name
    assert missing(again) == 63 - 8
    assert [trial.held for trial in again.trials] == [True] * 7 + [False] * 53


def test_a_wider_axis_keeps_the_trials_that_were_there(dataset, store):
    narrow = {trial.fingerprint for trial in plan(specs(), dataset, store).trials}
    wide = plan(specs("circuit.layers=[1, 2, 3, 4, 8, 11]"), dataset, store)
    assert narrow < {trial.fingerprint for trial in wide.trials}
    assert len(wide.trials) == 72


def test_other_teachers_or_encoders_make_other_trials(dataset, store):
    plain = plan(specs(), dataset, store)
    for setting in ("teacher.epochs=7", "encoder.pooling=first"):
        other = plan(specs(setting), dataset, store)
        assert not {t.fingerprint for t in plain.trials} & {t.fingerprint for t in other.trials}
    assert plan(specs("encoder.pooling=first"), dataset, store).teachers == plain.teachers


def test_names_are_those_that_the_jobs_publish_under(dataset, store):
    made = plan(specs("teacher.epochs=7", "encoder.pooling=first"), dataset, store)
    for trial in made.trials:
        expected = fingerprints.of_student(trial.spec, dataset.digest)
        assert (trial.fingerprint, trial.made_from) == expected
    task = fingerprints.of_task(made.trials[0].spec.task, dataset.digest)
    (features,), (teacher,), (probe,) = made.features, made.teachers, made.probes
    assert features.fingerprint == fingerprints.of_features(features.spec, task)
    assert teacher.fingerprint == fingerprints.of_soft_labels(teacher.spec, task)
    assert probe.fingerprint == fingerprints.of_probe(probe.spec, **probe.made_from)
    assert features.made_from == teacher.made_from == {"task": task}


def test_several_teachers_and_encoders_share_what_they_can(dataset, store):
    several = specs(
        "axes.teacher.epochs=[1, 2, 3]", "axes.encoder.pooling=[mean, first]", "fit.lr=0.1"
    )
    made = plan(several, dataset, store)
    assert (len(made.features), len(made.teachers), len(made.probes)) == (2, 3, 6)
    assert len(made.trials) == len(several) == 6 * 20
    for probe in made.probes:
        assert sum(trial.made_from == probe.made_from for trial in made.trials) == 20


def test_a_sweep_is_named_by_its_set_of_trials(dataset, store):
    name = plan(specs(), dataset, store).name
    assert plan(specs()[::-1], dataset, store).name == name
    assert plan(specs("fit.lr=[0.06, 0.01, 0.003]"), dataset, store).name == name
    assert plan(specs("fit.lr=[0.06, 0.01]"), dataset, store).name != name


def searched(dataset, store, *settings: str):
    definition = grid.override(grid.load("search"), settings)
    return plan(grid.specs(definition), dataset, store, definition.search)


def test_a_search_has_bases_instead_of_trials(dataset, store):
    made = searched(dataset, store, "axes.encoder.pooling=[mean, first]")
    assert (len(made.features), len(made.teachers)) == (2, 1)
    assert made.trials == made.probes == ()
    assert missing(made) == 3
    assert [base.spec.encoder.pooling for base in made.bases] == ["mean", "first"]
    for base in made.bases:
        spec = at(base.spec, {"circuit.layers": 3})
        expected = fingerprints.of_student(spec, dataset.digest)
        assert (fingerprint(spec, **base.made_from), base.made_from) == expected


def test_more_trials_go_on_with_the_same_search_and_other_spaces_begin_another(dataset, store):
    name = searched(dataset, store).name
    assert searched(dataset, store, "search.trials=7").name == name
    others = {
        searched(dataset, store, setting).name
        for setting in (
            "search.sampler=nsga-ii",
            "search.seed=1",
            "search.objectives={val.accuracy.mean: maximize}",
            "fit.lr=[0.1]",
            "fit.epochs=3",
            "axes.teacher.epochs=[1, 2]",
        )
    }
    assert len(others | {name}) == 7


def test_ten_thousand_trials_are_planned_within_two_seconds(tmp_path, capfd):
    wide = {
        "circuit.layers": list(range(1, 11)),
        "fit.lr": [0.001 * n for n in range(1, 11)],
        "loss.alpha": [0.1 * n for n in range(10)],
        "axes.loss.temperature": list(range(1, 11)),
    }
    settings = [word for key, values in wide.items() for word in ("--set", f"{key}={values}")]
    began = time.process_time()
    assert main(["--grid", "ablation", *settings, "--dry-run", "--home", str(tmp_path)]) == 0
    assert time.process_time() - began < 2
    assert "10000" in capfd.readouterr().out


def test_the_references_are_as_large_and_as_free_as_the_students():
    probe = probe_spec(specs())
    assert probe.circuit.layers == 11
    assert {(loss.alpha, how.lr) for loss, how in probe.settings} == {
        (alpha, lr) for alpha in (0, 0.5, 0.9, 1) for lr in (0.003, 0.01, 0.06)
    }
    assert probe_spec(specs()[::-1]) == probe
    longer = probe_spec(
        grid.specs(grid.load("ablation").model_copy(update={"axes": {"fit.epochs": (1, 20)}}))
    )
    assert {how.epochs for _, how in longer.settings} == {1, 20}
