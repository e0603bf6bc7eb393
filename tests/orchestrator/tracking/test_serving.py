"""A registered student, from its tags to the answers that it gives over HTTP."""

import json
import os
import re
import socket
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import requests
import torch
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from servers import serving
from sweep_records import trial
from waiting import DEADLINE

from jobs.store import Store
from orchestrator.report.champion import lineage
from orchestrator.tracking import Tracker
from orchestrator.tracking.serving import BODY
from qdllm import predictor, saved
from qdllm.encoder import encode
from qdllm.families.quantum import StudentSpec
from qdllm.fit import Examples, Row, fit
from qdllm.predictor import Predictor
from qdllm.student import Student, circuit_core

CLASSES = ("kitchen", "weather")
TEXTS = {
    "kitchen": ["stir the soup slowly", "bake the bread for an hour", "chop two onions finely"],
    "weather": ["rain fell on the coast", "a cold wind from the north", "sunny with some cloud"],
}
LAYER = """// mine.qasm
OPENQASM 3.0;
include "stdgates.inc";
input float[64] a;
input float[64] b;
qubit[4] q;
ry(a) q;
crz(b) q[0], q[1];
cx q[2], q[3];
"""
"""A circuit of one's own, as a spec carries it: whoever serves it has to read it."""
SPEC = StudentSpec.parse(
    {
        "circuit": {"ansatz": LAYER, "layers": 1},
        "loss": {"alpha": 0.5},
        "fit": {"epochs": 100, "batch_size": 6, "lr": 0.05},
    }
)
NAME = "qdllm-grid-task"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A student that has learnt to tell six texts apart, as a sweep would save it."""
    texts = [text for name in CLASSES for text in TEXTS[name]]
    features_NH = torch.from_numpy(encode(SPEC.encoder, texts))
    labels_N = torch.tensor([0, 0, 0, 1, 1, 1])
    examples = Examples(features_NH, 4.0 * torch.eye(2)[labels_N], labels_N)
    core, width = circuit_core(SPEC.circuit, SPEC.angles), features_NH.shape[1]
    student = Student(core, width, 2, seeds=[0])
    fit(student, examples, examples, [Row(0, SPEC.loss, SPEC.fit)])
    folder = tmp_path_factory.mktemp("student")
    saved.save(folder, SPEC, CLASSES, width, student.parameters_SP[0].numpy())
    return folder


@pytest.fixture(scope="module")
def registered(folder, tmp_path_factory) -> Iterator[tuple[str, Tracker]]:
    """The address of a database with that student as its champion, and the sweep's tracker."""
    home = tmp_path_factory.mktemp("home")
    uri = f"sqlite:///{home / 'mlflow.db'}"
    tracker = Tracker(uri, home / "artifacts", "grid-task", "5" * 16, {})
    tags = {"qdllm.id": "a" * 16, "qdllm.val.accuracy": "1.0000"}
    assert tracker.register(NAME, folder, tags) == f"models:/{NAME}@champion"
    yield uri, tracker
    tracker.close(None)


def test_a_predictor_says_what_it_has_learnt(folder):
    predict = Predictor(folder)
    texts = ["bake the soup slowly", "wind and rain from the coast"]
    labels, probabilities_NC = predict(texts)
    assert labels == ["kitchen", "weather"]
    assert probabilities_NC.sum(-1) == pytest.approx([1, 1], abs=1e-6)
    for text, expected in zip(texts, probabilities_NC, strict=True):
        np.testing.assert_allclose(predict([text])[1][0], expected, atol=1e-5)


def test_no_texts_have_no_labels(folder):
    labels, probabilities_NC = Predictor(folder)([])
    assert labels == []
    assert probabilities_NC.shape == (0, 2)


def test_half_a_character_spoils_no_text(folder):
    """As JSON has it where an emoji was cut in two."""
    predict = Predictor(folder)
    labels, probabilities_NC = predict(["bake the soup \ud83c", "bake the soup \ud83c\udf5c"])
    assert labels == ["kitchen", "kitchen"]
    whole = predict(["bake the soup \ufffd", "bake the soup 🍜"])[1]
    np.testing.assert_allclose(probabilities_NC, whole, atol=1e-5)


def test_a_row_without_a_text_has_no_label_and_changes_no_other(folder):
    predict = Predictor(folder)
    labels, probabilities_NC = predict(["bake the soup", None, "", " \n", "wind and rain"])
    assert labels == ["kitchen", None, None, None, "weather"]
    assert np.isnan(probabilities_NC[1:4]).all()
    alone = predict(["bake the soup", "wind and rain"]).probabilities_NC
    np.testing.assert_allclose(probabilities_NC[[0, 4]], alone, atol=1e-6)


def test_many_texts_are_in_memory_a_few_at_a_time(folder, monkeypatch):
    predict, seen = Predictor(folder), []
    texts = [f"bake the soup {number}" for number in range(10)]
    expected = predict(texts)
    read = predict.read
    monkeypatch.setattr(predictor, "ROWS", 4)
    predict.read = lambda rows: [seen.append(len(rows)), read(rows)][1]
    labels, probabilities_NC = predict(texts)
    assert seen == [4, 4, 2]
    assert labels == expected.labels
    np.testing.assert_allclose(probabilities_NC, expected.probabilities_NC, atol=1e-5)


def test_lineage_leads_back_to_teacher_and_texts(tmp_path):
    store, (result, _, _) = Store(str(tmp_path)), trial(0)
    store.publish(
        "soft-labels",
        result.trial.made_from["soft_labels"],
        tensors={"train": np.zeros((1, 2))},
        spec={},
        made_from={"task": "7" * 16, "model": "m", "adapter": "ad" * 8},
        summary={},
        seconds=1.0,
    )
    assert lineage(store, result, "digest") == {
        "qdllm.id": result.trial.fingerprint,
        "qdllm.features": "f" * 16,
        "qdllm.soft_labels": "5" * 16,
        "qdllm.adapter": "ad" * 8,
        "qdllm.texts": "digest",
        "qdllm.val.accuracy": f"{result.over_seeds('val.accuracy').mean:.4f}",
    }


@pytest.mark.slow
def test_the_registered_model_says_what_it_needs_and_takes(registered):
    uri, _ = registered
    client = MlflowClient(uri)
    found = client.get_model_version_by_alias(NAME, "champion")
    assert found.tags["qdllm.id"] == "a" * 16
    assert found.tags["qdllm.val.accuracy"] == "1.0000"
    (run,) = client.search_runs(["1"], "tags.`qdllm.id` = 'sweep'")
    assert found.run_id == run.info.run_id
    assert run.info.status == "RUNNING"
    place = Path(client.get_model_version_download_uri(NAME, found.version).removeprefix("file://"))
    model = Model.load(place)
    assert [column.name for column in model.signature.outputs] == ["label", "probabilities"]
    assert model.load_input_example(str(place))["text"].tolist()
    needed = (place / "requirements.txt").read_text().split()
    assert all("==" in line for line in needed)
    assert f"transformers=={version('transformers')}" in needed
    # What reads the circuit.
    for library in ("openqasm3", "antlr4-python3-runtime"):
        assert f"{library}=={version(library)}" in needed


@pytest.mark.slow
def test_the_champion_follows_without_logging_a_student_twice(registered, folder):
    uri, tracker = registered
    client = MlflowClient(uri)
    for name, versions in (("b" * 16, 2), ("a" * 16, 2)):
        tracker.register(NAME, folder, {"qdllm.id": name})
        assert client.get_model_version_by_alias(NAME, "champion").tags["qdllm.id"] == name
        assert len(client.search_model_versions(f"name = '{NAME}'")) == versions


@pytest.fixture(scope="module")
def loaded(registered) -> mlflow.pyfunc.PyFuncModel:
    """The champion as a notebook loads it."""
    with pytest.MonkeyPatch.context() as patch:
        # MLflow sets it too, for good, and commands that other tests start would find it.
        patch.setenv("MLFLOW_TRACKING_URI", registered[0])
        mlflow.set_tracking_uri(registered[0])
        return mlflow.pyfunc.load_model(f"models:/{NAME}@champion")


SENT = ["bake the soup", None, "wind and rain"]
TABLE = pd.DataFrame({"id": [7, 8, 9], "text": SENT}, index=["r", "s", "t"])


@pytest.mark.slow
@pytest.mark.parametrize(
    "sent",
    [
        TABLE,
        TABLE.astype({"text": "string"}),
        TABLE["text"],
        SENT,
        np.array(SENT, dtype=object),
        {"text": SENT},
        [{"text": text} for text in SENT],
        pd.DataFrame({"text": ["bake the soup", float("nan"), "wind and rain"]}),
    ],
    ids=lambda sent: type(sent).__name__,
)
def test_texts_come_in_many_forms(loaded, sent):
    answer = loaded.predict(sent)
    assert answer["label"].tolist() == ["kitchen", None, "weather"]
    assert answer["probabilities"].iloc[1] == {}
    assert set(answer["probabilities"].iloc[0]) == set(CLASSES)
    kept = sent.index if isinstance(sent, pd.DataFrame | pd.Series) else range(3)
    assert list(answer.index) == list(kept)


@pytest.mark.slow
def test_a_number_is_a_text_and_a_whole_one_is_written_so(loaded):
    texts = loaded.predict(["5", "2.5", "7", "True"])
    numbers = loaded.predict(pd.DataFrame({"text": [5.0, 2.5, 7, True]}, dtype=object))
    pd.testing.assert_frame_equal(texts, numbers)
    whole = loaded.predict(pd.DataFrame({"text": [5.0, None, 7.0]}))  # as pandas reads 5,,7
    assert whole["label"].tolist() == [texts["label"][0], None, texts["label"][2]]
    assert loaded.predict(pd.DataFrame({"text": [5, 7]}))["label"].tolist() == [
        texts["label"][0],
        texts["label"][2],
    ]
    assert loaded.predict([]).empty
    assert len(loaded.predict("one text")) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sent", "message"),
    [
        (pd.DataFrame({"words": SENT}), "one column named 'text' is wanted; the columns here: 'wo"),
        (pd.DataFrame([["a", "b"]], columns=["text", "text"]), "the columns here: 'text', 'text'"),
        (["a", ["b"]], "row 2 holds a list; a text, a number or nothing is wanted"),
        (5, "a table or a list of texts is wanted, not a int"),
        ({"text": ["a"], "id": [1, 2]}, "a table's columns are lists of one length"),
        ({"columns": ["text"], "data": [["a"]]}, "a table's columns are lists of one length"),
    ],
)
def test_what_cannot_be_a_text_is_named(loaded, sent, message):
    with pytest.raises(MlflowException, match=re.escape(message)):
        loaded.predict(sent)


@contextmanager
def served(uri: str, folder: Path):
    """`mlflow models serve` on loopback; yields where it answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", f"models:/{NAME}@champion"]
    command += ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(port)]
    # MLflow starts uvicorn by name, as an activated environment has it.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    address = f"http://127.0.0.1:{port}"
    given = {"MLFLOW_TRACKING_URI": uri, "PATH": path}
    with serving(command, f"{address}/ping", folder / "serve.log", **given):
        yield f"{address}/invocations"


def post(address: str, question: dict) -> list[dict]:
    request = urllib.request.Request(
        address, json.dumps(question).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=DEADLINE) as answer:
        return json.load(answer)["predictions"]


@pytest.mark.slow
def test_mlflow_serves_the_champion(registered, folder, tmp_path):
    texts = ["bake the soup slowly", "wind and rain from the coast"]
    expected = Predictor(folder)(texts)
    with served(registered[0], tmp_path) as address:
        split = {"dataframe_split": {"columns": ["text"], "data": [[text] for text in texts]}}
        for question in (split, {"inputs": {"text": texts}}):
            answers = post(address, question)
            assert [answer["label"] for answer in answers] == expected.labels
            for answer, probabilities in zip(answers, expected.probabilities_NC, strict=True):
                assert list(answer["probabilities"]) == list(CLASSES)
                assert list(answer["probabilities"].values()) == pytest.approx(
                    probabilities, abs=1e-5
                )
        assert [answer["label"] for answer in post(address, {"inputs": texts})] == expected.labels
        (empty,) = post(address, {"dataframe_records": [{"text": None}]})
        assert empty == {"label": None, "probabilities": {}}
        for sent in (
            b'{"inputs": {"words": ["a"]}}',
            b'{"inputs": {"text": [["a"], "b"]}}',
            b'{"dataframe_split": 5}',
            b"no json " * 10_000,
        ):
            status, told = refused(address, sent)
            assert status == 400
            assert ".py" not in told
            assert str(tmp_path.parent) not in told
            assert len(told) < 2100
        assert "one column named 'text' is wanted" in refused(address, b'{"inputs": {"a": [1]}}')[1]
        # Told by its length, and then by what arrives.
        status, told = refused(address, b" " * (BODY + 1))
        assert (status, "33,554,432 bytes" in told) == (413, True)
        assert refused(address, (b" " * 2**20 for _ in range(40)))[0] == 413
        assert len(post(address, {"inputs": texts})) == 2


def refused(address: str, body: bytes | Iterator[bytes]) -> tuple[int, str]:
    """Status and text of the answer to what cannot be answered."""
    answer = requests.post(
        address, data=body, headers={"Content-Type": "application/json"}, timeout=DEADLINE
    )
    return answer.status_code, answer.text
