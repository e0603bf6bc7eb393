"""A stored student measured again by another simulator, and what stands beside it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from checkout import ROOT

from jobs import evaluate, fingerprints, student
from jobs.store import Store
from orchestrator.plan import probe_spec
from qdllm.errors import StoreError
from qdllm.specs import EvaluationSpec, StudentSpec
from qdllm.texts import data

SPEC = StudentSpec.parse(
    {"circuit": {"qubits": 4, "layers": 2}, "fit": {"epochs": 1, "batch_size": 32}, "seeds": [0, 1]}
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[Store, str]:
    """A student of four qubits, trained on random features and soft labels of the sample texts."""
    store = Store(str(tmp_path_factory.mktemp("store")))
    dataset = data.load(SPEC.task)
    key, made_from = fingerprints.of_student(SPEC, dataset.digest)
    generator = np.random.default_rng(0)
    for kind, name, width in (("features", "features", 6), ("soft-labels", "soft_labels", 4)):
        tensors = {
            split: generator.normal(size=(len(getattr(dataset, split).texts), width))
            for split in data.SPLITS
        }
        store.publish(
            kind,
            made_from[name],
            tensors={split: values.astype(np.float32) for split, values in tensors.items()},
            spec={},
            made_from={},
            summary={"rows": dataset.rows},
            seconds=0.0,
        )
    arrays = student.gather(store, **made_from, dataset=dataset)
    student.run(SPEC, key, made_from, arrays, store)
    return store, key


def command(module: str, job: dict, folder: Path) -> str:
    """What `python -m MODULE SPEC.json` prints."""
    (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", module, str(folder / "job.json")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_mindquantum_agrees_with_the_engine_on_a_stored_student(trained):
    store, key = trained
    name = evaluate.run(EvaluationSpec(backend="mindquantum"), key, data.load(SPEC.task), store)
    record = store.record("evaluations", name)
    assert record is not None
    assert 0 < record.summary["largest_difference"] < 1e-5
    trial = store.record("students", key)
    assert trial is not None
    for metric, values in record.summary["metrics"].items():
        np.testing.assert_allclose(values, trial.summary["metrics"][metric], atol=5e-3)


def test_the_engine_agrees_with_itself_to_the_bit(trained):
    store, key = trained
    name = evaluate.run(EvaluationSpec(backend="engine"), key, data.load(SPEC.task), store)
    record = store.record("evaluations", name)
    assert record is not None
    assert record.summary["largest_difference"] == 0


def test_the_command_evaluates_and_prints_the_fingerprint(trained, tmp_path):
    store, key = trained
    job = {"student": key, "store": store.uri, "evaluation": {"backend": "mindquantum"}}
    printed = command("jobs.evaluate", job, tmp_path)
    assert printed in store.fingerprints("evaluations")


def test_the_references_are_fitted_by_their_own_command(trained, tmp_path):
    store, key = trained
    made_from = store.record("students", key).made_from
    probe = probe_spec([SPEC])
    job = made_from | {"probe": probe.model_dump(mode="json"), "store": store.uri}
    printed = command("jobs.probe", job, tmp_path)
    record = store.record("probes", printed)
    assert record is not None
    head = record.summary["classical head"]
    assert len(head["test.accuracy"]) == len(SPEC.seeds)
    assert head["parameters"] <= store.record("students", key).summary["parameters"]
    assert 0 < record.summary["logistic regression"]["test.accuracy"] < 1


def test_an_unknown_student_is_an_error(trained):
    with pytest.raises(StoreError, match="there is no students/feed"):
        evaluate.run(EvaluationSpec(), "feed", data.load(SPEC.task), trained[0])


def test_features_of_other_texts_are_refused(trained):
    store, key = trained
    made_from = store.record("students", key).made_from
    others = data.load(SPEC.task.model_copy(update={"seed": 1}))
    with pytest.raises(StoreError, match="was made from other texts, or another order"):
        student.gather(store, **made_from, dataset=others)
