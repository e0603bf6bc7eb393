"""Send a run's circuits, each of them once, and take what comes back.

Killed at any point, another Drive of the same run goes on from what is written down, and sends
nothing that the processor has.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from jobs.devices.plan import CHECKS, Work
from jobs.devices.protocol import Counted, Processor
from jobs.devices.runs import Plan, RunFolder
from qdllm.errors import ConfigError, DeviceError
from qdllm.messages import cut
from qdllm.processors import readout
from qdllm.processors.readout import Reading

AGAIN = 2
"""How often a task is sent once more that failed in a way that may pass."""
OFFSET = 100_000
"""What is added to the numbers of a chunk and its job each time that some of its tasks are sent
again: the job itself may be full."""
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


class Lost(DeviceError):
    """Circuits failed for good, so the run will never be whole."""


@dataclass
class Drive:
    """A run, and the processor that does it."""

    folder: RunFolder
    plan: Plan
    work: Work
    processor: Processor
    say: Say
    send: bool = True
    """False: take only what is there, and wait for nothing."""
    sleep: Callable[[float], None] = time.sleep
    done: dict[int, Counted] = field(default_factory=dict, init=False)
    """What came back of a task, by its number."""

    @property
    def shots(self) -> int:
        """Of each circuit."""
        return int(self.plan.measurement.shots or 0)

    def counted(self) -> list[Counted] | Lacking:
        """What came back of all tasks, in their order.

        Raises DeviceError where the processor refuses, bits come in another order than it says, or
        tasks fail for good; what was sent until then stays written down.
        """
        unsent = waiting = 0
        chunks = [
            Chunk(number, job, self.plan.chunk(number)) for number, job in enumerate(self.plan.jobs)
        ]
        for chunk in chunks:
            if not self._sent(chunk):
                unsent += len(chunk.tasks)
            elif chunk.number == CHECKS:
                # Nothing else is sent before these tell whose bit is whose.
                waiting += self._taken(chunk)
                if not waiting:
                    self._check()
        failed: Lost | None = None
        for chunk in chunks[1:]:
            if self.folder.event(f"taken-{chunk.number}"):
                try:
                    waiting += self._taken(chunk)
                except Lost as error:
                    # What has come of the other chunks is taken, and nothing more is sent.
                    failed, self.send = failed or error, False
        if failed:
            raise failed
        if unsent or waiting:
            return Lacking(unsent, waiting)
        for number in {job + OFFSET * n for job in self.plan.jobs for n in range(AGAIN + 1)}:
            opened = self.folder.event(f"opened-{number}")
            if opened and not self.folder.event(f"closed-{number}"):
                self.processor.close(opened.job)
                self.folder.note(f"closed-{number}", time=time.time())
        return [self.done[number] for number in range(len(self.work.tasks))]

    def _sent(self, chunk: Chunk) -> bool:
        """Have a chunk with the processor. False if it is not there, and shall not be sent."""
        folder, number = self.folder, chunk.number
        if folder.event(f"taken-{number}"):
            return True
        job = self._job(chunk.job)
        if job is None:
            return False
        if folder.event(f"sends-{number}") and (ids := self._found(job, number)):
            folder.note(f"taken-{number}", job=job, ids=ids, adopted=True)
            return True
        if not self.send:
            return False
        folder.note(f"sends-{number}", job=job, tasks=chunk.tasks, time=time.time())
        tasks = [self.work.tasks[each] for each in chunk.tasks]
        ids = self.processor.append(job, number, tasks, self.shots)
        folder.note(f"taken-{number}", job=job, ids=ids, time=time.time())
        return True

    def _job(self, number: int) -> str | None:
        """The id of one of the run's jobs, opened if it shall be and is not.

        One whose id was lost stays empty.
        """
        opened = self.folder.event(f"opened-{number}")
        if opened is None and self.send:
            self.folder.note(f"opens-{number}", time=time.time())
            job = self.processor.open(f"qdllm-{self.folder.name}-{number}", self.shots)
            self.folder.note(f"opened-{number}", job=job, time=time.time())
            opened = self.folder.event(f"opened-{number}")
        return opened.job if opened else None

    def _found(self, job: str, chunk: int) -> list[str]:
        """The ids of a chunk that was sent, or was about to be. A search may see it late."""
        left = 0.0 if self.processor.free else SEARCH
        while True:
            ids = self.processor.accepted(job).get(chunk, [])
            if ids or left <= 0:
                return ids
            self.sleep(min(5.0, left))
            left -= 5.0

    def _taken(self, chunk: Chunk) -> int:
        """Take what came of a chunk into `done`. Returns how many of its tasks are not done.

        Tasks that failed and may well succeed are sent again, as a chunk of their own. Raises Lost
        for those that failed for good.
        """
        for attempt in range(AGAIN + 1):
            counted = self._results(chunk)
            if counted is None:
                return len(chunk.tasks)
            came = dict(zip(chunk.tasks, counted, strict=True))
            failed = {number: each for number, each in came.items() if each.counts is None}
            self.done |= {number: each for number, each in came.items() if number not in failed}
            if not failed:
                return 0
            lost = [each for each in failed.values() if not each.retryable]
            if lost or attempt == AGAIN:
                why = cut((lost or [*failed.values()])[0].error)
                raise Lost(
                    f"{len(failed)} of {len(chunk.tasks)} circuits of chunk {chunk.number} failed "
                    f"for good: {why}; what was counted stays in the store"
                )
            chunk = Chunk(chunk.number + OFFSET, chunk.job + OFFSET, tuple(failed))
            if not self._sent(chunk):
                return len(chunk.tasks)
        raise AssertionError("the last attempt has ended it")

    def _results(self, chunk: Chunk) -> tuple[Counted, ...] | None:
        """What came back of a chunk, once it is there; None if it is not and nobody waits."""
        before, every = len(self.done), len(self.work.tasks)
        taken = self.folder.event(f"taken-{chunk.number}")
        assert taken, "only what was taken is asked for"
        tasks = [self.work.tasks[number] for number in chunk.tasks]
        for pause in _pauses():
            counted = self.folder.counted(chunk.number)
            if counted is None:
                came = self.processor.results(taken.job, chunk.number, taken.ids, tasks)
                if came is not None:
                    self.folder.keep(chunk.number, came)
                    counted = self.folder.counted(chunk.number)
            if counted is not None:
                self.say(before + len(counted), every, f"chunk {chunk.number} is there")
                return counted
            if not self.send:
                return None
            self.say(before, every, f"chunk {chunk.number} is with the processor")
            self.sleep(pause)
        raise AssertionError("pauses never end")

    def _check(self) -> None:
        """Whether bits are whose the processor says they are, and whether errors of reading can be
        undone, if they shall be. Raises DeviceError if not."""
        try:
            for number, bit in self.work.hot:
                bits = len(self.work.tasks[number].circuit.measured)
                z_Q = zs(self.done[number], bits)
                if int(np.argmin(z_Q)) != bit or z_Q[bit] > 0 or (np.delete(z_Q, bit) < 0).any():
                    raise ConfigError(
                        f"only bit {bit} should be 1, but ⟨Z⟩ of the bits came back as "
                        f"[{', '.join(f'{z:.2f}' for z in z_Q)}]"
                    )
            if self.plan.measurement.mitigation != "none":
                for layout in self.work.layouts:
                    _ = reading(self.work, layout.first, self.done).inverse
        except ConfigError as error:
            self.folder.note("stopped", why=str(error), time=time.time())
            raise DeviceError(
                f"the first circuits of run {self.folder.name} came back wrong, so nothing more "
                f"was sent: {error}"
            ) from None


def _pauses() -> Iterator[float]:
    waited = 0.0
    while True:
        pause = next(pause for until, pause in POLLS if waited < until)
        waited += pause
        yield pause


def reading(
    work: Work, tasks: tuple[int, int], counted: Sequence[Counted] | Mapping[int, Counted]
) -> Reading:
    """How each qubit of a layout is read, by circuits of all 0 and of all 1."""
    zeros, ones = (
        zs(counted[number], len(work.tasks[number].circuit.measured)) for number in tasks
    )
    return Reading.of((1 - zeros) / 2, (1 + ones) / 2)


def zs(counted: Counted, bits: int) -> np.ndarray:
    """⟨Z⟩ of every classical bit. Raises ConfigError for counts that cannot be read."""
    assert counted.counts is not None, "what failed was sent again, or ended the run"
    return readout.counted(counted.counts, counted.order, [1 << q for q in range(bits)], bits)
