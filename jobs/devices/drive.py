"""Send a run's circuits, each of them once, and take what comes back.

Killed at any point, the same call goes on from what is written down, and sends nothing that the
processor has.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from jobs.devices.plan import CHECKS, Plan, Work
from jobs.devices.protocol import Counted, Processor, Task
from jobs.devices.runs import RunFolder
from qdllm.errors import ConfigError, DeviceError
from qdllm.processors import readout

AGAIN = 2
"""How often a task is sent once more that failed in a way that may pass."""
OFFSET = 100_000
"""What is added to a chunk's number each time that some of its tasks are sent again."""
POLLS = ((60.0, 1.0), (600.0, 5.0), (float("inf"), 30.0))
"""Until when, in seconds from the first one, and how often a processor is asked for results."""
SEARCH = 60.0
"""Seconds for which a chunk is searched for that may have been sent, before it is sent again."""

Say = Callable[[int, int, str], None]
"""Called with circuits done, circuits in all, and a note."""


class Chunk(NamedTuple):
    """Tasks that are sent together."""

    number: int
    job: int
    tasks: tuple[int, ...]
    """Their numbers in the run."""


class Lacking(NamedTuple):
    """What a run is without that was only looked after."""

    unsent: int
    """Circuits that were never sent."""
    waiting: int
    """Circuits that the processor has not done."""


def drive(
    folder: RunFolder,
    plan: Plan,
    work: Work,
    processor: Processor,
    say: Say,
    send: bool = True,
    sleep: Callable[[float], None] = time.sleep,
) -> list[Counted] | Lacking:
    """What came back of all tasks, in their order. `send`: False to take only, without waiting.

    Raises DeviceError where the processor refuses, bits come in another order than it says, or
    tasks fail for good; what was sent until then stays written down.
    """
    done: dict[int, Counted] = {}
    unsent = waiting = 0
    chunks = [Chunk(number, job, tuple(work.chunk(number))) for number, job in enumerate(plan.jobs)]
    for chunk in chunks:
        if not _sent(folder, plan, work, processor, chunk, send, sleep):
            unsent += len(chunk.tasks)
        elif chunk.number == CHECKS:
            # Nothing else is sent before these tell whose bit is whose.
            waiting += _taken(folder, plan, work, processor, chunk, done, say, send, sleep)
            if not waiting:
                _check(folder, work, done)
    for chunk in chunks[1:]:
        if folder.event(f"taken-{chunk.number}"):
            waiting += _taken(folder, plan, work, processor, chunk, done, say, send, sleep)
    if unsent or waiting:
        return Lacking(unsent, waiting)
    for number in set(plan.jobs):
        if folder.event(f"closed-{number}") is None:
            processor.close(str(folder.event(f"opened-{number}")["job"]))
            folder.note(f"closed-{number}", time=time.time())
    return [done[number] for number in range(len(work.tasks))]


def _sent(
    folder: RunFolder,
    plan: Plan,
    work: Work,
    processor: Processor,
    chunk: Chunk,
    send: bool,
    sleep: Callable[[float], None],
) -> bool:
    """Have a chunk with the processor. Returns whether it is, or False if it shall not be sent."""
    if folder.event(f"taken-{chunk.number}"):
        return True
    job = _job(folder, plan, processor, chunk.job, send)
    if job is None:
        return False
    if folder.event(f"sends-{chunk.number}") is not None:
        ids = _found(processor, job, chunk.number, 0.0 if processor.free else SEARCH, sleep)
        if ids:
            folder.note(f"taken-{chunk.number}", job=job, ids=ids, adopted=True)
            return True
    if not send:
        return False
    folder.note(f"sends-{chunk.number}", job=job, tasks=list(chunk.tasks), time=time.time())
    tasks = [work.tasks[number] for number in chunk.tasks]
    ids = processor.append(job, chunk.number, tasks, int(plan.measurement.shots or 0))
    folder.note(f"taken-{chunk.number}", job=job, ids=ids, time=time.time())
    return True


def _job(
    folder: RunFolder, plan: Plan, processor: Processor, number: int, send: bool
) -> str | None:
    """The id of one of the run's jobs, opened if it is not. One whose id was lost stays empty."""
    opened = folder.event(f"opened-{number}")
    if opened is None and send:
        folder.note(f"opens-{number}", time=time.time())
        job = processor.open(f"qdllm-{folder.name}-{number}", int(plan.measurement.shots or 0))
        folder.note(f"opened-{number}", job=job, time=time.time())
        opened = folder.event(f"opened-{number}")
    return None if opened is None else str(opened["job"])


def _found(
    processor: Processor, job: str, chunk: int, patience: float, sleep: Callable[[float], None]
) -> list[str]:
    """The ids of a chunk that was sent, or was about to be. A search may see it late."""
    left = patience
    while True:
        ids = processor.accepted(job).get(chunk, [])
        if ids or left <= 0:
            return ids
        sleep(min(5.0, left))
        left -= 5.0


def _taken(
    folder: RunFolder,
    plan: Plan,
    work: Work,
    processor: Processor,
    chunk: Chunk,
    done: dict[int, Counted],
    say: Say,
    send: bool,
    sleep: Callable[[float], None],
) -> int:
    """Take what came of a chunk into `done`. Returns how many of its tasks are not done.

    Tasks that failed and may well succeed are sent again, as a chunk of their own.
    """
    for attempt in range(AGAIN + 1):
        counted = _results(folder, work, processor, chunk, say, len(done), send, sleep)
        if counted is None:
            return len(chunk.tasks)
        done |= {
            number: each
            for number, each in zip(chunk.tasks, counted, strict=True)
            if each.counts is not None
        }
        failed = [
            (number, each)
            for number, each in zip(chunk.tasks, counted, strict=True)
            if each.counts is None
        ]
        if not failed:
            return 0
        lost = [each for _, each in failed if not each.retryable]
        if lost or attempt == AGAIN:
            raise DeviceError(
                f"{len(failed)} of {len(chunk.tasks)} circuits of chunk {chunk.number} failed for "
                f"good: {(lost or [failed[0][1]])[0].error}; what was counted stays in the store"
            )
        chunk = Chunk(chunk.number + OFFSET, chunk.job, tuple(number for number, _ in failed))
        if not _sent(folder, plan, work, processor, chunk, send, sleep):
            return len(chunk.tasks)
    raise AssertionError("the last attempt has ended it")


def _results(
    folder: RunFolder,
    work: Work,
    processor: Processor,
    chunk: Chunk,
    say: Say,
    before: int,
    wait: bool,
    sleep: Callable[[float], None],
) -> list[Counted] | None:
    """What came back of a chunk, once it is there; None if it is not and nobody waits."""
    taken = folder.event(f"taken-{chunk.number}")
    tasks: Sequence[Task] = [work.tasks[number] for number in chunk.tasks]
    for pause in _pauses():
        counted = folder.counted(chunk.number)
        if counted is None:
            counted = processor.results(taken["job"], chunk.number, taken["ids"], tasks)
            if counted is not None:
                folder.keep(chunk.number, counted)
                counted = folder.counted(chunk.number)
        if counted is not None:
            say(before + len(counted), len(work.tasks), f"chunk {chunk.number} is there")
            return counted
        if not wait:
            return None
        say(before, len(work.tasks), f"chunk {chunk.number} is with the processor")
        sleep(pause)
    raise AssertionError("pauses never end")


def _pauses() -> Iterator[float]:
    waited = 0.0
    while True:
        pause = next(pause for until, pause in POLLS if waited < until)
        waited += pause
        yield pause


def _check(folder: RunFolder, work: Work, done: dict[int, Counted]) -> None:
    """Whether bits are whose the processor says they are. Raises DeviceError if not."""
    try:
        for number, bit in work.hot:
            bits = len(work.tasks[number].circuit.measured)
            z_Q = zs(done[number], bits)
            if int(np.argmin(z_Q)) != bit or z_Q[bit] > 0 or (np.delete(z_Q, bit) < 0).any():
                raise ConfigError(
                    f"only bit {bit} should be 1, but ⟨Z⟩ of the bits came back as "
                    f"[{', '.join(f'{z:.2f}' for z in z_Q)}]"
                )
    except ConfigError as error:
        folder.note("stopped", why=str(error), time=time.time())
        raise DeviceError(
            f"the first circuits of run {folder.name} came back wrong, so nothing more was sent: "
            f"{error}"
        ) from None


def zs(counted: Counted, bits: int) -> np.ndarray:
    """⟨Z⟩ of every classical bit. Raises ConfigError for counts that cannot be read."""
    assert counted.counts is not None, "what failed was sent again, or ended the run"
    return readout.counted(counted.counts, counted.order, [1 << q for q in range(bits)], bits)
