"""One driver for a sweep, and for a result: who has it, and when it was last heard of."""

import os
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

import psutil
from pydantic import Field

from jobs.store import Store
from orchestrator.repeating import repeated
from qdllm import outside
from qdllm.errors import ConfigError, StoreError
from qdllm.messages import cut
from qdllm.spec import Spec

BEAT = 15.0
"""Seconds between two signs of life."""
PAUSE = 1.0
"""Seconds between two looks at what another one has."""
SILENCE = 120.0
"""Seconds without one after which a holder counts as dead."""
TRIES = 10
"""How often a lock is taken from the dead. Others may be faster, but not as often as that."""


class Holder(Spec):
    """A driver that holds a sweep: its process, when that began, and when it was last heard of."""

    host: str = Field(max_length=255)
    pid: int = Field(ge=1, lt=2**31)
    started: float = Field(ge=0, le=1e11)
    token: str = Field(max_length=255)
    seen: float = Field(ge=0, le=1e11)


class Stranger(NamedTuple):
    """Somebody who has written what is no holder of ours: damage, or another program."""

    path: str
    seen: float
    token: str = ""


@contextmanager
def held(
    store: Store, name: str, busy: Callable[[str], None] | None = None, what: str = ""
) -> Iterator[None]:
    """Hold a sweep, or a result, while the block runs. A holder that has died loses it to us.

    It is a courtesy that saves work, not a safeguard of results: two drivers that slip through
    compute the same, and the store keeps one of each.
    `busy`: called every second while another one has it, with who that is. Without it, raises
    ConfigError, naming the holder, if it is alive. Raises StoreError if the store has no lock.
    `what`: how messages call it, if not a sweep of that name.
    """
    path, token = f"locks/{name}/holder.json", secrets.token_hex(8)

    def write(only_if_absent: bool = False) -> bool:
        mine = Holder(
            host=socket.gethostname(),
            pid=os.getpid(),
            started=psutil.Process().create_time(),
            token=token,
            seen=time.time(),
        )
        return store.put(path, mine.model_dump_json(), only_if_absent)

    tries = TRIES
    while not write(only_if_absent=True):
        holder = _holder(store, path)
        # A server that went away may have written it, and the client then tried once more.
        if holder and holder.token == token:
            break
        if holder and not _dead(holder):
            if busy is None:
                raise ConfigError(_refusal(what or f"sweep {name}", holder))
            busy(_told(holder))
            time.sleep(PAUSE)
            continue
        if not tries:
            raise StoreError(
                f"{store.uri}/{path} can be neither written nor deleted; look what it is"
            )
        tries -= 1
        store.discard(path)

    def ours() -> bool:
        """Not where we were silent for long, suspended perhaps, and lost it."""
        holder = _holder(store, path)
        return holder is not None and holder.token == token

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


def _holder(store: Store, path: str) -> Holder | Stranger | None:
    text = store.get(path)
    if text is None:
        return None
    with suppress(ConfigError):
        plain = outside.parsed(text)
        if isinstance(plain, dict):
            holder = Holder.parse(plain)
            # Who is heard of in days to come would never be silent.
            if holder.seen < time.time() + SILENCE:
                return holder
    return Stranger(path=f"{store.uri}/{path}", seen=store.written(path) or 0.0)


def _dead(holder: Holder | Stranger) -> bool:
    """Whether it has been silent for long, or is a process of this machine that has ended."""
    if time.time() - holder.seen > SILENCE:
        return True
    if isinstance(holder, Stranger) or holder.host != socket.gethostname():
        return False
    try:
        # Another process may have come by its number.
        return abs(psutil.Process(holder.pid).create_time() - holder.started) > 1
    except psutil.NoSuchProcess:
        return True


def _told(holder: Holder | Stranger) -> str:
    silent = max(0.0, time.time() - holder.seen)
    if isinstance(holder, Stranger):
        return f"{holder.path}, written {silent:.0f} s ago"
    return f"process {holder.pid} on {cut(holder.host)}, last heard of {silent:.0f} s ago"


def _refusal(what: str, holder: Holder | Stranger) -> str:
    if isinstance(holder, Stranger):
        return (
            f"{what} may be held: {_told(holder)}, is no lock of this program's, so nobody "
            "can tell by whom. If no other program writes it, this same command takes over "
            f"{SILENCE:.0f} s after it was written"
        )
    return (
        f"{what} is held by {_told(holder)}. Wait for it, or stop it; if it is dead, this "
        f"same command takes over at once on that machine, and elsewhere {SILENCE:.0f} s after it "
        "was last heard of"
    )
