"""Kinds of result: what each says of itself, names that last, and jobs that are written down."""

import importlib
import subprocess
import sys
from dataclasses import replace
from statistics import fmean

import pytest

from jobs import kinds
from jobs.kinds import Job
from jobs.kinds.evaluations import EVALUATIONS
from jobs.kinds.probes import PROBES
from jobs.kinds.teachers import SOFT_LABELS
from jobs.store import DataFile, Record
from qdllm import families
from qdllm.errors import ConfigError
from qdllm.families.linear import LinearSpec
from qdllm.families.quantum import StudentSpec
from qdllm.families.tanh import TanhSpec
from qdllm.rivals.specs import StatesSpec, TokensSpec
from qdllm.specs import EncoderSpec, EvaluationSpec, TaskSpec, TeacherSpec

TEXTS = "d" * 64
"""A digest of texts."""
GOLDEN = {
    "features": (EncoderSpec(), "c20ecbc862573f56"),
    "soft-labels": (TeacherSpec(), "a730cbbf874290b7"),
    "students": (StudentSpec(), "fdec1bb20b8ead48"),
    "tanh": (TanhSpec(), "4c4421ded7ca77f7"),
    "linear": (LinearSpec(), "4f4928032d30468d"),
    "tokens": (TokensSpec(), "c5c908ea28ab47b3"),
    "teacher-states": (StatesSpec(), "25d02f0dbcf22938"),
    "pkd": (families.family("pkd").spec(), "362111e499d44a2a"),
    "tinybert": (families.family("tinybert").spec(), "5a3315ea0f67bac8"),
}
"""Of the defaults, on the packaged model. A change makes every user compute everything anew."""

every = pytest.mark.parametrize("kind", kinds.kinds().values(), ids=lambda one: one.name)
with_spec = pytest.mark.parametrize(
    "kind", [one for one in kinds.kinds().values() if one.spec], ids=lambda one: one.name
)


def named(kind: str, spec=None, task=None) -> Job:
    return kinds.named(kind, spec or GOLDEN[kind][0], task or TaskSpec(), TEXTS)


@pytest.mark.parametrize("kind", GOLDEN)
def test_results_of_the_defaults_keep_their_names(kind):
    assert named(kind).fingerprint == GOLDEN[kind][1]


def test_a_tasks_name_and_an_evaluations_last_too():
    assert kinds.task_key(TaskSpec(), TEXTS) == "a4aaaab51e84f2f8"
    student = {"student": GOLDEN["students"][1]}
    assert Job.of("evaluations", EvaluationSpec(), student).fingerprint == "0b45d25342bd6114"


def test_a_trial_is_made_from_what_its_family_reads_and_from_nothing_else():
    students, heads, probe = map(named, ("students", "tanh", "linear"))
    features, soft_labels = GOLDEN["features"][1], GOLDEN["soft-labels"][1]
    assert students.made_from == {"features": features, "soft_labels": soft_labels}
    assert heads.made_from == students.made_from
    assert probe.made_from == {"features": features}
    task = kinds.task_key(TaskSpec(), TEXTS)
    assert named("features").made_from["task"] == named("soft-labels").made_from["task"] == task


def test_all_that_a_result_is_made_from_is_seen_before_it_and_once():
    seen: list[Job] = []
    trial = kinds.named("students", StudentSpec(), TaskSpec(), TEXTS, seen.append)
    assert [job.kind for job in seen] == ["features", "soft-labels", "students"]
    assert seen[-1] == trial
    assert {job.fingerprint for job in seen[:-1]} == set(trial.made_from.values())


def test_a_change_of_what_a_result_is_made_from_changes_its_name():
    changed = [
        named("students", StudentSpec(encoder=EncoderSpec(pooling="first"))),
        named("students", StudentSpec(teacher=TeacherSpec(epochs=9))),
        named("students", task=TaskSpec(seed=1)),
        kinds.named("students", StudentSpec(), TaskSpec(), "e" * 64),
    ]
    names = {job.fingerprint for job in (*changed, named("students"))}
    assert len(names) == 5
    assert named("linear", LinearSpec()).fingerprint == GOLDEN["linear"][1]
    of_others = StudentSpec(task=TaskSpec(name="other"))
    assert named("students", of_others).fingerprint == GOLDEN["students"][1]


@with_spec
@pytest.mark.parametrize("held", [False, True])
def test_a_job_survives_being_written_down(kind, held):
    made_from = {"features": "f" * 16, "task": "7" * 16}
    job = replace(Job.of(kind.name, kind.spec(), made_from), held=held)
    again = kinds.read(kinds.written(job))
    # Whoever reads it makes it, so whether it was there then is no part of it.
    assert again == replace(job, held=False)
    assert type(again.spec) is kind.spec
    assert Job.of(again.kind, again.spec, again.made_from).fingerprint == job.fingerprint


def test_a_written_job_holds_every_setting():
    spec = StudentSpec.parse(
        {
            "task": {"name": "mine", "data": "/texts.csv", "seed": 3},
            "encoder": {"hidden_layers": "all"},
            "teacher": {"model": "opt-6.7b", "zero_stage": 3, "offload": True},
            "circuit": {"ansatz": "textbook", "qubits": 4},
            "angles": "minmax",
            "fit": {"lr": 0.1 + 0.2},
            "seeds": [5, 3],
        }
    )
    assert kinds.read(kinds.written(Job.of("students", spec, {}))).spec == spec


@every
def test_a_kind_says_of_itself_what_others_build_on(kind):
    assert kinds.kind(kind.name) is kind
    assert kind.label
    assert kind.kept in ("always", "used", "source")
    if kind.role:
        assert kinds.by_role(kind.role) is kind
        assert kind.of_trial
        assert kind.tensor or kinds.by_role(kind.named_by).role == kind.named_by
    if kind.maker:
        spec = kind.spec()
        assert kind.phase(spec)
        maker = importlib.import_module(kind.maker)
        assert callable(maker.run)
        assert kind.holds != "workers" or callable(maker.train_loop)
        for source, source_spec in kind.needs(spec).values():
            assert type(source_spec) is kinds.kind(source).spec
    if kind.load:
        alike, work = kind.load(kind.spec())
        assert hash(alike) == hash(tuple(alike))
        assert work > 0


def test_every_family_has_a_kind_of_its_own():
    for family in families.families().values():
        kind = kinds.kind(family.kind)
        assert (kind.spec, kind.holds, kind.maker) == (family.spec, "trial", "jobs.trial")
        spec = family.spec()
        assert set(kind.needs(spec)) == set(family.sources(spec)) >= set(family.reads)


def test_the_parts_of_a_trial_that_describe_its_sources():
    spec = StudentSpec(encoder=EncoderSpec(pooling="first"), teacher=TeacherSpec(rank=8))
    assert kinds.kind("students").needs(spec) == {
        "features": ("features", spec.encoder),
        "soft_labels": ("soft-labels", spec.teacher),
    }


@pytest.mark.parametrize("look", [kinds.kind, kinds.by_role])
def test_a_kind_that_nothing_declares_is_refused_with_those_that_there_are(look):
    with pytest.raises(
        ConfigError, match=r"nothing here declares .*'student'; install the"
    ) as told:
        look("student")
    assert str(told.value).endswith(f"There are: {', '.join(kinds.kinds())}")


@pytest.mark.parametrize(
    "champion", [family.spec() for family in families.families().values()], ids=lambda x: x.family
)
def test_a_champion_with_a_circuit_is_evaluated_by_mindquantum(champion):
    kind, spec = kinds.evaluation("mindquantum")
    assert (kind, spec) == (EVALUATIONS, EvaluationSpec(backend="mindquantum"))
    assert kind.suits(champion) == (champion.family == "quantum")


def test_a_name_that_means_no_evaluation_is_refused_with_those_that_there_are():
    with pytest.raises(
        ConfigError, match="unknown evaluation 'shot'; did you mean 'shots'"
    ) as told:
        kinds.evaluation("shot")
    assert "There are: engine, mindquantum, shots, baihua-noise, baihua-sim" in str(told.value)


def record(kind: str, spec: dict, summary: dict) -> Record:
    return Record(
        schema_version=1,
        kind=kind,
        fingerprint="0" * 16,
        spec=spec,
        made_from={},
        summary=summary,
        data=DataFile(name="none.safetensors", sha256="0" * 64, bytes=0),
        created=0.0,
        seconds=1.0,
        versions={},
    )


@pytest.mark.parametrize(
    "summary",
    [
        {"metrics": {"train.accuracy": 0.99, "val.accuracy": 0.9, "test.accuracy": 0.8}},
        {"accuracy": {"train": 0.99, "validation": 0.9, "test": 0.8}},
    ],
    ids=["now", "of version 0.1"],
)
def test_a_teachers_record_tells_its_accuracies(summary):
    spec = TeacherSpec(model="bigscience/bloomz-1b1", rank=8).model_dump(mode="json")
    found = record("soft-labels", spec, summary | {"parameters": 123})
    metrics = {"train.accuracy": 0.99, "val.accuracy": 0.9, "test.accuracy": 0.8}
    assert SOFT_LABELS.metrics(found) == metrics
    told = "teacher bigscience/bloomz-1b1, LoRA rank 8: validation 0.9000, test 0.8000"
    assert SOFT_LABELS.line(found) == told
    (standing,) = SOFT_LABELS.standing(found)
    assert (standing.name, standing.parameters) == ("teacher bloomz-1b1, LoRA rank 8", 123)
    assert standing.metrics == metrics
    assert standing.settings["teacher.epochs"] == TeacherSpec().epochs
    assert not standing.settings.keys() & {"teacher.model", "teacher.rank"}


def test_a_trials_record_tells_what_stands_beside_a_champion():
    metrics = {"val.accuracy": [0.8, 0.9], "test.accuracy": [0.7, 0.6]}
    spec = TanhSpec(seeds=(0, 1)).model_dump(mode="json")
    found = record("tanh", spec, {"metrics": metrics, "parameters": 77})
    (standing,) = kinds.kind("tanh").standing(found)
    assert (standing.name, standing.parameters) == ("classical head", 77)
    assert standing.metrics == metrics
    assert standing.settings["fit.lr"] == TanhSpec().fit.lr


def test_references_of_version_0_1_still_stand():
    """All in one result, the linear one with a value and the head with one for each seed."""
    head = {
        "val.accuracy": [0.9, 0.8],
        "test.accuracy": [0.7, 0.6],
        "parameters": 50,
        "width": 3,
        "loss": {"alpha": 0.5},
        "fit": {"lr": 0.01},
    }
    linear = {"val.accuracy": 0.9, "test.accuracy": 0.8, "parameters": 21, "C": 0.1}
    found = record("probes", {}, {"logistic regression": linear, "classical head": head})
    first, second = PROBES.standing(found)
    assert (first.name, first.parameters, first.settings) == ("logistic regression", 21, {})
    assert first.metrics == {"val.accuracy": 0.9, "test.accuracy": 0.8}
    assert (second.name, second.parameters) == ("classical head", 50)
    assert second.settings == {"loss.alpha": 0.5, "fit.lr": 0.01}
    assert fmean(second.metrics["val.accuracy"]) == pytest.approx(0.85)


def test_an_evaluation_says_how_it_differs():
    ours = record("students", {}, {"metrics": {"test.accuracy": [0.5, 0.7]}})
    theirs = record(
        "evaluations",
        {"backend": "mindquantum"},
        {"metrics": {"test.accuracy": [0.6, 0.7]}, "largest_difference": 1.234e-6},
    )
    assert EVALUATIONS.opinion(theirs, ours) == (
        "test 0.6500, ours 0.6000; no expectation differs by more than 1.2e-06"
    )
    (standing,) = EVALUATIONS.standing(theirs)
    assert standing.name == "★ champion, simulated by MindQuantum"


def test_fingerprints_need_no_torch():
    code = """
import sys
from jobs import kinds
from qdllm.specs import TaskSpec
for kind in kinds.kinds().values():
    if kind.maker and kind.name != "evaluations":
        kinds.read(kinds.written(kinds.named(kind.name, kind.spec(), TaskSpec(), "0" * 64)))
sys.exit(", ".join({"torch", "sklearn", "numba", "transformers"} & sys.modules.keys()) or None)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
