"""`python -m jobs.NAME SPEC`: one job described by a JSON file, run in this process."""

import argparse
import os
import sys
import time
from collections.abc import Callable
from io import TextIOWrapper
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from qdllm import outside
from qdllm.errors import ConfigError, QdllmError
from qdllm.messages import shown, told
from qdllm.spec import Spec

Progress = Callable[[str, int, int, str], None]
"""Called with the phase, how much of it is done, how much there is, and a note.

Where there is a total of 0, the note is a line that a person should read.
"""

Request = TypeVar("Request", bound=Spec)


def silent(phase: str, done: int, total: int, note: str) -> None:
    """Progress that nobody follows."""


class Parser(argparse.ArgumentParser):
    """A command line. Its mistakes are told like all others: in short, and without secrets."""

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse does, which takes `--home=--` for a list of nothing."""
        for each in sys.argv[1:] if args is None else args:
            if each.startswith("--") and each.endswith("=--"):
                self.error(f"{each}: -- is no value")
        return super().parse_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """As argparse does."""
        super().error(told(message))


def status(run: Callable[[], int], before: str = "", interrupted: str = "interrupted") -> int:
    """What a command ends with; an error is one message on the error stream, after `before`.

    What `run` returns; 2 for input that cannot be used, 1 for any other error of ours, or of the
    operating system where nobody has foreseen one, 130 if interrupted.
    """
    if isinstance(sys.stdout, TextIOWrapper):
        # Names of files need not be texts.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        return run()
    except QdllmError as error:
        print(f"{before}{error}", file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 1
    except BrokenPipeError:
        # `| head` has read enough; what is left shall not go there at the interpreter's end either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        print(f"{before}{told(str(error))}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(interrupted, file=sys.stderr)
        return 130


def main(request: type[Request], run: Callable[[Request, Progress], str]) -> int:
    """Run the job that the file named on the command line describes, and print its fingerprint.

    Returns the exit status: 0, 2 for a file or setting that cannot be used, 1 for a job that
    failed.
    """
    name = Path(sys.argv[0]).stem
    parser = Parser(prog=f"python -m jobs.{name}", description=run.__doc__)
    parser.add_argument(
        "spec", metavar="SPEC", help=f"JSON file with {', '.join(request.model_fields)}"
    )
    given = parser.parse_args().spec

    def job() -> int:
        print(run(read(request, given), _lines()))
        return 0

    return status(job)


def read(request: type[Request], path: str | Path) -> Request:
    """The request in a JSON file. Raises ConfigError if the file or a key of it cannot be used."""
    try:
        data = outside.parsed(outside.text(path))
    except ConfigError as error:
        raise ConfigError(f"cannot read {shown(str(path))} as JSON: {error}") from None
    if not isinstance(data, dict):
        raise ConfigError(
            f"{path} must hold one JSON object with {', '.join(request.model_fields)}"
        )
    return request.parse(data)


def _lines(every: float = 5.0) -> Progress:
    """Progress as plain lines on stderr, at most one per `every` seconds and phase."""
    last: dict[str, float] = {}

    def progress(phase: str, done: int, total: int, note: str) -> None:
        if not total:
            print(note, file=sys.stderr, flush=True)
            return
        if done < total and time.monotonic() - last.get(phase, -every) < every:
            return
        last[phase] = time.monotonic()
        print(f"{phase} {done}/{total} {note}".rstrip(), file=sys.stderr, flush=True)

    return progress
