"""`python -m jobs.NAME SPEC`: one job described by a JSON file, run in this process."""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from qdllm.errors import ConfigError, QdllmError
from qdllm.specs import Spec

Progress = Callable[[str, int, int, str], None]
"""Called with the phase, how much of it is done, how much there is, and a note."""

Request = TypeVar("Request", bound=Spec)


def silent(phase: str, done: int, total: int, note: str) -> None:
    """Progress that nobody follows."""


def main(request: type[Request], run: Callable[[Request, Progress], str]) -> int:
    """Run the job that the file named on the command line describes, and print its fingerprint.

    Returns the exit status: 0, 2 for a file or setting that cannot be used, 1 for a job that
    failed.
    """
    name = Path(sys.argv[0]).stem
    parser = argparse.ArgumentParser(prog=f"python -m jobs.{name}", description=run.__doc__)
    parser.add_argument(
        "spec", metavar="SPEC", type=Path, help=f"JSON file with {', '.join(request.model_fields)}"
    )
    try:
        print(run(read(request, parser.parse_args().spec), _lines()))
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    except QdllmError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def read(request: type[Request], path: Path) -> Request:
    """The request in a JSON file. Raises ConfigError if the file or a key of it cannot be used."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read {str(path)!r} as JSON: {error}") from None
    if not isinstance(data, dict):
        raise ConfigError(
            f"{path} must hold one JSON object with {', '.join(request.model_fields)}"
        )
    return request.parse(data)


def _lines(every: float = 5.0) -> Progress:
    """Progress as plain lines on stderr, at most one per `every` seconds and phase."""
    last: dict[str, float] = {}

    def progress(phase: str, done: int, total: int, note: str) -> None:
        if done < total and time.monotonic() - last.get(phase, -every) < every:
            return
        last[phase] = time.monotonic()
        print(f"{phase} {done}/{total} {note}".rstrip(), file=sys.stderr, flush=True)

    return progress
