"""Whether what a sweep stands on is still there: a knock at its ports, every second."""

import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import NamedTuple

from orchestrator.repeating import repeated

PAUSE = 1.0
"""Seconds between two knocks, and how long one waits for an answer."""


class Place(NamedTuple):
    """Somebody who listens, and how many seconds of silence we bear."""

    name: str
    host: str
    port: int
    patience: float


@contextmanager
def watched(places: Sequence[Place], lost: Callable[[str], None]) -> Iterator[None]:
    """While the block runs, call `lost` with the name of a place that has been silent for long.

    It is called in another thread, once.
    """
    heard = dict.fromkeys(places, time.monotonic())

    def knock() -> bool:
        for place in places:
            with suppress(OSError):
                socket.create_connection((place.host, place.port), PAUSE).close()
                heard[place] = time.monotonic()
            if time.monotonic() - heard[place] > place.patience:
                lost(place.name)
                return True
        return False

    with repeated(knock, PAUSE, "watch"):
        yield
