"""How long a plan will take: by hand on made-up records, and within what a real sweep took."""

import re

import pytest
import yaml
from small_sweep import AXES, sweep

from jobs import kinds
from jobs.kinds.words import WORDS
from jobs.store import DataFile, Record
from orchestrator.grid import Grid, Resources, specs
from orchestrator.grid.space import Search
from orchestrator.plan import Job, estimate, forecast, plan
from orchestrator.plan.estimate import SAMPLE, Time
from orchestrator.plan.ranking import Result
from orchestrator.report.tables import plan_table
from orchestrator.sweep import main

FEATURES, SOFT_LABELS, STUDENTS = "features", "soft-labels", "students"
HEADS, LINEAR = "tanh", "linear"
TEXTS = {"task": 1000, "features": 1000, "other task": 500, "other features": 500}


def made_from(kind: str, other: str = "") -> dict[str, str]:
    if kind in (FEATURES, SOFT_LABELS):
        return {"task": f"{other}task"}
    sources = {"features": f"{other}features"}
    return sources if kind == LINEAR else sources | {"soft_labels": "soft labels"}


def job(kind: str, settings: dict, held: bool = False, name: str = "0" * 16) -> Job:
    return Job(kind, name, kinds.kind(kind).spec.parse(settings), made_from(kind), held)


def whole(jobs: list[Job], records: list[Record]) -> Time:
    """All times, one result after another."""
    found = estimate.of_jobs(jobs, records, TEXTS)
    assert found.keys() == {one.fingerprint for one in jobs if not one.held}
    return sum(found.values(), Time())


def record(kind: str, settings: dict, seconds: float, other: str = "") -> Record:
    return Record(
        schema_version=1,
        kind=kind,
        fingerprint="1" * 16,
        spec=kinds.kind(kind).spec.parse(settings).model_dump(mode="json"),
        made_from=made_from(kind, other),
        summary={},
        data=DataFile(name="none", sha256="0" * 64, bytes=0),
        created=0.0,
        seconds=seconds,
        versions={},
    )


def student(**settings) -> dict:
    circuit = {"layers": settings.pop("layers", 2), "ansatz": settings.pop("ansatz", "published")}
    circuit["qubits"] = settings.pop("qubits", 11)
    seeds = settings.pop("seeds", [0, 1])
    return {"circuit": circuit, "fit": {"epochs": 10} | settings, "seeds": seeds}


def head(**settings) -> dict:
    seeds = settings.pop("seeds", [0, 1])
    return {"fit": {"epochs": 10} | settings, "seeds": seeds}


@pytest.mark.parametrize(
    ("kind", "wanted", "known", "factor"),
    [
        (STUDENTS, student(), student(lr=0.5), 1),
        (STUDENTS, student(epochs=20), student(), 2),
        (STUDENTS, student(seeds=[0, 1, 2]), student(), 1.5),
        (STUDENTS, student(layers=10), student(), 3),
        (STUDENTS, student(batch_size=32), student(), None),
        (STUDENTS, student(qubits=4), student(), None),
        (STUDENTS, student(ansatz="textbook"), student(), None),
        (SOFT_LABELS, {"epochs": 6}, {"epochs": 2, "rank": 8}, 3),
        (SOFT_LABELS, {"precision": "bfloat16"}, {}, None),
        (SOFT_LABELS, {"model": "bloomz-3b"}, {}, None),
        (FEATURES, {"pooling": "first"}, {}, 1),
        (FEATURES, {"max_length": 64}, {}, None),
        (HEADS, head(epochs=30), head(), 3),
        (HEADS, head(seeds=[0]), head(), 0.5),
        (HEADS, head() | {"circuit": {"layers": 11}}, head(lr=0.5), 1),
        (HEADS, head(batch_size=32), head(), None),
        (LINEAR, {}, {}, 1),
    ],
)
@pytest.mark.parametrize("other", ["", "other "])
def test_one_record_is_scaled_by_what_drives_the_time(kind, wanted, known, factor, other):
    found = whole([job(kind, wanted)], [record(kind, known, 6.0, other)])
    if factor is None:
        assert found == Time(unknown=1)
    else:
        seconds = 6.0 * factor * (2 if other else 1)  # the other task has half as many texts
        assert found == Time(pytest.approx(seconds), pytest.approx(seconds), 0)


def test_what_is_held_costs_nothing_and_what_is_missing_adds_up():
    settings = [student(layers=n) for n in (2, 2, 6, 10)] + [student(batch_size=1)]
    jobs = [job(STUDENTS, each, name=f"{n}") for n, each in enumerate(settings)]
    jobs.append(job(STUDENTS, student(layers=2), held=True))
    found = whole(jobs, [record(STUDENTS, student(), 1.0)])
    assert found == Time(pytest.approx(1 + 1 + 2 + 3), pytest.approx(3), 1)
    assert found.at_once(2) == pytest.approx(3.5)
    assert found.at_once(7) == pytest.approx(3)
    assert whole(jobs, []) == Time(unknown=5)


def test_of_what_another_has_begun_the_rest_alone_takes_time():
    """Of the most seeds that are there; and of no kind that goes on from nothing."""
    tokens = {"tokens": "tokens", "task": "task"}
    took = record("hard", {"seeds": [7]}, 10.0)
    took = took.model_copy(update={"made_from": tokens})
    more, two, one = (
        Job.of("hard", kinds.kind("hard").spec.parse({"seeds": seeds}), tokens)
        for seeds in ([0, 1, 2, 3, 4], [0, 1], [0])
    )
    for held, left in (([], 5), ([one], 4), ([one, two], 3)):
        found = estimate.of_jobs([more], [took], TEXTS, {job.fingerprint for job in held})
        assert found[more.fingerprint].total == pytest.approx(10.0 * left)
    (few, all_of_them) = (
        Job.of(STUDENTS, kinds.kind(STUDENTS).spec.parse(student(seeds=seeds)), made_from(STUDENTS))
        for seeds in ([0], [0, 1])
    )
    known = record(STUDENTS, student(seeds=[0]), 10.0)
    found = estimate.of_jobs([all_of_them], [known], TEXTS, {few.fingerprint})
    assert found[all_of_them.fingerprint].total == pytest.approx(20.0)


def test_the_nearest_records_count_those_of_the_same_texts_first():
    near = [record(STUDENTS, student(layers=2), seconds) for seconds in (1, 2, 2, 3, 90)]
    far = [record(STUDENTS, student(layers=1), 50.0)]
    elsewhere = [record(STUDENTS, student(layers=2), 70.0, "other ")] * 9
    unknown = [record(STUDENTS, student(layers=2), 80.0, "unknown ")] * 9
    jobs = [job(STUDENTS, student(layers=2))]
    found = whole(jobs, [*elsewhere, *unknown, *far, *near])
    assert found == Time(2, 2, 0)


def test_a_search_takes_as_long_as_what_it_has_tried():
    trial = job(STUDENTS, student())
    tried = [Result(trial, record(STUDENTS, student(), seconds)) for seconds in (1.0, 4.0)]
    assert estimate.of_search(tried, 10) == Time(25, 2.5, 0)
    assert estimate.of_search(tried, 0) == Time()
    assert estimate.of_search([], 10) == Time(unknown=10)


SEARCH = Search(
    space={
        "circuit.layers": {"low": 1, "high": 2},
        "loss.alpha": {"low": 0, "high": 1},
        "fit.lr": {"low": 0.001, "high": 1, "log": True},
    },
    trials=20,
)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return sweep(tmp_path_factory.mktemp("small"))


def widened(small, axes: dict) -> Grid:
    return small.definition.model_copy(update={"axes": AXES | axes})


def needs(small, definition: Grid, cpus: int | None = 2) -> dict[str, forecast.Need]:
    made = plan(specs(definition), small.dataset, small.store, definition.search)
    texts = len(small.dataset.texts)
    lines = forecast.needs(definition, made, small.history, texts, cpus)
    return {need.what: need for need in lines}


@pytest.mark.parametrize("axis", [{"circuit.layers": (1, 2, 3)}, {"fit.lr": (0.01, 0.1, 0.03)}])
def test_a_wider_grid_is_judged_by_what_is_held(small, axis):
    definition = widened(small, axis)
    told = needs(small, definition)
    assert (told["trials"].held, told["trials"].missing) == (7, 5)
    wider = plan(specs(definition), small.dataset, small.store, definition.search)
    # More layers make larger heads, another rate more of them; nothing changes what is linear.
    for what, kind, jobs in (
        ("trials", STUDENTS, wider.sweep.trials),
        ("classical references", HEADS, wider.sweep.references),
    ):
        lacking = [job for job in jobs if not job.held]
        assert {job.kind for job in lacking} == {kind}
        missing = [estimate.load(kind, job.spec, job.made_from, {}).work for job in lacking]
        parse = kinds.kind(kind).spec.parse
        rates = [
            record.seconds / estimate.load(kind, parse(record.spec), record.made_from, {}).work
            for record in (
                small.store.record(kind, name) for name in small.store.fingerprints(kind)
            )
        ]
        time = told[what].time
        assert time.unknown == 0
        assert min(rates) <= time.total / sum(missing) <= max(rates)
        assert time.longest <= max(rates) * max(missing)


def test_each_kind_says_what_it_asks_for(small):
    definition = widened(small, {"fit.lr": (0.01, 0.1, 0.03)})
    told = needs(small, definition)
    assert told["features"] == ("features", 1, 0, "a node's CPUs", Time(), 1)
    assert (told["trials"].where, told["trials"].places) == ("1 CPU each", 2)
    assert told["soft labels"].where == "all GPUs, or CPUs"
    references = told["classical references"]
    assert (references.held, references.missing) == (1 + 4, 2)
    assert (references.where, references.places) == ("1 CPU each", 2)
    assert needs(small, definition, cpus=None)["trials"].places is None
    changed = {"resources": Resources(cpu=0.5), "teacher_workers": 4}
    told = needs(small, definition.model_copy(update=changed))
    assert (told["trials"].where, told["trials"].places) == ("0.5 CPU each", 4)
    assert told["soft labels"].where == "4 GPUs, or CPUs"


def need(total: float, places: int | None, unknown: int = 0, missing: int = 4) -> forecast.Need:
    return forecast.Need(
        "trials", 1, missing, "1 CPU each", Time(total, min(1.0, total), unknown), places
    )


@pytest.mark.parametrize(
    ("one", "told"),
    [
        (need(600, 2), "≈ 5 min 00 s"),
        (need(600, 1000), "≈ 1.0 s"),
        (need(600, None), "≈ 10 min 00 s, one by one"),
        (need(600, 2, unknown=1), "> 5 min 00 s"),
        (need(0, 2, unknown=4), "—"),
        (need(0, 2, missing=0), ""),
    ],
)
def test_the_table_says_how_long(one, told):
    table = plan_table("sweep", [one], "here")
    assert list(table.columns[-1].cells) == [told]
    assert list(table.columns[-2].cells) == ["1 CPU each" if one.missing else ""]
    both = plan_table("sweep", [one, need(60, 1)], "here").caption
    assert both.startswith("where: here\nhow long: ")


def test_the_command_tells_it(small, tmp_path, capfd, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    definition = widened(small, {"fit.lr": (0.01, 0.1, 0.03)})
    grid = tmp_path / "small.yaml"
    grid.write_text(yaml.safe_dump(definition.model_dump(mode="json", exclude_unset=True)))
    command = ["--grid", str(grid), "--store", small.store.uri, "--home", str(tmp_path)]
    assert main([*command, "--dry-run"]) == 0
    here = capfd.readouterr().out
    trials = r"trials +│ +7 │ +5 │ 1 CPU each +│ ≈ \d+\.\d s"
    assert re.search(trials + " +│", here)
    assert re.search(r"where: a Ray of its own on this machine, \d+ CPU", here)
    assert re.search(r"how long: ≈ \d+\.\d s in all", here)
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert main([*command, "--dry-run"]) == 0
    there = capfd.readouterr().out
    assert re.search(trials + ", one by one +│", there)
    assert "where: the cluster at 10.0.0.1:6379" in there
    assert main([*command, "--address", "head:6379", "--dry-run"]) == 0
    assert "where: the cluster at head:6379" in capfd.readouterr().out


def test_a_sweep_of_other_texts_learns_from_these(small):
    """Another split of the same texts: nothing of the plan is held, and yet all is known."""
    definition = small.definition.model_copy(
        update={"base": small.definition.base | {"task.seed": 7}}
    )
    told = needs(small, definition)
    assert {name: need.held for name, need in told.items()} == dict.fromkeys(told, 0)
    assert {name: need.time.unknown for name, need in told.items()} == dict.fromkeys(told, 0)
    assert told["features"].time.total == pytest.approx(1.5)
    assert told["soft labels"].time.total == pytest.approx(1.5)


def test_a_search_is_told_by_what_lies_in_its_space(small):
    definition = small.definition.model_copy(update={"axes": {}, "search": SEARCH})
    told = needs(small, definition)
    assert list(told) == [
        "features",
        "soft labels",
        "linear models on words",
        "trials of the search",
    ]
    found = told["trials of the search"]
    assert (found.held, found.missing, found.where, found.places) == (7, 13, "1 CPU each", 2)
    records = [small.store.record(STUDENTS, trial.fingerprint) for trial in small.trials[:7]]
    mean = sum(record.seconds for record in records) / 7
    assert found.time.total == pytest.approx(13 * mean)


def test_few_records_are_read(small, monkeypatch):
    read = []
    whole = type(small.store).record

    def record(self, kind: str, fingerprint: str):
        read.append(kind)
        return whole(self, kind, fingerprint)

    monkeypatch.setattr(type(small.store), "record", record)
    monkeypatch.setattr(estimate, "SAMPLE", 3)
    told = needs(small, widened(small, {"fit.lr": (0.01, 0.1, 0.03)}))
    assert sorted(read) == [FEATURES, *[STUDENTS] * 3, *[HEADS] * 3, WORDS.name]
    assert told["trials"].time.unknown == 0
    assert SAMPLE < 50
