"""A stored student measured again by another simulator, and what stands beside it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from checkout import ROOT

from jobs import evaluate, kinds, trial
from jobs.inputs import gather
from jobs.kinds import Job
from jobs.store import Store
from qdllm import families
from qdllm.errors import StoreError
from qdllm.families.quantum import StudentSpec
from qdllm.specs import EvaluationSpec
from qdllm.texts import data

SPEC = StudentSpec.parse(
    {"circuit": {"qubits": 4, "layers": 2}, "fit": {"epochs": 1, "batch_size": 32}, "seeds": [0, 1]}
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[Store, str]:
    """A student of four qubits in a store."""
    return train(SPEC, tmp_path_factory.mktemp("store"))


def train(spec: StudentSpec, folder: Path) -> tuple[Store, str]:
    """Train on random features and soft labels of the sample texts."""
    store = Store(str(folder))
    dataset = data.load(spec.task)
    job = kinds.named("students", spec, spec.task, dataset.digest)
    generator = np.random.default_rng(0)
    for kind, name, width in (("features", "features", 6), ("soft-labels", "soft_labels", 4)):
        tensors = {
            split: generator.normal(size=(len(getattr(dataset, split).texts), width))
            for split in data.SPLITS
        }
        store.publish(
            kind,
            job.made_from[name],
            tensors={split: values.astype(np.float32) for split, values in tensors.items()},
            spec={},
            made_from={},
            summary={"rows": dataset.rows},
            seconds=0.0,
        )
    trial.run(job, dataset, store)
    return store, job.fingerprint


def evaluated(backend: str, key: str, store: Store) -> str:
    """Where the store has what that simulator makes of the student."""
    job = Job.of("evaluations", EvaluationSpec(backend=backend), {"student": key})
    evaluate.run(job, data.load(SPEC.task), store)
    return job.fingerprint


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


CIRCUIT = """OPENQASM 3.0;
include "stdgates.inc";
input float[64] x_0;
input float[64] x_1;
input float[64] a;
input float[64] b;
qubit[3] q;
h q;
rz(2 * x_0) q[0];
ry(x_1 + 0.5) q[1];
crx(a) q[0], q[1];
rxx(b / 2) q[1], q[2];
rx(x_0) q[1];
u(a, x_1, 0.3) q[0];
"""


def test_a_circuit_of_ones_own_is_trained_and_evaluated_where_its_file_is_not(tmp_path):
    file = tmp_path / "mine.qasm"
    file.write_text(CIRCUIT)
    circuit = {"file": str(file), "observables": ["ZII", "XYI", "IZZ", "IIY"]}
    spec = StudentSpec.parse(SPEC.model_dump(mode="json") | {"circuit": circuit})
    file.unlink()
    store, key = train(spec, tmp_path / "store")
    student = store.record("students", key)
    assert student.summary["parameters"] == (6 + 1) * 2 + 2 + (4 + 1) * 4
    assert StudentSpec.parse(student.spec) == spec
    record = store.record("evaluations", evaluated("mindquantum", key, store))
    assert record.summary["largest_difference"] < 1e-5
    accuracy = record.summary["metrics"]["test.accuracy"]
    assert accuracy == student.summary["metrics"]["test.accuracy"]


def test_mindquantum_agrees_with_the_engine_on_a_stored_student(trained):
    store, key = trained
    name = evaluated("mindquantum", key, store)
    record = store.record("evaluations", name)
    assert record is not None
    assert 0 < record.summary["largest_difference"] < 1e-5
    student = store.record("students", key)
    assert student is not None
    for metric, values in record.summary["metrics"].items():
        np.testing.assert_allclose(values, student.summary["metrics"][metric], atol=5e-3)


def test_the_engine_agrees_with_itself_to_the_bit(trained):
    store, key = trained
    name = evaluated("engine", key, store)
    record = store.record("evaluations", name)
    assert record is not None
    assert record.summary["largest_difference"] == 0


def test_the_command_evaluates_and_prints_the_fingerprint(trained, tmp_path):
    store, key = trained
    job = {"student": key, "store": store.uri, "evaluation": {"backend": "mindquantum"}}
    printed = command("jobs.evaluate", job, tmp_path)
    assert printed in store.fingerprints("evaluations")


@pytest.mark.parametrize("family", ["tanh", "linear"])
def test_the_references_are_trained_by_the_command_of_trials(trained, family, tmp_path):
    store, key = trained
    (spec,) = families.family(family).beside([SPEC])
    request = {"trial": spec.model_dump(mode="json"), "store": store.uri}
    printed = command("jobs.trial", request, tmp_path)
    record = store.record(family, printed)
    assert record is not None
    assert len(record.summary["metrics"]["test.accuracy"]) == len(spec.seeds)
    assert 0 < record.summary["metrics"]["test.accuracy"][0] < 1
    if family == "tanh":
        assert spec.seeds == SPEC.seeds
        assert record.summary["parameters"] <= store.record("students", key).summary["parameters"]


def test_an_unknown_student_is_an_error(trained):
    with pytest.raises(StoreError, match="there is no students/feed"):
        evaluated("mindquantum", "feed", trained[0])


def test_features_of_other_texts_are_refused(trained):
    store, key = trained
    made_from = store.record("students", key).made_from
    others = data.load(SPEC.task.model_copy(update={"seed": 1}))
    with pytest.raises(StoreError, match="was made from other texts, or another order"):
        gather(store, made_from, dataset=others)
