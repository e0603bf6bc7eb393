"""What a person sees while a sweep runs; everybody else's chatter goes to a log file."""

import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self, TextIO

from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
)

from jobs.screen import Screen
from qdllm.errors import ConfigError, QdllmError

PLAIN_WIDTH = 130
PLAIN_INTERVAL = 10.0
"""Seconds between two lines of one phase where the output is a file or a pipe."""
TELLING = 0.1
"""The share of a phase whose pace tells how long the rest will take."""


class Terminal:
    """The user's terminal, kept while standard output and error are sent to a log file.

    Ray, DeepSpeed, Transformers and MLflow write to the process's own file descriptors, some of
    them from C++; so the descriptors themselves are redirected, and restored at the end.
    """

    def __init__(self, log: Path | None, shared: bool = False) -> None:
        """Send what others write to `log`; without one, nothing is redirected.

        `shared`: a debugger may speak with the user too. So lines are plain, and standard output
        stays the user's.
        """
        self.log, self.shared = log, shared
        self.status: Callable[[], str] = lambda: ""
        """What every phase tells beside its own progress."""

    def __enter__(self) -> Self:
        if self.log:
            try:
                self.log.parent.mkdir(parents=True, exist_ok=True)
                self.log.touch()
            except OSError as error:
                raise ConfigError(
                    f"cannot write the log {self.log}: {error.strerror}; choose another --home"
                ) from None
        sys.stdout.flush()
        sys.stderr.flush()
        self._saved = os.dup(1), os.dup(2)
        self._stream: TextIO = os.fdopen(
            os.dup(self._saved[0]), "w", encoding="utf-8", errors="backslashreplace"
        )
        interactive = self._stream.isatty()
        self.console = Screen(file=self._stream, width=None if interactive else PLAIN_WIDTH)
        if self.log:
            with self.log.open("ab") as log:
                if not self.shared:
                    os.dup2(log.fileno(), 1)
                os.dup2(log.fileno(), 2)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.log and isinstance(error, Exception) and not isinstance(error, QdllmError):
            traceback.print_exception(error)  # the log keeps what a person is told in one line
        sys.stdout.flush()
        sys.stderr.flush()
        for number, saved in enumerate(self._saved, start=1):
            os.dup2(saved, number)
            os.close(saved)
        self._stream.close()

    def print(self, *renderables: object) -> None:
        """Print each to the user; text is left for the terminal to wrap, so it can be copied."""
        for renderable in renderables:
            text = isinstance(renderable, str)
            self.console.print(renderable, soft_wrap=text)

    def leave(self, status: int, line: str = "") -> NoReturn:
        """End the process at once, from any thread, with a last line on the user's error stream."""
        cursor = b"\x1b[?25h" if self.console.is_terminal else b""  # a live line has hidden it
        os.write(self._saved[0], cursor)
        os.write(self._saved[1], line.encode() + b"\n" if line else b"")
        os._exit(status)

    @contextmanager
    def phase(self, name: str, total: float | None = None) -> Iterator["Phase"]:
        """A live line with an estimate of the time left; plain lines where there is no terminal."""
        phase = Phase(name, total)
        phase.say = self.print
        if self.console.is_terminal and not self.shared:
            columns = (
                SpinnerColumn(),
                TextColumn("{task.description:<12}", markup=False),
                BarColumn(bar_width=24),
                TextColumn("{task.completed:.0f}/{task.total:.0f}"),
                TextColumn("{task.fields[note]}", markup=False),
            )
            # By default rich would show on the terminal what others print: that is the log's.
            with Progress(
                *columns,
                console=self.console,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            ) as bar:
                task = bar.add_task(name, total=total or 1, note="")
                phase.draw = lambda: bar.update(
                    task,
                    completed=phase.done,
                    total=phase.total or 1,
                    note=f"{phase.left()}  {phase.note}  {self.status()}".strip(),
                )
                yield phase
        else:
            printed = phase.began

            def draw() -> None:
                nonlocal printed
                if time.monotonic() - printed >= PLAIN_INTERVAL:
                    printed = time.monotonic()
                    self.print(f"{phase.line()}  {self.status()}".rstrip())

            phase.draw = draw
            yield phase
        self.print(phase.summary())


class Phase:
    """Progress of one phase; `draw` shows the present state, `say` prints a line that stays."""

    def __init__(self, name: str, total: float | None) -> None:
        self.name, self.total, self.done, self.note = name, total, 0.0, ""
        self.began = time.monotonic()
        self._paced: tuple[float, float] | None = None
        """What was done when the first of it was, and when that was."""
        self.draw: Callable[[], None] = lambda: None
        self.say: Callable[[str], None] = lambda line: None

    def hear(self, done: float, total: float, note: str) -> None:
        """Take what a job tells of itself: progress, or with a total of 0 a line to be read."""
        if total:
            self.update(done, total, note)
        else:
            self.say(note)

    def update(self, done: float, total: float | None = None, note: str | None = None) -> None:
        """Set what is done, and the total or the note where they are known better by then.

        Another total is another part of the phase, and the time left is reckoned from there.
        """
        if total is not None and total != self.total:
            self.total, self._paced = total, None
        self.done = done
        if done and self._paced is None:
            self._paced = done, time.monotonic()
        self.note = self.note if note is None else note
        self.draw()

    def line(self) -> str:
        """One line for a log."""
        if not (self.total and self.done):
            return f"{self.name:<12} {self.note}".rstrip()
        done = ", ".join(filter(None, (f"{self.done:g}/{self.total:g}", self.left())))
        return f"{self.name:<12} {done}  {self.note}"

    def left(self) -> str:
        """About how long the rest will take; nothing while that would mean nothing.

        Reckoned from the first thing on that was done, which waits for imports and compilers, and
        told when there is a tenth of the whole beside it.
        """
        first, since = self._paced or (0.0, 0.0)
        achieved = self.done - first
        if not self.total or achieved < TELLING * self.total or self.done >= self.total:
            return ""
        pace = (time.monotonic() - since) / achieved
        return f"about {duration(pace * (self.total - self.done))} left"

    def summary(self) -> str:
        """The line that stays when the phase is over."""
        elapsed = duration(time.monotonic() - self.began)
        return f"{self.name:<12} {elapsed:>12}  {self.note}".rstrip()


def duration(seconds: float) -> str:
    """12.3 s, 4 min 05 s or 2 h 10 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
