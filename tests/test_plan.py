"""Plans: each result named once, and set differences with the store."""

from pathlib import Path

import numpy as np
import pytest

from jobs.store import Store
from orchestrator import grid
from orchestrator.plan import plan, probe_spec
from qdllm import data


@pytest.fixture(scope="module")
def dataset():
    return data.load(grid.specs(grid.load("ablation"))[0].task)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path))


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
    assert made.missing == 63


def test_what_has_a_record_is_held(dataset, store):
    made = plan(specs(), dataset, store)
    for job in (*made.features, *made.trials[:7]):
        publish(store, job)
    again = plan(specs(), dataset, store)
    assert again.name == made.name
    assert again.missing == 63 - 8
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
