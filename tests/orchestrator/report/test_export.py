"""A champion as a folder of its own, and the model card in it."""

import json
from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from small_sweep import CLASSES, SmallSweep, sweep

from orchestrator.plan.ranking import Result
from orchestrator.report import champion, command
from orchestrator.report.tables import plus_minus
from qdllm import saved


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("small")


@pytest.fixture(scope="module")
def small(home) -> SmallSweep:
    return sweep(home)


@pytest.fixture(scope="module")
def chosen(small) -> Result:
    chosen = small.found.champion
    assert chosen is not None
    return chosen


@pytest.fixture(scope="module")
def exported(small, home, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("export") / "champion"
    given = [small.record.fingerprint, "--home", str(home), "--export", str(folder)]
    assert command.main(given) == 0
    return folder


def test_the_folder_holds_the_best_seed_and_no_code(small, chosen, exported):
    assert {path.name for path in exported.iterdir()} == {
        champion.CARD,
        saved.DESCRIPTION,
        saved.PARAMETERS,
    }
    kept = saved.load(exported)
    _, tensors = small.store.load(chosen.trial.kind, chosen.trial.fingerprint)
    assert (kept.parameters_P == tensors["parameters"][chosen.best_seed]).all()
    assert kept.classes == sorted(CLASSES)
    assert json.loads((exported / saved.DESCRIPTION).read_text("utf-8"))["features"] == 5


def test_the_card_is_one_that_the_hub_reads(chosen, exported):
    card = ModelCard.load(exported / champion.CARD)
    told = {one.metric_type: one.metric_value for one in card.data.eval_results}
    of_seed = chosen.record.summary["metrics"]["test.accuracy"][chosen.best_seed]
    assert told["accuracy"] == of_seed
    assert card.data.pipeline_tag == "text-classification"
    assert "quantum" in card.data.tags


def test_the_card_tells_intervals_texts_and_lineage(small, chosen, exported):
    text = (exported / champion.CARD).read_text("utf-8")
    assert plus_minus(chosen.over_seeds("test.accuracy")) in text
    assert small.dataset.digest in text
    assert chosen.trial.fingerprint in text
    assert "logistic regression" in text
    assert "<script>" not in text
    header = next(line for line in text.splitlines() if line.startswith("|  | test"))
    rows = [line for line in text.splitlines() if line.startswith("|") and "0." in line]
    assert {line.count("|") for line in rows if "champion" in line} == {header.count("|")}


def test_a_place_that_cannot_be_is_one_message(small, home, tmp_path, capsys):
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "nowhere" / "x")
    for place in ("/proc/1/x", str(link)):
        given = [small.record.fingerprint, "--home", str(home), "--export", place]
        assert command.main(given) == 2
        assert f"cannot use {place!r}" in capsys.readouterr().err


def test_nothing_is_overwritten(small, home, exported, capsys):
    before = (exported / champion.CARD).read_bytes()
    given = [small.record.fingerprint, "--home", str(home), "--export", str(exported)]
    assert command.main(given) == 2
    assert f"--export {exported}: there is something already" in capsys.readouterr().err
    assert (exported / champion.CARD).read_bytes() == before
