"""Writes behind the driver's back: a queue keeps them in order, another process performs them.

Not the queue's own thread, because MLflow's client is Python all through: in the driver it would
hold the interpreter for half of the time that Tune's event loop needs. The process has a low
priority, so that training comes first where cores are scarce.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, NamedTuple

from orchestrator.tracking.process import Away, ObjectHere, ObjectProcess, Refused

FIRST_PAUSE, LONGEST_PAUSE = 0.25, 5.0
"""Seconds between two attempts at the same write; each pause is twice the one before it."""
GRACE = 5.0
"""Seconds that a write in progress gets when everything ends."""
POLL = 0.2
"""Seconds between two reports of how much is written."""

Written = Callable[[int, int], None]
"""Called with the number of writes done and the number there are."""


def nobody(done: int, total: int) -> None:
    """For writes that nobody counts."""


class Write(NamedTuple):
    """A method of the object in the other process, and its arguments."""

    name: str
    """Whose it is: a trial's fingerprint, a file's name, `the sweep`, or else the method's name."""
    method: str
    arguments: tuple[Any, ...]
    answer: "Future[Any] | None"
    """Where somebody waits for what the method returns: such a write is tried once."""


class WriteQueue:
    """Calls methods of an object in another process, one after the other.

    A write that meets `Away` is tried again until it succeeds, so every method must be one that
    may be called twice.
    """

    def __init__(self, make: Callable[[], Any], alone: bool = False) -> None:
        """`make` returns the object; see ObjectProcess. `alone`: it lives in this process."""
        self._process = ObjectHere(make) if alone else ObjectProcess(make)
        self._writes: deque[Write] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._mistake: Exception | None = None
        self.trouble = ""
        """Why the write at the head of the queue failed when it was last tried."""
        self.refused: dict[str, str] = {}
        """The reason of each write that was refused, by its name."""
        self._thread = threading.Thread(target=self._work, name="writes", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> list[str]:
        """The names of all writes that are not done yet."""
        with self._changed:
            return [write.name for write in self._writes]

    def submit(self, name: str, method: str, *arguments: Any) -> None:
        """Have it written when its turn comes. Returns at once."""
        self._append(Write(name, method, arguments, None))

    def ask(self, method: str, *arguments: Any) -> "Future[Any]":
        """Have it done when its turn comes, and once: its answer may be `Away` or `Refused`."""
        answer: Future[Any] = Future()
        self._append(Write(method, method, arguments, answer))
        return answer

    def wait(self, patience: float, written: Written = nobody) -> bool:
        """Wait for all writes, but no longer than `patience` seconds for any one of them.

        Calls `written` several times a second. Returns whether all are done. Raises what a write
        raised that is neither Away nor Refused.
        """
        total = left = len(self.waiting)
        since = time.monotonic()
        while left and not self._mistake and time.monotonic() - since < patience:
            with self._changed:
                self._changed.wait(POLL)
            before, left = left, len(self.waiting)
            written(total - left, total)
            if left < before:
                since = time.monotonic()
        if self._mistake:
            raise self._mistake
        return not left

    def drop(self) -> None:
        """Forget all writes but the one in progress."""
        with self._changed:
            while len(self._writes) > 1:
                self._writes.pop()

    def close(self) -> None:
        """End the process. What is not written by then is dropped."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(GRACE)
        if self._thread.is_alive():
            self._process.kill()
        else:
            self._process.close()

    def _append(self, write: Write) -> None:
        with self._changed:
            self._writes.append(write)
            self._changed.notify_all()

    def _work(self) -> None:
        pause = FIRST_PAUSE
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._writes or self._closing)
                if self._closing:
                    return
                write = self._writes[0]
            try:
                self._perform(write)
            except Away as error:
                self.trouble = str(error)
                with self._changed:
                    self._changed.wait_for(lambda: self._closing, pause)
                pause = min(2 * pause, LONGEST_PAUSE)
                continue
            pause, self.trouble = FIRST_PAUSE, ""
            with self._changed:
                self._writes.popleft()
                self._changed.notify_all()

    def _perform(self, write: Write) -> None:
        """Raises Away if the write is to be tried again."""
        try:
            answer = self._process.call(write.method, *write.arguments)
        except Exception as error:
            if write.answer:
                write.answer.set_exception(error)
            elif isinstance(error, Away):
                raise
            elif isinstance(error, Refused):
                self.refused[write.name] = str(error)
            else:  # for the thread that waits
                self._mistake = error
        else:
            if write.answer:
                write.answer.set_result(answer)
