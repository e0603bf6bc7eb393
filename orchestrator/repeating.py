"""What is done again and again beside a block of code."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def repeated(act: Callable[[], object], every: float, name: str) -> Iterator[None]:
    """While the block runs, call `act` every so many seconds in a thread, until it returns True."""
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(every):
            if act() is True:
                return

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
