"""Where things are: addresses of MLflow, of a store and of Ray, and paths of every command."""

import contextlib
import io
import os
import random
from pathlib import Path
from typing import Any

from given import LONG, SECRET, Case, Refused, some_text

from jobs.store import Store, address
from orchestrator import cluster, options, sweep, tracking
from qdllm.addresses import bare

HOSTS = ("host", "127.0.0.1", "a.b-c.example", "[::1]")
NO_HOSTS = ("", "a b", "a\nb", "[::1", "a/b@", "é\0", "-\t-")
PORTS = ("", ":1", ":5000", ":65535")
NO_PORTS = (":0", ":65536", ":99999999", ":x", ":-1", ":5000 ", ":1:2")
PASSWORDS = (
    *("me:{}@", "me:{}/x@", "me:x {}@", "me:12/{}@", "me:{}%2F@", "{}:x@", "me:x@{}@", "me:{}:y@"),
    *("me:'{}'@", "me:{}?x@", "me:x#{}@"),
)
QUERIES = ("", "", "?key={}", "?sslmode=require&password={}", "?{}", "#{}")


def tracked(rng: random.Random, folder: Path) -> Case:
    """An MLflow address whose parts are right, or one of them is not."""
    database = rng.random() < 0.6
    scheme = rng.choice(
        ("postgresql", "mysql", "mssql", "postgresql+psycopg") if database else ("http", "https")
    )
    user = rng.choice(("", *PASSWORDS))
    plain = not user or not set("/?#@ '") & set(user[:-1])
    host, port = rng.choice(HOSTS), rng.choice(PORTS)
    way, query = rng.choice(("/name", "/a-b_c")) if database else rng.choice(("", "/", "/x")), ""
    query = rng.choice(QUERIES[:-1]) if plain else ""
    # SQLAlchemy takes a password up to the first @; a server's client wants it encoded.
    valid: bool | None = True if plain else None
    wrong = rng.random()
    if wrong < 0.15:
        scheme, valid = (
            rng.choice(("ftp", "file", "s3", "", "http+x", "postgres", "HTTP", "a b", LONG)),
            False,
        )
    elif wrong < 0.3:
        host, valid = rng.choice(NO_HOSTS[database:]), False
    elif wrong < 0.45:
        port, valid = rng.choice(NO_PORTS), False
    elif wrong < 0.5 and database:
        way, valid = rng.choice(("", "/", "?x")), False
    elif wrong < 0.6:
        uri = _mangled(rng, f"{scheme}://{user}{host}{port}{way}".replace("{}", "x"))
        return _address(uri, tracking.address, None)
    uri = f"{scheme}://{user}{host}{port}{way}{query}".replace("{}", SECRET)
    return _address(uri, tracking.address, valid)


def database_file(rng: random.Random, folder: Path) -> Case:
    """An SQLite address: a file that can be, or anything else."""
    (folder / "folder").mkdir()
    (folder / "file").write_text("")
    (folder / "loop").symlink_to(folder / "loop")
    right = (
        "x.db",
        "é x.db",
        str(folder / "x.db"),
        "file",
        "~/x.db",
        "folder/x.db",
        "x.db?timeout=3",
    )
    wrong = (
        "",
        "folder",
        ".",
        "/",
        ":memory:",
        LONG,
        "~nobody-of-that-name/x",
        "a\0b",
        "loop",
        "loop/x",
    )
    word, valid = (rng.choice(right), True) if rng.random() < 0.4 else (rng.choice(wrong), False)
    if rng.random() < 0.2:
        word, valid = some_text(rng), None
    uri = f"sqlite:///{word}"
    return _address(uri, tracking.address, valid)


def stored(rng: random.Random, folder: Path) -> Case:
    """A store's address: a folder, a bucket, or what is neither."""
    (folder / "file").write_text("")
    (folder / "loop").symlink_to(folder / "loop")
    right = (
        *("store", "a b/é", str(folder / "x"), f"file://{folder}/y z", "~/store", "x/../y"),
        *("s3://bucket/prefix", "s3://b", "gs://bucket/a b/", "s3://a.b-c_d/é/x"),
    )
    wrong = (
        *(
            "file/x",
            "loop",
            "loop/x",
            "~nobody-of-that-name/x",
            "a\0b",
            LONG,
            "s3:bucket",
            "file:x",
            "S3://b",
        ),
        *(
            "ftp://host/x",
            "s3://b//x",
            "s3://b/../x",
            "s3://b/%2e%2e/x",
            "s3://b/a\nb",
            "s3://é/x",
            "s3:///x",
        ),
        *(
            f"s3://me:{SECRET}@b/x",
            f"s3://b/x?key={SECRET}",
            f"gs://b#{SECRET}",
            "file://x/y",
            "s3://b/a\udcff",
        ),
        *(
            f"s3://{SECRET}:x/y@b",
            f"https://me:{SECRET}@host/x",
            f"s3://b?{SECRET}",
            "s3://" + LONG,
        ),
    )
    word, valid = (rng.choice(right), True) if rng.random() < 0.4 else (rng.choice(wrong), False)
    if rng.random() < 0.2:
        word, valid = some_text(rng).replace("/", "", 1), None
        valid = False if "://" in word else None
    given = word

    def check(store: Any) -> str | None:
        store.files() if address.folder(given) else None
        return f"it has an address with a secret: {store.uri}" if SECRET in store.uri else None

    return Case(f"a store {given!r:.300}", lambda: Store(given), valid, _parts(given), check)


def cluster_address(rng: random.Random, folder: Path) -> Case:
    """Ray's address."""
    host, port = rng.choice(HOSTS), rng.choice(PORTS[1:])
    uri, valid = rng.choice((f"{host}{port}", f"{host}{port}", "auto", "local", "none")), True
    wrong = rng.random()
    if wrong < 0.2:
        uri, valid = f"{host}{rng.choice(('', *NO_PORTS))}", False
    elif wrong < 0.4:
        uri, valid = f"{rng.choice(NO_HOSTS)}{port}", False
    elif wrong < 0.6:
        uri, valid = (
            rng.choice(
                (
                    f"ray://{host}{port}",
                    f"me:{SECRET}@{host}{port}",
                    f"http://me:{SECRET}@host:1",
                    "Auto",
                    "",
                )
            ),
            False,
        )
    elif wrong < 0.8:
        uri, valid = some_text(rng), None
    return _address(uri, cluster.address, valid)


def _address(uri: str, read: Any, valid: bool | None) -> Case:
    def check(accepted: str) -> str | None:
        return f"{bare(accepted)} tells a secret" if SECRET in bare(accepted) else None

    return Case(f"an address {uri!r:.300}", lambda: read(uri), valid, _parts(uri), check)


def _mangled(rng: random.Random, uri: str) -> str:
    at = rng.randrange(len(uri) + 1)
    return rng.choice((uri[:at], uri[at:], uri[:at] + some_text(rng)[:500] + uri[at:]))


def _parts(uri: str) -> list[str]:
    """What of an address a message can repeat: not what may be a secret."""
    if SECRET in uri:
        return [uri.partition("://")[0][-20:] if "://" in uri else "…"]
    return [uri, bare(uri), uri.partition("://")[2], uri.partition(":///")[2]]


SHORT = 3
"""Characters of a path that may be told as what it stands for."""
TABLE = "text,label\n" + "".join(f"text {n} of {c},{c}\n" for c in "ab" for n in range(9))


def dry_run(rng: random.Random, folder: Path) -> Case:
    """The whole command, with a path that cannot be, or one thing that can."""
    (folder / "texts.csv").write_text(TABLE)
    (folder / "grid.yaml").write_text("base: {circuit.layers: 1}\n")
    (folder / "file").write_text("")
    (folder / "loop").symlink_to(folder / "loop")
    os.mkfifo(folder / "pipe.yaml")
    os.mkfifo(folder / "pipe.csv")
    arguments = {"--grid": "grid.yaml", "--task": "texts.csv", "--home": "home"}
    wrong = (
        *("~nobody-of-that-name/x", LONG, f"{LONG}.yaml", "a\0b", "loop", "loop/x", "file/x", ""),
        *(
            "/dev/zero",
            "pipe.yaml",
            "pipe.csv",
            "/dev/zero.yaml",
            "\udcff",
            "no/such/folder.csv",
            "x" * 5000,
        ),
        *(f"s3://me:{SECRET}@host/x", f"https://me:{SECRET}@host/x.csv?token={SECRET}"),
    )
    flag = rng.choice(
        ("--grid", "--task", "--data", "--home", "--store", "--teacher", "--tracking", "--address")
    )
    kind = rng.random()
    valid: bool | None = True
    word = ""
    if kind < 0.75:
        word = rng.choice(wrong) if kind < 0.55 else some_text(rng)
        arguments[flag] = word
        valid = False if kind < 0.55 and flag not in ("--home", "--store") else None
        if word == "" or flag in ("--teacher", "--tracking"):
            valid = None
    line = [*(f"{name}={value}" for name, value in arguments.items()), "--dry-run"]
    return Case(
        f"sweep {line!r:.400}",
        lambda: ended(line),
        valid,
        _parts(word) if len(word) > SHORT else [],
    )


def ended(line: list[str]) -> int:
    """The status of a whole command. Raises what it says in refusal."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        status = sweep.main(line)
    if status:
        raise Refused(said.getvalue())
    return status


def locations(rng: random.Random, folder: Path) -> Case:
    """The flags that say where things are, together."""
    command = sweep.parser()
    words = {
        flag: some_text(rng) for flag in ("--home", "--tracking", "--address") if rng.random() < 0.5
    }
    line = ["--grid=x", *(f"{flag}={word}" for flag, word in words.items())]
    return Case(
        f"locations {line!r:.300}",
        lambda: options.read(command.parse_args(line)),
        None,
        [word or "''" for word in words.values()],
    )
