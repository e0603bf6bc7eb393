"""A store on each back-end: a folder, and an S3 server on loopback."""

import gc
import os
import secrets
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import obstore.store
import pytest
from leftovers import end_with_this_process
from waiting import until

from jobs.store import Store

# Ray looks at these when it is imported, which some tests do before others start one.
os.environ.setdefault("RAY_AUTH_MODE", "token")
os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(16))
os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # it keeps Ray on loopback
# Tests share their cores: OpenMP's threads, torch's among them, would wait for each other at full
# speed, which costs a teacher ten times its work where others have something to do.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

LONGEST = ("test_ray_up.py", "test_survival.py")
BUCKET = "results"
KEYS = {"AWS_ACCESS_KEY_ID": "AKIATESTTESTTEST", "AWS_SECRET_ACCESS_KEY": "not-to-be-told"}


def pytest_configure() -> None:
    """Whatever this process starts ends with it."""
    end_with_this_process()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, so that of several workers none is left with one at the end."""
    items.sort(key=lambda item: (*LONGEST, item.path.name).index(item.path.name))


def pytest_collection_finish() -> None:
    """What imports have made stays, so nobody who collects garbage need look through it."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def threads() -> int:
    """How many a process begins with."""
    return sys.modules["torch"].get_num_threads() if "torch" in sys.modules else 0


@pytest.fixture(autouse=True)
def as_begun(threads: int) -> Iterator[None]:
    """No test leaves its number of threads to the next: an Intel processor sums otherwise then; nor
    the rank that DeepSpeed asks for, with which a Trainer of another process awaits others."""
    yield
    os.environ.pop("LOCAL_RANK", None)
    if threads:
        sys.modules["torch"].set_num_threads(threads)


def ask(method: str, url: str, body: bytes | None = None) -> int:
    """The HTTP status of a request."""
    headers = {"Content-Type": "text/plain"}
    request = urllib.request.Request(url, data=body, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def answers(url: str) -> bool:
    """Whether there is a server, and all is well with it."""
    try:
        return ask("GET", url) == 200
    except OSError:
        return False


def free_port() -> int:
    """A port of loopback on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The address of moto's S3 server, with one bucket; it keeps everything in memory."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: server.poll() is not None or answers(address))
        assert server.returncode is None, "moto's server has ended"
        assert ask("PUT", f"{address}/{BUCKET}") == 200
        yield address
    finally:
        server.kill()
        server.wait()


@pytest.fixture
def s3(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The server's address, with the environment that a user of MinIO has."""
    for name in ("AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    return s3_server


@pytest.fixture(params=["file", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An empty store on each back-end."""
    if request.param == "file":
        return Store(str(tmp_path / "a store"))
    request.getfixturevalue("s3")
    return Store(f"s3://{BUCKET}/{tmp_path.name}/a store")


@pytest.fixture
def backend(store: Store) -> obstore.store.ObjectStore:
    """The store's files, for damage and for a look at what lies there."""
    if store.uri.startswith("file:"):
        return obstore.store.from_url(store.uri)
    return obstore.store.from_url(store.uri, client_options={"allow_http": True})
