"""One driver per sweep: who holds it, and when it was last heard of."""

import json
import os
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psutil

from jobs.store import Store
from orchestrator.repeating import repeated
from qdllm.errors import ConfigError, StoreError

BEAT = 15.0
"""Seconds between two signs of life."""
SILENCE = 120.0
"""Seconds without one after which a holder counts as dead."""


@contextmanager
def held(store: Store, name: str) -> Iterator[None]:
    """Hold a sweep while the block runs. A holder that has died loses it to us.

    It is a courtesy that saves work, not a safeguard of results: two drivers that slip through
    compute the same trials, and the store keeps one of each.
    Raises ConfigError, naming the holder, if it is alive.
    """
    path = f"locks/{name}/holder.json"
    mine = {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "started": psutil.Process().create_time(),
        "token": secrets.token_hex(8),
    }

    def write(only_if_absent: bool = False) -> bool:
        return store.put(path, json.dumps(mine | {"seen": time.time()}), only_if_absent)

    while not write(only_if_absent=True):
        holder = _holder(store, path)
        # A server that went away may have written it, and the client then tried once more.
        if holder and holder["token"] == mine["token"]:
            break
        if holder and not _dead(holder):
            raise ConfigError(_refusal(name, holder))
        store.discard(path)

    def ours() -> bool:
        """Not where we were silent for long, suspended perhaps, and lost it."""
        holder = _holder(store, path)
        return holder is not None and holder["token"] == mine["token"]

    def beat() -> None:
        # A store that is away for a while shall not end the sweep.
        with suppress(StoreError):
            if ours():
                write()

    try:
        with repeated(beat, BEAT, "lock"):
            yield
    finally:
        with suppress(StoreError):
            if ours():
                store.discard(path)


def _holder(store: Store, path: str) -> dict[str, Any] | None:
    text = store.get(path)
    return json.loads(text) if text else None


def _dead(holder: dict[str, Any]) -> bool:
    """Whether it has been silent for long, or is a process of this machine that has ended."""
    if time.time() - holder["seen"] > SILENCE:
        return True
    if holder["host"] != socket.gethostname():
        return False
    try:
        # Another process may have come by its number.
        return abs(psutil.Process(holder["pid"]).create_time() - holder["started"]) > 1
    except psutil.NoSuchProcess:
        return True


def _refusal(name: str, holder: dict[str, Any]) -> str:
    silent = max(0.0, time.time() - holder["seen"])
    return (
        f"sweep {name} is held by process {holder['pid']} on {holder['host']}, last heard of "
        f"{silent:.0f} s ago. Wait for it, or stop it; if it is dead, this same command takes over "
        f"at once on that machine, and elsewhere {SILENCE:.0f} s after it was last heard of"
    )
