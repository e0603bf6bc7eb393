"""Whether what a sweep stands on is still there: a knock at its ports, every second."""

import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import NamedTuple

from orchestrator.repeating import repeated

PAUSE = 1.0
"""Seconds between two knocks, and how long one waits for an answer."""


class Endpoint(NamedTuple):
    """Somebody who listens, and how many seconds of silence we bear."""

    name: str
    host: str
    port: int
    patience: float


@contextmanager
def watched(endpoints: Sequence[Endpoint], lost: Callable[[str], None]) -> Iterator[None]:
    """While the block runs, call `lost` with the name of one that has been silent for long.

    It is called in another thread, once.
    """
    heard = dict.fromkeys(endpoints, time.monotonic())

    def knock() -> bool:
        for endpoint in endpoints:
            with suppress(OSError):
                socket.create_connection((endpoint.host, endpoint.port), PAUSE).close()
                heard[endpoint] = time.monotonic()
            if time.monotonic() - heard[endpoint] > endpoint.patience:
                lost(endpoint.name)
                return True
        return False

    with repeated(knock, PAUSE, "watch"):
        yield
