"""Plans: each result named once, and set differences with the store."""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jobs import kinds
from jobs.kinds import Job, task_key
from jobs.kinds.features import FEATURES
from jobs.kinds.teachers import SOFT_LABELS
from jobs.kinds.trials import STOPPED
from jobs.kinds.words import WORDS
from jobs.store import Store
from orchestrator import grid
from orchestrator.grid.space import at
from orchestrator.plan import Listed, Plan, Searched, Trial, plan
from orchestrator.sweep import main
from qdllm import families
from qdllm.spec import fingerprint
from qdllm.texts import data

HEAD, LINEAR = families.family("tanh"), families.family("linear")


@pytest.fixture(scope="module")
def dataset():
    return data.load(grid.specs(grid.load("ablation"))[0].task)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path))


def missing(made: Plan) -> int:
    return sum(not job.held for job in made.jobs)


def features(made: Plan) -> list[Job]:
    return [job for job in made.sources if job.kind == FEATURES.name]


def words(made: Plan) -> list[Job]:
    return [job for job in made.sources if job.kind == WORDS.name]


def teachers(made: Plan) -> list[Job]:
    return [job for job in made.sources if job.kind == SOFT_LABELS.name]


def trials(made: Plan) -> tuple[Trial, ...]:
    assert isinstance(made.sweep, Listed)
    return made.sweep.trials


def references(made: Plan, kind: str) -> list[Trial]:
    assert isinstance(made.sweep, Listed)
    return [job for job in made.sweep.references if job.kind == kind]


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
    assert [len(jobs) for jobs in (features(made), teachers(made))] == [1, 1]
    # A head for each of twelve ways to train a student.
    assert [len(references(made, kind)) for kind in (LINEAR.kind, HEAD.kind)] == [1, 12]
    assert len(trials(made)) == 60
    assert len({trial.fingerprint for trial in trials(made)}) == 60
    assert len(words(made)) == 1
    assert missing(made) == 60 + 3 + 13


def test_each_result_comes_after_what_it_is_made_from(dataset, store):
    made = plan(specs("axes.encoder.pooling=[mean, first]"), dataset, store)
    names = [job.fingerprint for job in made.jobs]
    assert len(set(names)) == len(names)
    for place, job in enumerate(made.jobs):
        assert set(job.made_from.values()) & set(names) <= set(names[:place])
    assert made.sources == [*features(made), *teachers(made), *words(made)]
    assert {trial.fingerprint for trial in trials(made)} < set(names)


def test_what_has_a_record_is_held(dataset, store):
    made = plan(specs(), dataset, store)
    for job in (*features(made), *trials(made)[:7], *references(made, HEAD.kind)[:2]):
        publish(store, job)
    again = plan(specs(), dataset, store)
    assert again.name == made.name
    assert missing(again) == missing(made) - 10
    assert [trial.held for trial in trials(again)] == [True] * 7 + [False] * 53
    assert [job.held for job in references(again, HEAD.kind)] == [True] * 2 + [False] * 10


def test_a_trial_that_was_stopped_is_held_where_there_is_a_scheduler(dataset, store):
    trial = trials(plan(specs(), dataset, store))[3]
    publish(store, replace(trial, kind=STOPPED.name))
    assert not any(one.held for one in trials(plan(specs(), dataset, store)))
    again = trials(plan(specs(), dataset, store, scheduler="asha"))
    assert [one.fingerprint for one in again if one.held] == [trial.fingerprint]


def test_a_wider_axis_keeps_the_trials_that_were_there(dataset, store):
    narrow = plan(specs(), dataset, store)
    wide = plan(specs("circuit.layers=[1, 2, 3, 4, 8, 11]"), dataset, store)
    names = {trial.fingerprint for trial in trials(wide)}
    assert {trial.fingerprint for trial in trials(narrow)} < names
    assert len(trials(wide)) == 72
    # No larger student and no other way to train one: the same references stand beside them.
    assert wide.sweep.references == narrow.sweep.references
    faster = plan(specs("fit.lr=[0.003, 0.01, 0.06, 0.1]"), dataset, store)
    heads = {head.fingerprint for head in references(faster, HEAD.kind)}
    assert {head.fingerprint for head in references(narrow, HEAD.kind)} < heads
    assert len(references(faster, HEAD.kind)) == 16


def test_other_teachers_or_encoders_make_other_trials(dataset, store):
    plain = plan(specs(), dataset, store)
    for setting in ("teacher.epochs=7", "encoder.pooling=first"):
        other = plan(specs(setting), dataset, store)
        names = {trial.fingerprint for trial in trials(other)}
        assert not {trial.fingerprint for trial in trials(plain)} & names
    assert teachers(plan(specs("encoder.pooling=first"), dataset, store)) == teachers(plain)


def test_names_are_those_that_the_jobs_publish_under(dataset, store):
    made = plan(specs("teacher.epochs=7", "encoder.pooling=first"), dataset, store)
    for job in made.jobs:
        expected = kinds.named(job.kind, job.spec, made.task, dataset.digest)
        assert (job.fingerprint, job.made_from) == (expected.fingerprint, expected.made_from)
    for trial in trials(made):
        assert trial.fingerprint == fingerprint(trial.spec, **trial.made_from)
    (encoded,), (taught,) = features(made), teachers(made)
    task = task_key(made.task, dataset.digest)
    assert encoded.made_from["task"] == taught.made_from["task"] == task
    sources = {"features": encoded.fingerprint, "soft_labels": taught.fingerprint}
    assert all(one.made_from == sources for one in (*trials(made), *references(made, HEAD.kind)))
    (linear,) = references(made, LINEAR.kind)
    assert linear.made_from == {"features": encoded.fingerprint}


def test_several_teachers_and_encoders_share_what_they_can(dataset, store):
    several = specs(
        "axes.teacher.epochs=[1, 2, 3]", "axes.encoder.pooling=[mean, first]", "fit.lr=0.1"
    )
    made = plan(several, dataset, store)
    heads = references(made, HEAD.kind)
    assert (len(features(made)), len(teachers(made)), len(heads)) == (2, 3, 6 * 4)
    assert len(references(made, LINEAR.kind)) == 2
    assert len(trials(made)) == len(several) == 6 * 20
    for head in heads:
        assert sum(other.made_from == head.made_from for other in heads) == 4
        assert sum(trial.made_from == head.made_from for trial in trials(made)) == 20


def test_what_was_asked_for_by_name_is_no_reference(dataset, store):
    made = plan(specs("axes.family=[quantum, tanh, linear]"), dataset, store)
    assert [one.spec.family for one in trials(made)].count("quantum") == 60
    # Heads of each student's size were asked for, those of the largest among them.
    assert made.sweep.references == ()
    alone = plan(specs("family=tanh"), dataset, store)
    assert {one.spec.family for one in trials(alone)} == {"tanh"}
    assert references(alone, HEAD.kind) == []
    assert len(references(alone, LINEAR.kind)) == 1


def test_a_family_that_reads_no_soft_labels_needs_no_teacher(dataset, store):
    made = plan([LINEAR.spec()], dataset, store)
    assert [job.kind for job in made.jobs] == [FEATURES.name, WORDS.name, LINEAR.kind]


def test_a_sweep_is_named_by_its_set_of_trials(dataset, store):
    name = plan(specs(), dataset, store).name
    assert plan(specs()[::-1], dataset, store).name == name
    assert plan(specs("fit.lr=[0.06, 0.01, 0.003]"), dataset, store).name == name
    assert plan(specs("fit.lr=[0.06, 0.01]"), dataset, store).name != name


def test_who_may_be_champion_names_another_sweep_of_the_same_trials(dataset, store):
    mixed = specs("axes.family=[quantum, tanh]", "fit.lr=0.1")

    def named(*champion: str) -> Plan:
        return plan(mixed, dataset, store, champion=champion or None)

    assert grid.load("ablation").champion.families is None
    assert named().name == plan(mixed, dataset, store).name
    names = {named(*each).name for each in ((), ("tanh",), ("quantum",), ("quantum", "tanh"))}
    assert len(names) == 4
    assert named("tanh", "quantum").name == named("quantum", "tanh").name
    assert trials(named("tanh")) == trials(named())


def searched(dataset, store, *settings: str):
    definition = grid.override(grid.load("search"), settings)
    return plan(grid.specs(definition), dataset, store, definition.search)


def test_a_search_has_bases_instead_of_trials(dataset, store):
    made = searched(dataset, store, "axes.encoder.pooling=[mean, first]")
    assert isinstance(made.sweep, Searched)
    assert (len(features(made)), len(teachers(made))) == (2, 1)
    assert list(made.jobs) == made.sources
    assert missing(made) == 3 + len(words(made)) == 4
    assert made.sweep.asked == made.sweep.bases
    assert [base.spec.encoder.pooling for base in made.sweep.bases] == ["mean", "first"]
    for base in made.sweep.bases:
        spec = at(base.spec, {"circuit.layers": 3})
        expected = kinds.named(base.kind, spec, spec.task, dataset.digest)
        found = fingerprint(spec, **base.made_from), base.made_from
        assert found == (expected.fingerprint, expected.made_from)


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


def test_the_time_of_a_plan_grows_no_faster_than_its_trials(tmp_path, capfd):
    """In CPU time of one process; bench.planning says how many seconds."""

    def seconds(temperatures: int) -> float:
        wide = {
            "circuit.layers": list(range(1, 11)),
            "fit.lr": [0.001 * n for n in range(1, 11)],
            "loss.alpha": [0.1 * n for n in range(10)],
            "axes.loss.temperature": list(range(1, temperatures + 1)),
        }
        settings = [word for key, values in wide.items() for word in ("--set", f"{key}={values}")]
        began = time.process_time()
        assert main(["--grid", "ablation", *settings, "--dry-run", "--home", str(tmp_path)]) == 0
        assert f" {1000 * temperatures} " in capfd.readouterr().out
        return time.process_time() - began

    seconds(1)  # imports
    assert seconds(10) < 20 * seconds(1)  # quadratic growth would be a hundred times as much


def test_the_references_are_as_large_and_as_free_as_the_students():
    heads = HEAD.beside(specs())
    assert {head.circuit.layers for head in heads} == {11}
    assert {(head.loss.alpha, head.fit.lr) for head in heads} == {
        (alpha, lr) for alpha in (0, 0.5, 0.9, 1) for lr in (0.003, 0.01, 0.06)
    }
    assert HEAD.beside(specs()[::-1]) == heads
    longer = HEAD.beside(
        grid.specs(grid.load("ablation").model_copy(update={"axes": {"fit.epochs": (1, 20)}}))
    )
    assert {head.fit.epochs for head in longer} == {1, 20}
