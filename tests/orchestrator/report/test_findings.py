"""What a report shows comes out of the store alone, and is what was put in."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
from checkout import ROOT
from commands import here
from small_sweep import CLASSES, SmallSweep, sweep

from jobs.kinds.teachers import SOFT_LABELS
from jobs.kinds.words import NAME as WORDS_NAME
from jobs.kinds.words import WORDS
from jobs.store import Store
from orchestrator.grid import on, specs
from orchestrator.grid.space import Search
from orchestrator.plan import History, plan
from orchestrator.plan.history import COMPARED, after_search
from orchestrator.plan.ranking import Result, axes, champion, ranked
from orchestrator.report import findings, frame, page, sweeps, tables
from orchestrator.report.champion import export
from orchestrator.report.evaluations import Under
from orchestrator.report.findings import Findings
from qdllm.errors import ConfigError
from qdllm.texts import data

HEAD = "classical head"


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> SmallSweep:
    return sweep(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def found(small) -> Findings:
    return small.found


def test_what_was_asked_is_kept(small, found):
    assert found.name == "small-prices"
    assert found.sweep.spec == small.definition.model_dump(mode="json")
    assert found.sweep.summary["texts"] == small.dataset.describe()
    assert set(found.sweep.summary["classes"]) == set(CLASSES)
    assert found.sweep.made_from == {"texts": small.dataset.digest}
    assert found.settings == axes(small.trials)
    assert list(found.settings) == [trial.fingerprint for trial in small.trials]
    assert found.axes == ["circuit.layers", "loss.alpha", "fit.lr"]
    for split, labels_N in found.labels.items():
        np.testing.assert_array_equal(labels_N, getattr(small.dataset, split).labels_N)


def test_finished_trials_are_ranked_as_ever(small, found):
    results = [
        Result(trial, small.store.record("students", trial.fingerprint))
        for trial in small.trials[:-1]
    ]
    names = [one.trial.fingerprint for one in ranked(results)]
    assert [one.trial.fingerprint for one in found.order] == names
    assert found.champion.trial.fingerprint == champion(results).trial.fingerprint
    assert found.missing == {small.trials[-1].fingerprint: ""}


def test_what_stands_beside_the_students_is_there(small, found):
    assert [(one.kind, one.fingerprint) for one in found.sources] == [
        (job.kind, job.fingerprint) for job in small.plan.sources if job.kind != WORDS.name
    ]
    (teacher,) = (one for one in found.sources if one.kind == SOFT_LABELS.name)
    assert found.teacher is teacher
    assert [one.name for one in found.beside] == [
        WORDS_NAME,
        "logistic regression",
        "classical head",
    ]
    (evaluation,) = found.evaluations
    accuracy = (found.logits_SNC.argmax(-1) == found.labels["test"]).mean(-1)
    np.testing.assert_allclose(accuracy, evaluation.summary["metrics"]["test.accuracy"])


def test_of_the_references_of_a_name_the_best_by_validation_is_told(small, found):
    names = [one.fingerprint for one in small.references]
    assert [one.fingerprint for one in found.references] == names
    means = [
        fmean(one.summary["metrics"]["val.accuracy"])
        for one in found.references
        if one.kind == small.references[-1].kind
    ]
    assert len(means) == 4
    head = found.beside[-1]
    assert fmean(head.metrics["val.accuracy"]) == max(means)


def test_curves_of_a_few_trials_end_in_their_metrics(found):
    assert next(iter(found.examples)) == "champion"
    assert list(found.examples.values())[-1] is found.order[-1]
    for one in found.examples.values():
        for metric in ("val.accuracy", "train.loss"):
            assert "parameters" not in found.curves[one.trial.fingerprint]
            curve_SE = found.curves[one.trial.fingerprint][metric]
            assert curve_SE.shape == (3, 3)
            np.testing.assert_allclose(curve_SE[:, -1], one.record.summary["metrics"][metric])


def test_values_of_an_axis_come_by_size(found):
    assert found.values("fit.lr") == [0.01, 0.1]
    assert found.values("circuit.layers") == [1, 2]


def test_what_the_family_alone_decides_is_no_axis(found):
    """Widths of rivals' bodies, say, beside a rate of which each family has tried two."""
    settings = {
        "a": {"family": "hard", "body.width": None, "tuning.lr": 0.1},
        "b": {"family": "hard", "body.width": None, "tuning.lr": 0.3},
        "c": {"family": "tinybert", "body.width": 192, "terms.hard": 0.0},
        "d": {"family": "pkd", "body.width": None, "tuning.lr": 0.1, "terms.hard": 0.5},
    }
    assert replace(found, settings=settings).axes == ["family", "tuning.lr"]
    del settings["a"], settings["b"]
    assert replace(found, settings=settings).axes == ["family"]


def test_reasons_of_failures_are_kept(small):
    name = small.trials[-1].fingerprint
    told = findings.findings(small.history, small.record, failures={name: "out of memory"})
    assert told.missing == {name: "out of memory"}


def test_a_search_finds_all_that_lies_in_its_space(small):
    base, *_ = small.trials
    definition = small.definition.model_copy(
        update={
            "axes": {},
            "search": Search.parse(
                {"space": {key: list(values) for key, values in small.definition.axes.items()}}
            ),
        }
    )
    asked = plan([base.spec], small.dataset, small.store, definition.search)
    key = sweeps.publish_sweep(small.store, definition, asked, small.dataset)
    found = findings.findings(small.history, small.store.record("sweeps", key))
    done = [trial.fingerprint for trial in small.trials[:-1]]
    assert {one.trial.fingerprint for one in found.order} == set(done)
    assert found.missing == {}
    assert found.settings == axes([one.trial for one in found.order])
    fewer = definition.search.model_copy(
        update={"space": definition.search.space | {"circuit.layers": [base.spec.circuit.layers]}}
    )
    near = small.history.in_space(fewer, asked.sweep.bases[0])
    assert {one.trial.fingerprint for one in near} == {
        trial.fingerprint
        for trial in small.trials[:-1]
        if trial.spec.circuit.layers == base.spec.circuit.layers
    }
    heads = [job for job in after_search(found.order) if "loss" in type(job.spec).model_fields]
    assert 0 < len(heads) <= COMPARED


def test_a_sweep_without_results_has_no_champion(tmp_path):
    early = sweep(tmp_path, left_out=8)
    found = early.found
    assert found.champion is None
    assert len(found.missing) == 8
    assert found.examples == {}


def test_references_of_several_teachers_are_told_apart(tmp_path):
    two = sweep(tmp_path, axes={"teacher.epochs": (1, 2), "fit.lr": (0.1,)}, left_out=0)
    found = two.found
    epochs = [one.settings["teacher.epochs"] for one in found.beside if one.name == HEAD]
    assert sorted(epochs) == [1, 2]
    # Both teachers' students read the same features, so there is one of these.
    assert [one.name for one in found.beside if one.name != HEAD] == [
        WORDS_NAME,
        "logistic regression",
    ]
    assert found.teacher.spec["epochs"] == found.champion.trial.spec.teacher.epochs


def test_writing_a_sweep_down_twice_changes_nothing(small):
    again = sweeps.publish_sweep(small.store, small.definition, small.plan, small.dataset)
    assert again == small.plan.name
    assert small.store.record("sweeps", again) == small.record


def test_the_same_texts_under_another_name_share_results_and_are_told_by_their_own(tmp_path):
    first = sweep(tmp_path, left_out=0)
    path = shutil.copy(tmp_path / "prices.csv", tmp_path / "other.csv")
    definition = on(first.definition, str(path), None, None)
    every = specs(definition)
    dataset = data.load(every[0].task)
    again = plan(every, dataset, first.store, champion=definition.champion.families)
    assert all(job.held for job in again.jobs)
    names = {sweeps.publish_sweep(first.store, definition, again, dataset) for _ in range(2)}
    (name,) = names - {first.plan.name}
    found = findings.findings(first.history, first.store.record("sweeps", name))
    assert found.name == "small-other"
    assert f"from {path}" in found.sweep.summary["texts"]
    assert [one.trial.fingerprint for one in found.order] == [
        one.trial.fingerprint for one in first.found.order
    ]
    told = page.write(found, tmp_path / "reports").read_text(encoding="utf-8")
    assert "<h1>small on other</h1>" in told
    assert str(path) in told
    assert "prices" not in told
    assert first.found.name == "small-prices"
    assert sweeps.find(first.history, "small-other").fingerprint == name
    assert sweeps.publish_sweep(first.store, first.definition, first.plan, first.dataset) == (
        first.plan.name
    )


def publish(store: Store, name: str, grid: str) -> None:
    summary = {"grid": grid, "task": "prices"}
    store.publish("sweeps", name, tensors={}, spec={}, made_from={}, summary=summary, seconds=0.0)


@pytest.fixture
def several(tmp_path) -> Store:
    store = Store(str(tmp_path))
    for name, grid in (("abc0", "deep"), ("abd1", "wide"), ("b2", "wide")):
        publish(store, name, grid)
    return store


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("abc0", "abc0"),
        ("abc", "abc0"),
        ("b", "b2"),
        ("deep-prices", "abc0"),
        ("wide-prices", "b2"),
    ],
)
def test_a_sweep_is_found_by_fingerprint_beginning_or_name(several, asked, meant):
    assert sweeps.find(History(several), asked).fingerprint == meant


@pytest.mark.parametrize(
    ("asked", "message"),
    [("ab", "'ab' may be any of 2 sweeps"), ("c", "unknown sweep 'c'"), ("", "unknown sweep ''")],
)
def test_a_sweep_that_is_not_clear_is_answered_with_those_there_are(several, asked, message):
    with pytest.raises(ConfigError) as error:
        sweeps.find(History(several), asked)
    assert message in str(error.value)
    assert "wide-prices (b2), wide-prices (abd1), deep-prices (abc0)" in str(error.value)


def test_an_empty_store_says_how_to_fill_it(tmp_path):
    with pytest.raises(ConfigError, match=r"run one with python -m orchestrator\.sweep"):
        sweeps.find(History(Store(str(tmp_path))), "deep")


def test_the_command_prints_the_tables_and_leaves_page_and_figures(tmp_path):
    small = sweep(tmp_path)
    (tmp_path / "prices.csv").unlink()
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator.report", "small-prices", "--home", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "7 trials of small-prices, by validation accuracy" in done.stdout
    assert "no expectation differs" in done.stdout
    assert "1 trial has no result" in done.stdout
    page = Path(done.stdout.splitlines()[-1])
    assert page == tmp_path / "reports" / f"small-prices-{small.plan.name}.html"
    assert page.is_file()
    assert {"pareto.png", "heat-map.png", "confusion.png"} <= {
        path.name for path in page.with_suffix("").iterdir()
    }


def test_an_unknown_sweep_ends_in_one_line(small, tmp_path):
    arguments = ["none", "--home", str(tmp_path), "--store", small.store.uri]
    printed = here("orchestrator.report", arguments, status=2)
    assert printed.startswith("error: unknown sweep 'none'")
    assert f"small-prices ({small.plan.name})" in printed
    nowhere = here("orchestrator.report", ["none", "--home", str(tmp_path / "nowhere")], status=2)
    assert "there is no store in" in nowhere
    assert not (tmp_path / "nowhere").exists()


def test_a_champion_of_some_trials_alone_is_told_and_not_given_away(small, tmp_path):
    """Where it is chosen under noise, and not all are measured so far."""
    one = small.found.order[0]
    measured = {one.trial.fingerprint: one.over_seeds("val.accuracy")}
    some = replace(small.found, champion=one, under=Under("baihua-noise", measured, 3))
    assert "only 1 of 3 trials are measured under baihua-noise" in tables.chosen_lines(some)[-1]
    with pytest.raises(ConfigError, match="only 1 of 3 trials"):
        export(some, small.store, tmp_path / "champion")
    none = replace(some, champion=None, under=Under("baihua-noise", {}, 3))
    assert "no trial is measured under baihua-noise yet" in tables.no_champion_line(none)
    whole = replace(some, under=Under("baihua-noise", measured, 1))
    assert not tables.unmeasured(whole)


def test_the_environment_names_the_store_as_it_does_for_a_sweep(small, tmp_path, monkeypatch):
    monkeypatch.setenv("QDLLM_STORE", small.store.uri)
    assert here("orchestrator.report", [small.plan.name, "--home", str(tmp_path)])
    assert small.plan.name in here("jobs.store", ["ls"])
    assert len(frame(small.plan.name, home=tmp_path)) > 0
    nowhere = ["--store", str(tmp_path / "nowhere")]
    told = here("orchestrator.report", [small.plan.name, *nowhere], status=2)
    assert "there is no store in" in told
    assert not (tmp_path / "nowhere").exists(), "a report makes none"


def test_a_report_needs_neither_torch_nor_ray(small, tmp_path):
    arguments = [small.plan.name, "--home", str(tmp_path), "--store", small.store.uri]
    code = (
        "import json, sys\nfrom orchestrator.report.command import main\n"
        f"assert main({arguments!r}) == 0\nprint(json.dumps(sorted(sys.modules)))"
    )
    output = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    modules = {name.partition(".")[0] for name in json.loads(output.splitlines()[-1])}
    assert not modules & {"torch", "ray", "mlflow", "transformers", "numba", "mindquantum"}
    assert "matplotlib.pyplot" not in json.loads(output.splitlines()[-1])
