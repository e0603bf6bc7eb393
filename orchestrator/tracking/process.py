"""An object in a process of its own, called through a pipe, one call at a time."""

import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from qdllm.errors import QdllmError

PRIORITY = 10
"""The process's niceness."""
EXIT = 30.0
"""Seconds that the process gets to end by itself, which takes it one where cores are free."""


class Away(Exception):
    """Nobody answered: the same call may succeed later."""


class Refused(Exception):
    """The answer was no, and would be no again."""


class ObjectProcess:
    """A process that holds one object, and calls its methods for us.

    It starts with the first call, and again with the next one if it died.
    """

    def __init__(self, make: Callable[[], Any]) -> None:
        """`make` is called in the process and returns the object. It is pickled, as calls are."""
        self._make = make
        self._process: Any = None

    def call(self, method: str, *arguments: Any) -> Any:
        """What the object's method returns.

        Raises what `make` or the method raises if that is Away, Refused or a QdllmError, Away if
        the process dies, and RuntimeError with a traceback for anything else.
        """
        if self._process is None:
            context = multiprocessing.get_context("spawn")
            self._pipe, theirs = context.Pipe()
            self._process = context.Process(target=_serve, args=(theirs, self._make), daemon=True)
            self._process.start()
            theirs.close()
        try:
            self._pipe.send((method, arguments))
            answer, error = self._pipe.recv()
        except (EOFError, OSError):
            # It was killed, or has run out of memory.
            self._process.join()
            status, self._process = self._process.exitcode, None
            raise Away(f"the process that writes there ended with status {status}") from None
        if error is not None:
            raise error
        return answer

    def close(self) -> None:
        """Let the process end, and wait for that: SQLite tidies up when it is closed in order."""
        if self._process is not None:
            self._pipe.close()
            self._process.join(EXIT)

    def kill(self) -> None:
        """End the process, from any thread: a call in progress raises Away."""
        process = self._process
        if process is not None:
            process.kill()


class ObjectHere:
    """The same without a process, for whoever wants all in one: a debugger."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._object: Any = None

    def call(self, method: str, *arguments: Any) -> Any:
        """What the object's method returns. Raises what `make` or the method raises."""
        self._object = self._object or self._make()
        return getattr(self._object, method)(*arguments)

    def close(self) -> None:
        """Nothing to end."""

    def kill(self) -> None:
        """Nothing that could be ended from another thread."""


def _serve(pipe: Connection, make: Callable[[], Any]) -> None:
    """Answer calls until the other end of the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(PRIORITY)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    target = None
    while True:
        try:
            method, arguments = pipe.recv()
        except EOFError:
            return
        answer: Any = None
        failure: Exception | None = None
        try:
            target = target or make()
            answer = getattr(target, method)(*arguments)
        except (Away, Refused, QdllmError) as error:
            failure = error
        except Exception:
            failure = RuntimeError(traceback.format_exc())
        pipe.send((answer, failure))


def _end_with_parent() -> None:
    """A driver that was killed may start again soon, and two must not write at once."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "this runs in a child"
    parent.join()
    os._exit(1)
