"""A store whose absence costs no work."""

import time
from collections.abc import Callable
from typing import Any, TypeVar

from jobs.store.record import DamagedError, Record, VersionError
from jobs.store.results import Store
from qdllm.errors import StoreError

PATIENCE, PAUSE = 600.0, 5.0
"""Seconds for which a worker waits for a store that is away, and those between two tries."""

Answer = TypeVar("Answer")


class PatientStore(Store):
    """Waits until the store is back: with what is to be published, and with what is asked."""

    def publish(self, *names: Any, **parts: Any) -> Record:
        """As Store does. Raises StoreError if it has been refused for `PATIENCE` seconds."""
        return _patiently(lambda: super(PatientStore, self).publish(*names, **parts))

    def replace(self, *names: Any, **parts: Any) -> Record:
        """As Store does. Raises StoreError if it has been refused for `PATIENCE` seconds."""
        return _patiently(lambda: super(PatientStore, self).replace(*names, **parts))

    def _read(self, path: str) -> bytes | None:
        return _patiently(lambda: super(PatientStore, self)._read(path))


def _patiently(call: Callable[[], Answer]) -> Answer:
    began = time.monotonic()
    while True:
        try:
            return call()
        except (DamagedError, VersionError):
            raise  # the store has answered
        except StoreError:
            if time.monotonic() - began > PATIENCE:
                raise
        time.sleep(PAUSE)
