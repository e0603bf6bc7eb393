"""Data sets on the Hugging Face hub, by its protocol on loopback."""

import subprocess
import sys

import huggingface_hub.constants
import pyarrow
import pyarrow.parquet
import pytest
from checkout import ROOT
from corpora import pairs, separated, write
from hub import FIRST, SECOND, environment, only_hub
from loading import labelled, refusal

from qdllm import models
from qdllm.specs import TaskSpec
from qdllm.texts.data import load

TRAIN, TEST = pairs(20), pairs(6, " again")
CARD = """---
dataset_info:
  features:
  - {name: text, dtype: string}
  - name: label
    dtype: {class_label: {names: {'0': money, '1': sport, '2': tech}}}
---
# Texts
"""


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub with one data set at two commits."""
    with only_hub(monkeypatch, tmp_path) as hub:
        for commit, more in ((FIRST, 0), (SECOND, 1)):
            folder = hub.files[commit] = tmp_path / commit
            for split, rows in (("train", TRAIN[: len(TRAIN) - 3 * more]), ("test", TEST)):
                numbers = [("money", "sport", "tech").index(label) for _, label in rows]
                table = pyarrow.table({"text": [text for text, _ in rows], "label": numbers})
                path = folder / "data" / f"{split}-00000-of-00001.parquet"
                path.parent.mkdir(parents=True, exist_ok=True)
                pyarrow.parquet.write_table(table, path)
            write(folder / "README.md", CARD)
            write(folder / "picture.png", b"x" * 1000)
        yield hub


def fetched(address, **settings):
    return load(TaskSpec(data=address, **settings))


def test_splits_names_and_the_commit_come_from_the_hub(hub):
    done = []
    task = TaskSpec(data="hf://org/name")
    dataset = load(task, progress=lambda *counted: done.append(counted))
    assert labelled(dataset) == {*TRAIN, *TEST}
    assert dataset.classes == ("money", "sport", "tech")
    assert set(dataset.test.texts) == {text for text, _ in TEST}
    assert (dataset.name, dataset.source) == ("name", f"hf://org/name@{FIRST}")
    assert f"from hf://org/name@{FIRST}; split" in dataset.describe()
    assert done[-1][0] == done[-1][1] > 0
    assert not any("png" in name for name in hub.sent)


def test_a_revision_is_another_commit(hub):
    first = fetched("hf://org/name")
    for address in (f"hf://org/name@{SECOND}", "hf://org/name@a/tag".replace("a/tag", "tag")):
        hub.commits["org/name"]["tag"] = SECOND
        other = fetched(address)
        assert other.source == f"hf://org/name@{SECOND}"
        assert other.digest != first.digest


def test_what_was_fetched_is_read_without_a_network(hub, monkeypatch):
    digest = fetched("hf://org/name").digest
    hub.sent.clear()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    models.commit.cache_clear()
    assert fetched("hf://org/name").digest == digest
    assert fetched(f"hf://org/name@{FIRST}").digest == digest
    assert not hub.sent


def test_without_a_network_and_a_cache_it_says_so(hub, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    assert "'main' of org/name names texts that can change" in refusal(
        TaskSpec(data="hf://org/name")
    )
    message = refusal(TaskSpec(data=f"hf://org/name@{FIRST}"))
    assert f"cannot download hf://org/name@{FIRST}: " in message
    assert "give a folder that holds its files with --data" in message


def test_several_sets_are_named_and_one_of_them_is_read(hub):
    for name in ("cola", "sst2"):
        write(hub.files[FIRST] / name / "train.csv", separated(",", TRAIN))
        write(hub.files[FIRST] / name / "test.csv", separated(",", TEST))
    message = refusal(TaskSpec(data="hf://org/name"))
    assert "hf://org/name holds 3 sets of tables: cola, data, sst2. Name one, such as" in message
    assert not any("parquet" in name or "csv" in name for name in hub.sent)
    dataset = fetched("hf://datasets/org/name/sst2")
    assert (dataset.name, dataset.sizes) == ("name-sst2", (45, 15, 18))
    assert dataset.source == f"hf://org/name@{FIRST}/sst2"
    assert labelled(fetched("hf://org/name/sst2/train.csv")) == set(TRAIN)


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("hf://", "'hf://' is no data set of the hub: write hf://OWNER/NAME"),
        ("hf://a/b@c@d", "is no data set of the hub"),
        ("hf://org/none", "'main' of org/none names texts that can change"),
        ("hf://org/name/nowhere", "holds no tables or texts in nowhere, but README.md, data/test"),
    ],
)
def test_what_the_hub_does_not_have_is_an_error(hub, address, told):
    assert told in refusal(TaskSpec(data=address))


def test_a_data_set_that_is_too_large_is_refused(hub, monkeypatch):
    monkeypatch.setattr("qdllm.texts.hub.LARGEST", 100)
    assert "GB of tables, more than the 0.0 GB" in refusal(TaskSpec(data="hf://org/name"))
    assert not any("parquet" in name for name in hub.sent)


def test_the_command_plans_a_sweep_on_it(hub, tmp_path):
    flags = ["--grid", "ablation", "--dry-run", "--home", str(tmp_path / "home")]
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator.sweep", *flags, "--data", "hf://org/name"],
        cwd=ROOT,
        env=environment(hub, tmp_path),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (
        f"name: 78 texts in 3 classes (money 26, sport 26, tech 26) from hf://org/name@{FIRST}"
        in (done.stdout)
    )
    assert done.stderr == ""
