"""What an MLflow address means, before anybody is asked there."""

import re
from urllib.parse import urlsplit

from qdllm import outside
from qdllm.addresses import bare
from qdllm.errors import ConfigError
from qdllm.messages import shown

SERVERS = ("http", "https")
DATABASES = ("mssql", "mysql", "postgresql")
LARGEST_PORT = 65535
FORMS = (
    "give an MLflow server (http://host:5000) or a database (postgresql://host/name, with user and "
    "password before the host, or sqlite:////folder/mlflow.db)"
)
# As SQLAlchemy reads it: a password ends at the first @, whatever it holds.
_DATABASE = re.compile(
    r"(?:[^:/]*(?::[^@]*)?@)?(\[[\da-fA-F:.]+\]|[\w.%-]*)(?::(\d+))?/[^?\s@]+(?:\?.*)?"
)


def address(uri: str) -> str:
    """The absolute address of an MLflow server or database. Raises ConfigError for another one."""
    scheme, separator, rest = uri.partition("://")
    dialect, plus, driver = scheme.partition("+")
    known = (*SERVERS, *DATABASES, "sqlite")
    if not separator or dialect not in known or bool(plus) != bool(re.fullmatch(r"\w+", driver)):
        raise ConfigError(f"unknown tracking address {shown(bare(uri))}: {FORMS}")
    if dialect == "sqlite":
        return _sqlite(uri, rest)
    if problem := _server(uri) if dialect in SERVERS else _database(rest):
        raise ConfigError(f"tracking address {shown(bare(uri))} {problem}: {FORMS}")
    return uri


def _sqlite(uri: str, rest: str) -> str:
    path, mark, query = rest.removeprefix("/").partition("?")
    if not rest.startswith("/") or not path or path == ":memory:":
        raise ConfigError(f"tracking address {shown(bare(uri))} names no file: {FORMS}")
    file = outside.path(path)
    if file.is_dir():
        raise ConfigError(f"tracking address {shown(bare(uri))} is a folder: name a file in it")
    return f"sqlite:///{file}{mark}{query}"


def _server(uri: str) -> str:
    """What is wrong with a server's address; nothing if it can be one."""
    if re.search(r"[\x00-\x1f\x7f]", uri):
        return "holds a control character"
    try:
        parts = urlsplit(uri)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "cannot be read (in a password, write / as %2F and so on)"
    if not host or re.search(r"[^\w.:%-]", host) or "+" in parts.scheme:
        return "names no host"
    if "@" in parts.path:
        return "cannot be read (in a password, write / as %2F and so on)"
    return "has port 0" if port == 0 else ""


def _database(rest: str) -> str:
    """The same of a database's."""
    match = _DATABASE.fullmatch(rest)
    if not match:
        return "is not host:port/name"
    if match[2] and not 0 < int(match[2][:6]) <= LARGEST_PORT:
        return f"has a port beyond {LARGEST_PORT}"
    return ""
