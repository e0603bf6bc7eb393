"""The download of the authors' texts, against a real HTTP server on loopback."""

import hashlib
import socket
import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from qdllm.errors import ConfigError
from qdllm.texts import published

BODIES = {"senti/a.txt": b"one\r\ntwo\r\n" * 20_000, "topic/b.txt": b"drei\r\n"}
DIGESTS = {path: hashlib.sha256(body).hexdigest() for path, body in BODIES.items()}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("QDLLM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def server():
    """Serves `bodies` and counts the requests; `sent` limits the bytes that really go out."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.answer(sent=0)

        def do_GET(self):
            self.answer(sent=http.sent)

        def answer(self, sent):
            http.asked[self.command, self.path] += 1
            if http.silent:
                http.over.wait(30)
                return
            body = http.bodies.get(self.path.removeprefix("/Dataset/"))
            if body is None:
                self.send_error(404)
                return
            self.send_response(200)
            length = http.length or str(len(body))
            self.send_header("Content-Length", length)
            self.end_headers()
            self.wfile.write(body[:sent])
            while http.endless and self.command == "GET":
                try:
                    self.wfile.write(b"x" * published.CHUNK)
                except OSError:
                    return

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.bodies, http.sent, http.silent = dict(BODIES), None, False
        http.length, http.endless = "", False
        http.asked, http.over = Counter(), threading.Event()
        http.url = f"http://127.0.0.1:{http.server_port}/Dataset"
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        yield http
        http.over.set()
        http.shutdown()
        thread.join()


def kept():
    folder = published.cache_folder()
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_files_arrive_whole_and_progress_counts_their_bytes(server):
    calls = []
    folder = published.download(
        DIGESTS, url=server.url, progress=lambda done, total: calls.append((done, total))
    )
    assert folder == published.cache_folder()
    assert {path: (folder / path).read_bytes() for path in BODIES} == BODIES
    assert kept() == sorted(BODIES)
    total = sum(map(len, BODIES.values()))
    done = [done for done, _ in calls]
    assert {total for _, total in calls} == {total}
    assert done == sorted(done)
    assert done[-1] == total
    assert len(done) > len(BODIES), "a long file reports more than once"


def test_what_the_cache_holds_is_not_fetched_again(server):
    published.download(DIGESTS, url=server.url)
    server.asked.clear()
    published.download(DIGESTS, url=server.url)
    assert not server.asked


def test_several_may_fetch_into_one_new_cache_at_once(server):
    for number in range(5):
        files = {f"{number}/{path}": digest for path, digest in DIGESTS.items()}
        server.bodies = {f"{number}/{path}": body for path, body in BODIES.items()}
        with ThreadPoolExecutor(6) as several:
            begun = [several.submit(published.download, files, url=server.url) for _ in range(6)]
        (folder,) = {one.result() for one in begun}
        assert {path: (folder / path).read_bytes() for path in files} == server.bodies
    assert len(kept()) == 5 * len(BODIES)


def test_a_damaged_file_in_the_cache_is_fetched_again_and_no_other(server):
    folder = published.download(DIGESTS, url=server.url)
    (folder / "topic/b.txt").write_bytes(b"damaged")
    server.asked.clear()
    published.download(DIGESTS, url=server.url)
    assert (folder / "topic/b.txt").read_bytes() == BODIES["topic/b.txt"]
    assert {path for _, path in server.asked} == {"/Dataset/topic/b.txt"}


def test_a_wrong_digest_is_refused_and_nothing_of_it_kept(server):
    server.bodies["topic/b.txt"] = b"vier\r\n"
    with pytest.raises(ConfigError, match="nothing was kept") as error:
        published.download(DIGESTS, url=server.url)
    assert hashlib.sha256(b"vier\r\n").hexdigest() in str(error.value)
    assert DIGESTS["topic/b.txt"] in str(error.value)
    assert kept() == ["senti/a.txt"]

    server.bodies["topic/b.txt"] = BODIES["topic/b.txt"]
    server.asked.clear()
    published.download(DIGESTS, url=server.url)
    assert kept() == sorted(BODIES)
    assert {path for _, path in server.asked} == {"/Dataset/topic/b.txt"}


def test_a_truncated_body_is_refused_and_nothing_of_it_kept(server):
    server.sent = 100_000
    with pytest.raises(ConfigError, match=r"100000 bytes read, 100000 more expected"):
        published.download(DIGESTS, url=server.url)
    assert kept() == []


@pytest.mark.parametrize("length", ["99999999999", "abc", "-1", "9" * 5000, ""])
def test_a_body_without_end_is_refused_at_the_bound_and_nothing_of_it_kept(
    server, monkeypatch, length
):
    """Whatever the server says of its length."""
    monkeypatch.setattr(published, "LARGEST", 1 << 20)
    server.length, server.endless = length or str(1 << 20), True
    if not length:
        server.bodies["senti/a.txt"] = b"x" * (1 << 21)
        server.length, server.endless = "", False
    with pytest.raises(ConfigError, match=r"senti/a\.txt sends more than 1,048,576 bytes"):
        published.download(DIGESTS, url=server.url)
    assert kept() == []


def test_a_length_that_is_no_number_costs_no_more_than_the_share_that_is_done(server):
    server.length = "abc"
    folder = published.download(DIGESTS, url=server.url)
    assert {path: (folder / path).read_bytes() for path in BODIES} == BODIES


def test_a_file_that_the_server_lacks_is_named(server):
    del server.bodies["topic/b.txt"]
    with pytest.raises(ConfigError, match=r"topic/b\.txt: HTTP Error 404"):
        published.download(DIGESTS, url=server.url)


def test_a_silent_server_is_given_up(server):
    server.silent = True
    with pytest.raises(ConfigError, match="timed out"):
        published.download(DIGESTS, url=server.url, timeout=0.2)


def test_a_refused_connection_names_the_other_ways():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ConfigError, match="refused") as error:
        published.download(DIGESTS, url=f"http://127.0.0.1:{port}")
    assert "--data DIR" in str(error.value)
    assert "sample-thematic" in str(error.value)


def test_a_cache_that_cannot_be_written_is_named(server, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("QDLLM_CACHE", str(tmp_path / "file"))
    with pytest.raises(ConfigError, match=r"cannot write .*Set QDLLM_CACHE"):
        published.download(DIGESTS, url=server.url)


def test_the_cache_follows_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("QDLLM_CACHE", str(tmp_path / "own"))
    assert published.cache_folder() == tmp_path / "own" / "published" / published.COMMIT
    monkeypatch.delenv("QDLLM_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert published.cache_folder().relative_to(tmp_path / "xdg").parts[:2] == (
        "qdllm",
        "published",
    )
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert published.cache_folder().is_relative_to(tmp_path / ".cache")


def test_published_task_without_a_network_ends_in_a_clear_error(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        nowhere = f"http://127.0.0.1:{listener.getsockname()[1]}"
    code = (
        "from qdllm.texts.data import load; from qdllm.specs import TaskSpec\n"
        "try: load(TaskSpec(name='emotion', data='published'))\n"
        "except ValueError as error: print(type(error).__name__, error)"
    )
    environment = {"QDLLM_CACHE": str(tmp_path), "https_proxy": nowhere}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    assert done.stdout.startswith("ConfigError cannot download https://")
    assert published.COMMIT in done.stdout
    assert "--data DIR" in done.stdout


def test_every_file_of_every_task_has_a_digest():
    listed = [path for classes in published.TASKS.values() for path in classes.values()]
    assert sorted(listed) == sorted(published.SHA256)
    assert len(set(published.SHA256.values())) == 8
    assert all(len(digest) == 64 for digest in published.SHA256.values())
