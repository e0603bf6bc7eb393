"""A trial of any family: what is published, what is told meanwhile, and what is refused."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import readings
import torch
from checkout import ROOT
from commands import here

from jobs import kinds, trial
from jobs.kinds import Job
from jobs.store import Store
from qdllm import families
from qdllm.errors import StoreError, TrialError
from qdllm.families.tanh import TanhSpec
from qdllm.metrics import classification
from qdllm.specs import TaskSpec
from qdllm.texts import data

WIDTH, CLASSES = 5, 3
SETTINGS = {
    "circuit": {"qubits": 3, "layers": 1},
    "fit": {"epochs": 2, "batch_size": 16},
    "seeds": [3, 1],
}
"""Little work for each; a family takes what its spec has."""
MEASURES = {"accuracy", "precision", "recall", "f1", "calibration_error"}

every = pytest.mark.parametrize("family", families.families().values(), ids=lambda one: one.name)


def job_of(family, **settings) -> Job:
    own = {
        key: value
        for key, value in (SETTINGS | readings.settings(family) | settings).items()
        if key in family.spec.model_fields
    }
    spec = family.spec.parse(own)
    made_from = {role: role[0] * 16 for role in family.sources(spec)}
    return Job.of(family.kind, spec, made_from)


def arrays_of(family) -> dict[str, np.ndarray]:
    """What `gather` gives, read-only as Ray's object store hands it out."""
    generator, arrays = np.random.default_rng(0), {}
    for split, size in zip(data.SPLITS, (40, 21, 20), strict=True):
        labels_N = np.arange(size) % CLASSES
        known_NC = np.eye(CLASSES, dtype=np.float32)[labels_N]
        noise_NH = generator.normal(size=(size, WIDTH)).astype(np.float32)
        arrays[f"{split}.labels"] = labels_N
        if family.long:
            drawn = readings.separable(family, job_of(family).spec, CLASSES, size, size)
            arrays[f"{split}.tokens"] = drawn.features_NH.numpy()
            for name, tensor in (drawn.more or {}).items() if split == "train" else ():
                of_split = name if name.startswith("adapter.") else f"train.{name}"
                arrays[of_split] = tensor.numpy().copy()
        arrays[f"{split}.features"] = known_NC @ np.eye(CLASSES, WIDTH, dtype=np.float32) + noise_NH
        if "soft_labels" in family.reads:
            arrays[f"{split}.logits"] = 3 * known_NC
    for array in arrays.values():
        array.setflags(write=False)
    return arrays


@every
def test_a_trial_leaves_one_record_with_all_its_rows(family, tmp_path):
    job, arrays, store = job_of(family), arrays_of(family), Store(str(tmp_path))
    record = trial.train(job, arrays, store)
    assert {(file.path.split("/")[0], file.path.split("/")[1]) for file in store.files()} == {
        (family.kind, job.fingerprint)
    }
    record, tensors = store.load(family.kind, job.fingerprint)
    assert record.spec == job.spec.model_dump(mode="json")
    assert families.parse(record.spec) == job.spec
    assert record.made_from == job.made_from
    rows, epochs = len(job.spec.seeds), family.epochs(job.spec)
    size = family.parameters(job.spec, WIDTH, CLASSES)
    assert record.summary["parameters"] == size
    assert tensors["parameters"].shape == (rows, size)
    agreement = {"agreement"} if "soft_labels" in family.reads else set()
    metrics = {f"{split}.{name}" for split in ("val", "test") for name in MEASURES | agreement}
    assert record.summary["metrics"].keys() == metrics | {"train.loss", "val.loss"}
    for name, values in record.summary["metrics"].items():
        assert len(values) == rows, name
        if not name.startswith("test."):
            assert tensors[name].shape == (rows, epochs), name
            assert tensors[name][:, -1].tolist() == values, name
    assert record.summary["seconds_per_epoch"] > 0
    assert record.summary["inference_us"] > 0


@every
def test_what_is_published_gives_the_published_measures_again(family, tmp_path):
    job, arrays, store = job_of(family), arrays_of(family), Store(str(tmp_path))
    trial.train(job, arrays, store)
    record, tensors = store.load(family.kind, job.fingerprint)
    parameters_SP = torch.from_numpy(tensors["parameters"])
    model = family.restore(families.parse(record.spec), WIDTH, CLASSES, parameters_SP)
    for split, short in (("validation", "val"), ("test", "test")):
        part = trial.examples(arrays, split, kinds.by_role(family.reads[0]).tensor)
        logits_SNC = model.predict(part.features_NH)
        for name, value_S in classification(logits_SNC, part.labels_N, part.logits_NC).items():
            assert record.summary["metrics"][f"{short}.{name}"] == value_S.tolist(), name


@every
def test_every_epoch_is_told_with_the_means_over_the_seeds(family, tmp_path):
    job, told = job_of(family), []
    record = trial.train(
        job, arrays_of(family), Store(str(tmp_path)), lambda *event: told.append(event)
    )
    assert [epoch for epoch, _ in told] == list(range(1, family.epochs(job.spec) + 1))
    for name, mean in told[-1][1].items():
        assert mean == pytest.approx(np.mean(record.summary["metrics"][name])), name


@pytest.mark.parametrize(
    "family",
    [one for one in families.families().values() if "fit" in one.spec.model_fields],
    ids=lambda one: one.name,
)
def test_a_trial_that_diverges_is_named_and_publishes_nothing(family, tmp_path):
    store = Store(str(tmp_path))
    job = job_of(family, fit={"epochs": 2, "lr": 1e38}, seeds=[7])
    with pytest.raises(TrialError, match=r"diverged in epoch [12] for seeds \[7\]"):
        trial.train(job, arrays_of(family), store)
    assert store.files() == []


@pytest.fixture(scope="module")
def held(tmp_path_factory) -> tuple[Store, Job]:
    """A head of made-up features and soft labels of the sample texts, trained by itself."""
    store = Store(str(tmp_path_factory.mktemp("store")))
    dataset, spec = data.load(TaskSpec()), TanhSpec.parse(SETTINGS)
    job = kinds.named("tanh", spec, spec.task, dataset.digest)
    generator = np.random.default_rng(0)
    for role, name in job.made_from.items():
        rows = generator.normal(size=(len(dataset.texts), 4)).astype(np.float32)
        store.publish(
            kinds.by_role(role).name,
            name,
            tensors=dataset.by_split(rows),
            spec={},
            made_from={},
            summary={"rows": dataset.rows},
            seconds=0.0,
        )
    return store, job


def test_a_trial_by_itself_reads_the_store_tells_its_epochs_and_runs_once(held):
    (store, job), events = held, []
    dataset = data.load(TaskSpec())
    trial.run(job, dataset, store, lambda *event: events.append(event))
    record = store.record("tanh", job.fingerprint)
    accuracy = np.mean(record.summary["metrics"]["val.accuracy"])
    assert [event[:3] for event in events] == [("trial", 1, 2), ("trial", 2, 2)]
    assert events[-1][3] == f"validation accuracy {accuracy:.4f}"
    trial.run(job, dataset, store, lambda *event: events.append(event))
    assert len(events) == 2
    assert store.record("tanh", job.fingerprint) == record


def test_what_a_trial_is_made_from_must_be_there(tmp_path, held):
    store, job = Store(str(tmp_path)), held[1]
    with pytest.raises(StoreError, match=f"there is no features/{job.made_from['features']}"):
        trial.run(job, data.load(TaskSpec()), store)


def command(folder, request: dict) -> subprocess.CompletedProcess:
    (folder / "job.json").write_text(json.dumps(request), encoding="utf-8")
    return subprocess.run(
        [sys.executable, "-m", "jobs.trial", str(folder / "job.json")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_trains_and_prints_the_fingerprint(held, tmp_path):
    store, job = held
    settings = {"family": "tanh", **SETTINGS, "seeds": [9]}
    done = command(tmp_path, {"trial": settings, "store": store.uri})
    assert done.returncode == 0, done.stderr
    assert "trial 2/2 validation accuracy 0." in done.stderr
    record = store.record("tanh", done.stdout.strip())
    assert record.made_from == job.made_from
    assert record.spec["seeds"] == [9]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"family": "tahn"}, "unknown family 'tahn'; did you mean 'tanh'? There are: distilbert, "),
        ({"family": "tanh", "angles": "raw"}, "unknown key 'angles'"),
        ({"fit": {"epocs": 2}}, "unknown key 'fit.epocs'; did you mean 'epochs'? There are: "),
        ({"family": "tanh", "deeper": [1000]}, "deeper: [1000] leaves no unit for the first layer"),
    ],
)
def test_the_command_refuses_bad_input_without_a_traceback(settings, message, tmp_path):
    request = {"trial": settings, "store": str(tmp_path / "store")}
    (tmp_path / "job.json").write_text(json.dumps(request), encoding="utf-8")
    assert here("jobs.trial", [str(tmp_path / "job.json")], status=2).startswith(message)


def test_the_command_tells_what_is_missing(tmp_path):
    (tmp_path / "job.json").write_text(json.dumps({"store": str(tmp_path / "store")}))
    assert "there is no features/" in here("jobs.trial", [str(tmp_path / "job.json")], status=1)


FRESH = """
import sys, time
from types import SimpleNamespace
sys.path[:0] = ["tests/support", "tests/jobs"]
from numba.core import event
from test_trial import arrays_of, job_of
from jobs import trial
from jobs.store import Store
from qdllm import families, fit

class Compilers(event.Listener):
    began = []
    def on_start(self, event):
        self.began.append(time.perf_counter())
    def on_end(self, event):
        pass

def watched(module):
    seen = []
    def clock():
        seen.append(time.perf_counter())
        return seen[-1]
    module.time = SimpleNamespace(perf_counter=clock)
    return seen

event.register("numba:compile", Compilers())
epochs, whole = watched(fit), watched(trial)
quantum = families.family("quantum")
trial.train(job_of(quantum), arrays_of(quantum), Store(sys.argv[1]))
timed = [*zip(epochs[::2], epochs[1::2], strict=True)]
timed += zip(whole[1:-1:2], whole[2:-1:2], strict=True)
inside = [at for at in Compilers.began if any(a <= at <= b for a, b in timed)]
print(len(timed), len(Compilers.began), len(inside))
"""


@pytest.mark.slow
def test_what_a_new_process_compiles_is_not_timed(tmp_path):
    """Two epochs and the inferences, in a process whose compilers find nothing made before."""
    done = subprocess.run(
        [sys.executable, "-c", FRESH, str(tmp_path / "store")],
        cwd=ROOT,
        env=os.environ | {"QDLLM_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    timed, compiled, inside = map(int, done.stdout.split())
    assert timed == 2 + trial.INFERENCES
    assert compiled > 0
    assert inside == 0
