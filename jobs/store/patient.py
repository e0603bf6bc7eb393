"""A store whose absence costs no work."""

import time
from typing import Any

from jobs.store.record import Record
from jobs.store.results import Store
from qdllm.errors import StoreError

PATIENCE, PAUSE = 600.0, 5.0
"""Seconds for which a worker tries to publish what it has made, and those between two tries."""


class PatientStore(Store):
    """Keeps what is to be published until the store is back."""

    def publish(self, *names: Any, **parts: Any) -> Record:
        """As Store does. Raises StoreError if it has been refused for `PATIENCE` seconds."""
        began = time.monotonic()
        while True:
            try:
                return super().publish(*names, **parts)
            except StoreError:
                if time.monotonic() - began > PATIENCE:
                    raise
            time.sleep(PAUSE)
