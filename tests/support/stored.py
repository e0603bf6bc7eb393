"""What the tests of the store share: something to publish, and a look at the files."""

import numpy as np
import obstore

from jobs.store import Store
from jobs.store.record import Record

KIND, NAME, OTHER = "features", "0123456789abcdef", "e" * 16
TENSORS = {"train": np.arange(12, dtype=np.float32).reshape(4, 3), "test": np.ones((2, 3))}
TENSORS["count"] = np.array(3.0)


def publish(store: Store, offset: float = 0.0, name: str = NAME) -> Record:
    """A small result; `offset` makes its numbers others."""
    return store.publish(
        KIND,
        name,
        tensors={split: array + offset for split, array in TENSORS.items()},
        spec={"model": "minilm"},
        made_from={"task": "abc"},
        summary={"width": 3},
        seconds=1.5,
    )


def names(backend: obstore.store.ObjectStore, folder: str = f"{KIND}/{NAME}") -> set[str]:
    """The last parts of all paths in a folder."""
    return {entry["path"].split("/")[-1] for entry in obstore.list(backend, folder).collect()}


def read(backend: obstore.store.ObjectStore, name: str) -> bytes:
    """A file of the result that `publish` writes."""
    return bytes(obstore.get(backend, f"{KIND}/{NAME}/{name}").bytes())


def write(backend: obstore.store.ObjectStore, name: str, data: bytes) -> None:
    """Put another file in its place."""
    obstore.put(backend, f"{KIND}/{NAME}/{name}", data)


def flip(data: bytes, at: int = -1) -> bytes:
    """The data with one bit of one byte flipped."""
    flipped = bytearray(data)
    flipped[at] ^= 1
    return bytes(flipped)
