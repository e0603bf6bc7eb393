"""One root for every error that a user can cause or meet.

Each class also inherits the built-in that it specialises, so callers that know nothing of this
project can still catch it, and each survives pickling, so it crosses a process boundary whole.
"""

import difflib

from qdllm.messages import LONGEST, shown, told


class QdllmError(Exception):
    """Root of all: a message says what was given, what is allowed and what to do.

    It is short enough to be read, and tells of any address scheme, host and path alone.
    """

    def __init__(self, message: str) -> None:
        super().__init__(told(message))


class ConfigError(QdllmError, ValueError):
    """A setting, an argument or an input file that cannot be used as it is."""


class StoreError(QdllmError, OSError):
    """A stored result that is missing, damaged or cannot be written."""


class JobError(QdllmError, RuntimeError):
    """A job whose worker died, or failed in a way that is not the user's mistake."""


class TeacherError(QdllmError, RuntimeError):
    """A teacher that could not be trained, reloaded, or did not earn its fan-out."""


class TrialError(QdllmError, RuntimeError):
    """A student trial that cannot go on, with the seed and epoch at which it stopped."""


class DeviceError(QdllmError, RuntimeError):
    """A processor that cannot be asked, or whose answer cannot be used."""


class TrackingError(QdllmError, OSError):
    """Results that MLflow did not take. They are safe in the store."""


def nearest(name: str, known: list[str]) -> str:
    """`; did you mean 'x'?` for the closest known name, or an empty string."""
    close = [one for one in known if one.casefold() == name.casefold()]
    if not close and len(name) < LONGEST:
        close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {shown(close[0])}?" if close else ""
