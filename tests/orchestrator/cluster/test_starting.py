"""A Ray of one's own on a machine that has much else to do."""

import os
from pathlib import Path

import psutil
import pytest
import ray

from orchestrator import cluster
from orchestrator.cluster.connection import STARTS
from qdllm.errors import JobError

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

WAIT = "RAY_gcs_server_port_wait_time_s"
"""How long Ray waits for its own head. None comes up in no time at all."""


def running() -> list[list[str]]:
    """Ray's processes below this one."""
    package = str(Path(ray.__file__).parent)
    commands = [child.cmdline() for child in psutil.Process().children(recursive=True)]
    return [command for command in commands if any(word.startswith(package) for word in command)]


def test_a_start_that_fails_is_told_and_leaves_nothing(monkeypatch):
    monkeypatch.setenv(WAIT, "0")
    told = rf"does not start on this machine; after {STARTS} tries it says: .*The load is \d+, with"
    with pytest.raises(JobError, match=told), cluster.connect():
        pass
    assert running() == []


def test_it_is_started_again_and_its_workers_are_as_nice_as_we_are(monkeypatch):
    monkeypatch.setenv(WAIT, "0")
    starts, init = [], ray.init

    def start(**settings: object) -> object:
        starts.append(settings)
        if len(starts) == 2:
            monkeypatch.setenv(WAIT, "60")
        return init(**settings)

    monkeypatch.setattr(ray, "init", start)
    with cluster.connect():
        assert len(starts) == 2
        niceness = ray.remote(lambda: os.nice(0))
        assert ray.get(niceness.remote()) == os.nice(0)
    assert running() == []
