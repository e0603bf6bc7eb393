"""What a user sees of a finished sweep in MLflow's own pages, through a real browser."""

import json
import re
import shlex
import sys
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from types import SimpleNamespace
from typing import NamedTuple

import pytest
from browser import chromium
from conftest import free_port
from mlflow import MlflowClient
from servers import serving
from small_sweep import WIDTH, sweep

from orchestrator.plan import History
from orchestrator.plan.ranking import common
from orchestrator.report import findings, page
from orchestrator.report.findings import Findings
from orchestrator.steps import conclusion
from orchestrator.tracking import Tracker
from orchestrator.tracking.backend import COLUMNS, VIEW
from qdllm import saved

pytestmark = [pytest.mark.browser, pytest.mark.slow]

MODEL = "qdllm-small-prices"
WIDE = ("--window-size=2600,3000",)
FAILED, REASON = "f" * 16, "TrialError: diverged in epoch 1"
BEGAN = time.time()


class Ui(NamedTuple):
    """A server, and the sweep that it shows."""

    address: str
    printed: str
    """What a sweep says at its end: how to look, and how to use what it found."""
    uri: str
    found: Findings
    experiment: str
    runs: dict[str, str]
    """MLflow's ids of the runs, by qdllm.id."""

    def page(self, path: str, *size: str) -> "Page":
        """A page after its scripts have run, in a window wide enough for all of a table.

        In a browser that has never been there: each has a profile of its own.
        """
        flags = ["--virtual-time-budget=20000", *(size or WIDE), "--dump-dom"]
        return Page(chromium(*flags, f"{self.address}/{path}"))


class Page(HTMLParser):
    """A page's texts, element by element, and the cells of its table of runs."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.rows: dict[int, dict[str, str]] = {}
        """By number and column: the table's fixed columns and the others are two trees."""
        self.left: dict[str, str] = {}
        """Where each column begins within its tree, in pixels."""
        self._row: dict[str, str] = {}
        self._column, self._depth = "", 0
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        named = dict(attrs)
        if "row-index" in named:
            self._row = self.rows.setdefault(int(named["row-index"]), {"id": named["row-id"]})
        if named.get("role") == "gridcell":
            self._column, self._depth = named["col-id"], 0
            self.left[self._column] = re.search(r"left: (\d+)px", named["style"])[1]
        self._depth += tag == "div"

    def handle_endtag(self, tag):
        self._depth -= tag == "div"
        if self._depth == 0:
            self._column = ""

    def handle_data(self, text):
        self.texts.append(text.strip())
        if self._column:
            self._row[self._column] = self._row.get(self._column, "") + text.strip()


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> tuple[str, str, Findings]:
    """The address of a database that a sweep has written as it always does, what it says at its
    end, and the sweep."""
    home = tmp_path_factory.mktemp("home")
    small = sweep(home, left_out=0)
    found = findings.findings(History(small.store), small.record)
    shared = {"grid": small.definition.name, "texts": small.dataset.digest}
    shared |= common(small.plan.sweep.trials)
    tracker = Tracker(
        f"sqlite:///{home / 'mlflow.db'}", home / "artifacts", found.name, small.plan.name, shared
    )
    for result in found.order:
        _, tensors = small.store.load(result.trial.kind, result.trial.fingerprint)
        tracker.write_trial(result, found.settings[result.trial.fingerprint], tensors)
    settings = {"circuit.layers": 99, "loss.alpha": 0.0, "fit.lr": 0.1}
    tracker.write_failure(FAILED, settings, REASON, time.time())
    asked = SimpleNamespace(definition=small.definition, store=small.store, plan=small.plan)
    conclusion._hand_over(asked, tracker, page.write(found, home / "reports"))
    folder, chosen = home / "student", found.champion
    folder.mkdir()
    _, tensors = small.store.load(chosen.trial.kind, chosen.trial.fingerprint)
    weights_P = tensors["parameters"][chosen.best_seed]
    saved.save(folder, chosen.trial.spec, small.dataset.classes, WIDTH, weights_P)
    tracker.register(MODEL, folder, {"qdllm.id": chosen.trial.fingerprint})
    tracker.finish(conclusion._figures(found, found.evaluations), failed=False)
    tracker.wait()
    printed = "\n".join(conclusion._commands(tracker, f"models:/{MODEL}@champion"))
    tracker.close(None)
    return tracker.uri, printed, found


@pytest.fixture(scope="module")
def ui(written, tmp_path_factory) -> Iterator[Ui]:
    """MLflow's server on loopback, on that database."""
    uri, printed, found = written
    folder, port = tmp_path_factory.mktemp("server"), free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    address = f"http://127.0.0.1:{port}"
    # Its job runner is for language models' traces, and takes a gigabyte.
    without = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with serving(command, f"{address}/health", folder / "server.log", **without):
        client = MlflowClient(uri)
        number = client.get_experiment_by_name(found.name).experiment_id
        runs = client.search_runs([number], max_results=1000)
        ids = {run.data.tags["qdllm.id"]: run.info.run_id for run in runs}
        yield Ui(address, printed, uri, found, number, ids)


def name_of(ui: Ui, fingerprint: str) -> str:
    """What a trial's run is called."""
    settings = ui.found.settings[fingerprint]
    return " ".join(f"{key.rpartition('.')[2]}={value}" for key, value in settings.items())


def test_the_printed_address_opens_on_the_best_trial(ui):
    """Nothing is clicked, and the window is no larger than many a laptop's."""
    (link,) = re.findall(r"http://127\.0\.0\.1:5000/(\S+)", ui.printed)
    assert f"mlflow ui --port 5000 --backend-store-uri {shlex.quote(ui.uri)}" in ui.printed
    best = ui.found.order[0]
    page = ui.page(link, "--window-size=1440,900")
    row = page.rows[0]
    assert row["id"] == ui.runs[best.trial.fingerprint]
    assert row["attributes.`Run Name`"].endswith(name_of(ui, best.trial.fingerprint))
    mean = best.over_seeds("val.accuracy").mean
    assert float(row["metrics.`val.accuracy.mean`"]) == pytest.approx(mean)
    # Beside the names, and not beyond the window's edge.
    assert page.left["metrics.`val.accuracy.mean`"] == "0"


def test_the_saved_view_has_the_trials_best_first_with_their_figures(ui):
    (link,) = re.findall(r"http://127\.0\.0\.1:5000/(\S+)", ui.printed)
    rows = ui.page(link).rows
    *finished, failed = (rows[number] for number in sorted(rows))
    assert failed["id"] == ui.runs[FAILED]
    assert failed["metrics.`val.accuracy.mean`"] == "-"
    by_run = {ui.runs[one.trial.fingerprint]: one for one in ui.found.order}
    assert by_run.keys() == {row["id"] for row in finished}
    shown = [float(row["metrics.`val.accuracy.mean`"]) for row in finished]
    assert shown == [one.over_seeds("val.accuracy").mean for one in ui.found.order]
    for row in finished:
        result = by_run[row["id"]]
        # Before it stands the text of a coloured dot.
        assert row["attributes.`Run Name`"].endswith(name_of(ui, result.trial.fingerprint))
        values = {name: float(row[f"metrics.`{name}`"]) for name in COLUMNS}
        test = result.over_seeds("test.accuracy")
        assert values["test.accuracy.mean"] == pytest.approx(test.mean)
        assert values["test.accuracy.ci95"] == pytest.approx(test.ci95)
        assert values["parameters"] == result.parameters


def test_the_view_stands_in_the_menu(ui):
    tags = MlflowClient(ui.address).get_experiment(ui.experiment).tags
    view = json.loads(tags[f"mlflow.sharedViewState.{VIEW}"])
    assert view["name"] == "trials"
    assert BEGAN - 1 < view["createdAt"] / 1000 < time.time() + 1
    assert json.loads(view["state"])["orderByKey"] == "metrics.`val.accuracy.mean`"


def test_a_sweep_has_its_trials_its_figures_and_its_model(ui):
    run = f"#/experiments/{ui.experiment}/runs/{ui.runs['sweep']}"
    told = ui.page(run).texts
    assert f"{ui.found.name} {ui.found.sweep.fingerprint}" in told
    for result in ui.found.order:
        assert name_of(ui, result.trial.fingerprint) in told
    accuracy = ui.found.champion.over_seeds("val.accuracy").mean
    assert str(accuracy) in told[told.index("champion.val.accuracy") :]
    assert MODEL in told
    files = set(ui.page(f"{run}/artifacts/figures").texts)
    assert {"grid.yaml", "teachers.yaml", "pareto.png", "learning-curves.png"} <= files
    assert {
        "confusion.png",
        "reliability.png",
        "heat-map.png",
        "accuracy-circuit.layers.png",
    } <= files
    assert f"{ui.found.name}-{ui.found.sweep.fingerprint}.html" in files


def test_a_trial_that_failed_says_why(ui):
    told = ui.page(f"#/experiments/{ui.experiment}/runs/{ui.runs[FAILED]}").texts
    assert "Failed" in told
    assert any(REASON in text for text in told)


def test_the_model_has_its_champion(ui):
    told = ui.page(f"#/models/{MODEL}").texts
    assert "Version 1" in told
    assert "@\xa0champion" in told
    assert ui.found.champion.trial.fingerprint in " ".join(told)
