"""What stands in MLflow's way, in a sentence with what to do, by what MLflow and its database say.

Their own words are for programmers: a library's prefix, a statement, an address of its manual.
"""

import re

from mlflow.exceptions import MlflowException
from sqlalchemy.exc import DBAPIError, NoSuchModuleError

from orchestrator.tracking.process import Away, Refused

NOBODY = "check the address, and that MLflow runs there"
SERVER = (
    (
        r"error code 401 ",
        Refused,
        "it wants to know who asks: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or "
        "MLFLOW_TRACKING_TOKEN",
    ),
    (
        r"error code 403 .*Host header",
        Refused,
        "it answers under other names than this address has: start it with --allowed-hosts and "
        "this name, or give another address of it",
    ),
    (
        r"error code 403 ",
        Refused,
        "the user that asks may not do that: have whoever runs it grant the right to write",
    ),
    (
        r"error code 3\d\d |error code 404 |not in a valid JSON format",
        Refused,
        "something else than MLflow answers there: check the address",
    ),
    (
        r"too many (\d+) error responses|error code (5\d\d|429) ",
        Away,
        "it answers with an error ({}): it may be starting, or have more to do than it can; its "
        "own log says more",
    ),
    (
        r"SSLError\(.*\[SSL: ([^\]]*)\]",
        Refused,
        "no secure connection comes about ({}): check http:// and https://, or its certificate",
    ),
    (r"Invalid url", Refused, "this is no address: check host and port"),
    (r"Failed to resolve", Away, f"no machine of that name is known: {NOBODY}"),
    (
        r"\[Errno \d+\] ([\w ]+)|(Connection refused|timed out|Connection aborted|reset by peer)",
        Away,
        f"nobody answers there ({{}}): {NOBODY}",
    ),
)
"""Of a server over HTTP: a pattern of what MLflow's client says, whether to try again, and what a
person reads, with the pattern's first group that took part."""
DATABASE = (
    (
        r"database (?:table )?is locked",
        Away,
        "another program has locked the database: close it, or wait until it is done",
    ),
    (
        r"unable to open database file",
        Refused,
        "the file cannot be opened: check that its folder is there, and that both may be written",
    ),
    (
        r"readonly database|read-only",
        Refused,
        "the database may not be written: change its permissions, or give another",
    ),
    (r"disk is full|No space left", Away, "the disk is full: make room"),
    (
        r"file is not a database",
        Refused,
        "the file is not a database of SQLite's: give another, or none, for a new one",
    ),
    (
        r"malformed",
        Refused,
        "the database is damaged: move it away, and the same command fills a new one from the "
        "store, which has all results",
    ),
    (
        r"authentication failed|no password supplied|Access denied|role \"[^\"]*\" does not exist",
        Refused,
        "it does not take the user and the password of this address: check both",
    ),
    (
        r"database (\"[^\"]*\") does not exist|Unknown database ('[^']*')",
        Refused,
        "it has no database {}: create one, or check the address",
    ),
    (
        r"(Connection refused|timeout expired|timed out|(?:Name|node)[\w ]* not known|starting up)",
        Away,
        "nobody answers there ({}): check the address, and that the database runs there",
    ),
)
"""The same of what a database's driver says."""


def named(error: Exception) -> Away | Refused:
    """An error of MLflow's, of its database or of the system's, as one that says what to do.

    Away, where the same call may succeed later.
    """
    if isinstance(error, MlflowException):
        if isinstance(error.__cause__, DBAPIError):
            return named(error.__cause__)
        status = error.get_http_status_code()
        kind = Refused if 400 <= status < 500 else Away
        return _first(SERVER, str(error)) or kind(line(error))
    if isinstance(error, NoSuchModuleError):
        driver = str(error).rpartition(":")[2]
        return Refused(f"there is no driver {driver!r}: leave out what the address has behind a +")
    if isinstance(error, ImportError):
        return Refused(
            f"its driver is not installed ({error}): for PostgreSQL, pip install 'psycopg[binary]'"
        )
    if isinstance(
        error, FileExistsError | FileNotFoundError | NotADirectoryError | PermissionError
    ):
        return Refused(f"cannot write {error.filename}: {error.strerror}; give another place")
    return _first(DATABASE, str(_inner(error))) or Away(line(error))


def line(error: Exception) -> str:
    """The first line of what it says, without SQLAlchemy's words around a driver's."""
    said = str(_inner(error)).strip().splitlines()
    return said[0] if said else type(error).__name__


def _inner(error: BaseException) -> BaseException:
    return error.orig if isinstance(error, DBAPIError) and error.orig else error


def _first(
    causes: tuple[tuple[str, type[Away] | type[Refused], str], ...], said: str
) -> Away | Refused | None:
    for pattern, kind, sentence in causes:
        if match := re.search(pattern, said, re.DOTALL):
            return kind(sentence.format(next(filter(None, match.groups()), "")))
    return None
