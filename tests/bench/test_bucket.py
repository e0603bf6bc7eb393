"""The S3 server of a soak: what it has answered, it knows after a kill."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3
import numpy as np
import pytest
from checkout import ROOT
from conftest import KEYS, answers, ask, free_port
from waiting import until

from bench.bucket import Journal
from jobs.store import Store

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
PART = b"a" * 5 * 2**20
"""The smallest that may not be the last one."""


class Server:
    """Started, and started again."""

    def __init__(self, folder: Path) -> None:
        self.port, self.journal = free_port(), folder / "journal"
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "bench.bucket", str(self.port), str(self.journal)]
        self._process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
        until(lambda: self._process.poll() is not None or answers(self.url))
        assert self._process.returncode is None

    def kill(self) -> None:
        os.kill(self._process.pid, signal.SIGKILL)
        self._process.wait()


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    server = Server(folder)
    try:
        yield server
    finally:
        server.kill()


@pytest.fixture
def server(tmp_path, monkeypatch) -> Iterator[Server]:
    with serving(tmp_path) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        for name, value in KEYS.items():
            monkeypatch.setenv(name, value)
        assert ask("PUT", f"{server.url}/soak") == 200
        yield server


def test_results_locks_and_half_an_upload_outlive_a_kill(server):
    store, client = Store("s3://soak/sweep"), boto3.client("s3", region_name="us-east-1")
    parts = {"tensors": {"test": np.ones(3)}, "spec": {}, "made_from": {}, "summary": {}}
    made = store.publish("features", "a" * 16, **parts, seconds=1)
    assert store.put("locks/a", "mine", only_if_absent=True)
    store.put("locks/b/holder", "gone")
    store.clear("locks/b")
    upload = {"Bucket": "soak", "Key": "large"}
    upload["UploadId"] = client.create_multipart_upload(**upload)["UploadId"]
    tags = [client.upload_part(**upload, PartNumber=1, Body=PART)["ETag"]]
    server.kill()
    server.start()
    assert store.load("features", "a" * 16)[0] == made
    assert not store.put("locks/a", "yours", only_if_absent=True)
    assert (store.get("locks/a"), store.get("locks/b/holder")) == ("mine", None)
    tags.append(client.upload_part(**upload, PartNumber=2, Body=b"b")["ETag"])
    server.kill()
    server.start()
    whole = [{"PartNumber": number, "ETag": tag} for number, tag in enumerate(tags, 1)]
    client.complete_multipart_upload(**upload, MultipartUpload={"Parts": whole})
    assert client.get_object(Bucket="soak", Key="large")["Body"].read() == PART + b"b"


def test_what_was_cut_off_in_the_middle_was_never_answered(server):
    store, journal = Store("s3://soak/sweep"), Journal(server.journal)
    store.put("locks/a", "1")
    (_, entry) = journal.new()
    assert (entry.method, entry.path) == ("PUT", "/soak/sweep/locks/a")
    store.put("locks/a", "2")
    server.kill()
    with server.journal.open("r+b") as file:
        file.truncate(server.journal.stat().st_size - 1)
    assert journal.new() == []
    server.start()
    assert store.get("locks/a") == "1"
    store.put("locks/a", "3")
    assert [entry.size for entry in journal.new()] == [1]
    server.kill()
    server.start()
    assert store.get("locks/a") == "3"
