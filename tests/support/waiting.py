"""Waits for what will be so. Their end is no judgement: it only keeps a test from hanging."""

import time
from collections.abc import Callable
from typing import Any

DEADLINE = 900
"""Seconds that anything may take on a machine that has other things to do."""


def until(condition: Callable[[], Any], what: str = "", every: float = 0.1) -> Any:
    """What the condition gives once it is true. `what` is told where it never is."""
    deadline = time.monotonic() + DEADLINE
    while not (found := condition()):
        assert time.monotonic() < deadline, what or "it was waited for in vain"
        time.sleep(every)
    return found
