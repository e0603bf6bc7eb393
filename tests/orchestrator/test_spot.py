"""Spot notices: the clouds' metadata protocols over real HTTP, and nodes of a real Ray drained."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from checkout import ROOT
from machines import Machines, machines
from waiting import DEADLINE

from orchestrator import spot

KEY = "a-session-token"
COMMAND = """
import sys
from orchestrator import spot
all_of_them, port = spot.raylets, sys.argv.pop()
spot.raylets = lambda: [one for one in all_of_them() if one.head.endswith(port)]
sys.exit(spot.main())
"""
"""The command, on a machine that has no other cluster's nodes."""
WORK = """
import sys, ray
class Work:
    def begun(self):
        return True
ray.init(address=sys.argv[1], log_to_driver=False)
for name, where in (("a", {"num_cpus": 0, "resources": {"head": 1}}), ("b", {"num_cpus": 1})):
    actor = ray.remote(Work).options(name=name, lifetime="detached", **where).remote()
    ray.get(actor.begun.remote())
"""
"""Gives both nodes something to do that stays: an idle node ends as soon as it is drained."""


class Metadata(ThreadingHTTPServer):
    """What EC2 and Compute Engine answer on a machine. `notice`: AWS's text, or Google's TRUE."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.notice, self.broken = "", False
        self.changed = threading.Event()
        self.asked: list[str] = []

    @property
    def host(self) -> str:
        """host:port."""
        return f"127.0.0.1:{self.server_port}"

    @property
    def environment(self) -> dict[str, str]:
        """How the clouds' own libraries are told of it; and a proxy that is not there."""
        return {
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://{self.host}/",
            "GCE_METADATA_HOST": self.host,
            "http_proxy": "http://127.0.0.1:1",
        }

    def tell(self, notice: str) -> None:
        """From here on there is a notice."""
        self.notice = notice
        self.changed.set()


class Answer(BaseHTTPRequestHandler):
    server: Metadata

    def do_PUT(self) -> None:
        life = self.headers["X-aws-ec2-metadata-token-ttl-seconds"]
        known = self.path == "/latest/api/token" and 1 <= int(life or 0) <= 21600
        self.reply(200 if known else 400, KEY)

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        if self.server.broken:
            self.reply(503, "")
        elif path == "/latest/meta-data/spot/instance-action":
            allowed = self.headers["X-aws-ec2-metadata-token"] == KEY
            status = 200 if self.server.notice else 404
            self.reply(status if allowed else 401, self.server.notice)
        elif path == "/computeMetadata/v1/instance/preempted":
            wanted = dict(pair.split("=") for pair in query.split("&") if pair)
            if wanted.get("wait_for_change") == "true" and wanted["last_etag"] == self.tag:
                self.server.changed.wait(min(2, int(wanted["timeout_sec"])))
            allowed = self.headers["Metadata-Flavor"] == "Google"
            self.reply(200 if allowed else 403, self.server.notice or "FALSE")
        else:
            self.reply(404, "")

    @property
    def tag(self) -> str:
        return "after" if self.server.notice else "before"

    def reply(self, status: int, text: str) -> None:
        self.server.asked.append(f"{self.command} {self.path} {status}")
        self.send_response(status)
        self.send_header("ETag", self.tag)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def metadata(monkeypatch) -> Iterator[Metadata]:
    monkeypatch.setattr(spot, "PAUSE", 0.05)
    with Metadata() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server
        server.shutdown()


def aws_notice(seconds: float) -> tuple[str, float]:
    """AWS's text for an end in so many seconds, and that end in Unix time."""
    end = float(int(time.time() + seconds))
    told = datetime.fromtimestamp(end, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return f'{{"action": "terminate", "time": "{told}"}}', end


def test_ec2_is_asked_with_a_token_until_there_is_a_notice(metadata):
    answers = spot.aws()
    assert [next(answers), next(answers)] == [None, None]
    text, end = aws_notice(120)
    metadata.tell(text)
    notice = next(answers)
    assert notice.deadline == end
    assert notice.told.startswith("EC2 spot notice: terminate at 20")
    asked = "GET /latest/meta-data/spot/instance-action"
    token = "PUT /latest/api/token 200"
    assert metadata.asked == [token, f"{asked} 404", token, f"{asked} 404", token, f"{asked} 200"]


def test_compute_engine_answers_when_something_changes(metadata):
    answers = spot.gcp()
    assert next(answers) is None
    timer = threading.Timer(0.3, metadata.tell, ("TRUE",))
    timer.start()
    began = time.time()
    notice = next(answers)
    timer.join()
    assert began + 30 <= notice.deadline <= time.time() + 30
    assert len(metadata.asked) == 2, "it was to wait, and to hear of the change in the answer"


def test_a_notice_that_is_there_at_first_is_not_waited_for(metadata):
    metadata.tell("TRUE")
    assert next(spot.gcp()) is not None


def test_no_more_is_read_of_an_answer_than_it_can_have(metadata):
    metadata.tell("x" * (1 << 20))
    address = f"http://{metadata.host}/computeMetadata/v1/instance/preempted"
    assert len(spot._ask(address, {"Metadata-Flavor": "Google"})[0]) == spot.LARGEST


@pytest.mark.parametrize("cloud", spot.CLOUDS)
def test_a_metadata_server_that_fails_is_asked_on_and_told_of_once(cloud, metadata, monkeypatch):
    lines, drained = [], []
    here = spot.Raylet(spot.psutil.Process(), "a node", "a head")
    monkeypatch.setattr(spot, "raylets", lambda: [here])
    monkeypatch.setattr(spot, "drain", lambda *call: drained.append(call[:2]))
    metadata.broken = True

    def mend() -> None:
        while len(metadata.asked) < 6:
            time.sleep(0.01)
        metadata.tell(aws_notice(60)[0] if cloud == "aws" else "TRUE")
        metadata.broken = False

    thread = threading.Thread(target=mend)
    thread.start()
    spot.watch(cloud, lines.append)
    thread.join()
    assert len(drained) == 1
    assert len([line for line in lines if "does not answer (HTTP Error 503" in line]) == 1


def test_the_watch_ends_with_ray(metadata, monkeypatch):
    """Also where nobody has fetched the exit status of its process."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        here = spot.Raylet(spot.psutil.Process(process.pid), "a node", "a head")
        monkeypatch.setattr(spot, "raylets", lambda: [here])
        thread = threading.Thread(target=spot.watch, args=("aws", lambda line: None))
        thread.start()
        thread.join(0.5)
        assert thread.is_alive()
        process.kill()
        thread.join(DEADLINE)
        assert not thread.is_alive()


@contextmanager
def watching(cloud: str, cluster: Machines, metadata: Metadata) -> Iterator[subprocess.Popen[str]]:
    port = cluster.address.rpartition(":")[2]
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, cloud, f":{port}"],
        cwd=ROOT,
        env=cluster.environment | metadata.environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.slow
def test_the_command_waits_for_ray_and_drains_every_node_of_this_machine(metadata):
    with machines() as cluster, watching("aws", cluster, metadata) as early:
        cluster.head()
        assert "watching aws for 1 node of Ray" in early.stderr.readline()
        cluster.node({"CPU": 1})
        work = [sys.executable, "-c", WORK, cluster.address]
        subprocess.run(work, env=cluster.environment, check=True, timeout=DEADLINE)
        with watching("aws", cluster, metadata) as late:
            assert "watching aws for 2 nodes of Ray" in late.stderr.readline()
            early.kill()
            assert cluster.draining() == {}
            text, end = aws_notice(DEADLINE)
            metadata.tell(text)
            told = late.communicate(timeout=DEADLINE)[1]
        assert late.returncode == 0, told
        assert "EC2 spot notice: terminate at" in told
        assert len(cluster.alive()) == 2
        assert cluster.draining() == dict.fromkeys(cluster.alive(), int(1000 * end))


def test_no_other_cloud_is_known():
    command = [sys.executable, "-m", "orchestrator.spot", "azure"]
    ended = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True)
    assert ended.returncode == 2
    assert "invalid choice: 'azure' (choose from 'aws', 'gcp')" in ended.stderr
