"""What comes from outside: paths, files and JSON, as plain data or as one ConfigError.

Whoever calls this need not know in how many ways an operating system or a parser says no.
"""

import json
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from qdllm.addresses import bare
from qdllm.errors import ConfigError
from qdllm.messages import cut, shown

_WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\")
DEPTH = 20
"""Objects and lists that may lie in each other."""
_DEEP = f"more than {DEPTH} objects and lists lie in each other"
LARGEST = 1_000_000
"""Bytes of a file that a person writes."""


def path(given: str | os.PathLike[str]) -> Path:
    """The absolute path that is meant, whether or not something is there; `~` is a home.

    Raises ConfigError for what can be no path here, or leads where nobody is let in.
    """
    with using(given):
        if not str(given):
            raise ValueError("a path has at least one character")
        if _WINDOWS.match(str(given)) and os.name != "nt":
            raise ValueError("it is a path of Windows, and this machine has no such")
        if "://" in str(given):
            raise ValueError("it is an address, and a file or folder on this machine is wanted")
        try:
            found = Path(given).expanduser().absolute()
        except RuntimeError:
            raise ValueError("there is no user of that name") from None
        with suppress(FileNotFoundError, NotADirectoryError):
            found.stat()
    return found


def cache() -> Path:
    """Where downloads and compiled kernels are kept, all of which may be deleted.

    `$QDLLM_CACHE`, else `qdllm` under the XDG cache folder. Raises RuntimeError where there is
    neither, nor a home.
    """
    xdg = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("QDLLM_CACHE") or Path(xdg, "qdllm"))


def folder(given: str | os.PathLike[str]) -> Path:
    """A folder, made where it is missing, in which files can be written: one is, and goes again.

    Raises ConfigError for any other.
    """
    found = path(given)
    with using(given):
        if found.exists() and not found.is_dir():
            raise ValueError("it is a file where a folder is wanted; move it away")
        found.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=found) as file:
            file.write(b"tried")
    return found


def read(given: str | os.PathLike[str], largest: int = LARGEST) -> bytes:
    """A file's bytes. Raises ConfigError for one that is none, is too large, or cannot be read."""
    file = path(given)
    with using(given):
        # To open a pipe would wait for a writer, and a device may never end.
        if file.exists() and not stat.S_ISREG(file.stat().st_mode):
            raise ValueError("it is no file" if file.is_dir() else "it is no ordinary file")
        with file.open("rb") as stream:
            content = stream.read(largest + 1)
        if len(content) > largest:
            raise ValueError(f"it is larger than {largest:,} bytes")
    return content


def text(given: str | os.PathLike[str], largest: int = LARGEST) -> str:
    """A file's text, without a byte order mark. Raises ConfigError as `read`, and if not UTF-8."""
    try:
        return read(given, largest).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError(f"{cut(str(given))} is not UTF-8 text; save it as UTF-8") from None


def parsed(written: str | bytes) -> Any:
    """The value of a JSON text. Raises ConfigError, with what is wrong with it, if it has none.

    Stricter than Python's own: a key may stand once, NaN is no number, half a pair of surrogates no
    text, and nothing lies deeper than anything of ours does.
    """
    try:
        value = json.loads(written, object_pairs_hook=_once, parse_constant=_no_number)
        _check(value, DEPTH)
    except RecursionError:
        reason = _DEEP
    except ValueError as error:
        reason = str(error)
    else:
        return value
    raise ConfigError(f"not JSON that can be used: {reason}")


@contextmanager
def using(given: str | os.PathLike[str]) -> Iterator[None]:
    """What an operating system, or Python, says to a path, as a ConfigError that names it."""
    try:
        yield
    except ConfigError:
        raise
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        name = os.fspath(given)
        told = shown(bare(name) if "://" in name else name)
        raise ConfigError(f"cannot use {told}: {reason}") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"{shown(twice)} stands twice in one object; keep one of them")
    return found


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number")


def _check(value: Any, depth: int) -> None:
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError(f"{shown(value)} is no text") from None
    elif isinstance(value, dict | list):
        if not depth:
            raise ValueError(_DEEP)
        for part in (*value, *value.values()) if isinstance(value, dict) else value:
            _check(part, depth - 1)
