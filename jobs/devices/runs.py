"""What is written down of a run, before and after everything that is sent.

    device_runs/<plan's fingerprint>/
      plan.json           the plan
      calibration.json    by which circuits are laid out
      events/opens-0      written before a job is opened, `opened-0` after, with its id
      events/sends-3      written before chunk 3 is sent, `taken-3` after, with its tasks' ids
      counts/3.json       what came back of it, as it came: counts, and as what each circuit was run
    device_labels/<target and label>    the plan that has the label

All are written once, and never replaced: who finds a `sends` without its `taken` asks the processor
what it has of it, and sends nothing before it has answered.
"""

import json
import re
from collections.abc import Sequence
from typing import Annotated, Any, TypeVar

from pydantic import Field

from jobs.devices.protocol import Counted
from jobs.store import Store
from qdllm import outside
from qdllm.errors import ConfigError, StoreError
from qdllm.messages import shown
from qdllm.processors.calibration import Calibration
from qdllm.processors.spec import MeasurementSpec
from qdllm.spec import Spec, fingerprint

FOLDER, LABELS = "device_runs", "device_labels"
NAME = re.compile("[0-9a-f]{16}")
"""A plan's."""
Form = TypeVar("Form", bound=Spec)
Count = Annotated[int, Field(ge=0, le=1_000_000)]


class Plan(Spec):
    """A run, as it is confirmed. Its fingerprint names it, and everything that is sent of it."""

    joined = frozenset({"circuits"})

    student: str = Field(pattern=r"^[0-9a-f]{16}$")
    measurement: MeasurementSpec
    seed: int = Field(ge=0, le=10_000)
    """The position of the one that is measured: the best by validation."""
    calibration: str
    """The digest of the one by which circuits are laid out."""
    chunks: tuple[Count, ...] = Field(max_length=1_000_000)
    """How many circuits each has."""
    jobs: tuple[Count, ...] = Field(max_length=1_000_000)
    """The platform's job that each belongs to, counted from 0."""
    digest: str
    """Of all circuits and their angles."""
    circuits: str = ""
    """Of circuits without the angles that come from texts."""
    seconds: float = Field(ge=0, le=1e12)
    """How long it may take, on the processor alone."""

    @property
    def tasks(self) -> int:
        """Circuits in all."""
        return sum(self.chunks)

    def chunk(self, number: int) -> tuple[int, ...]:
        """The numbers of its tasks in the run."""
        first = sum(self.chunks[:number])
        return tuple(range(first, first + self.chunks[number]))

    @property
    def shots(self) -> int:
        """In all."""
        return self.tasks * int(self.measurement.shots or 0)


class Event(Spec):
    """A step that was taken, or is about to be: what of this belongs to it."""

    time: float | None = Field(None, ge=0, le=1e11)
    job: str = ""
    """The platform's."""
    tasks: tuple[Count, ...] = ()
    """Their numbers in the run."""
    ids: tuple[str, ...] = ()
    """The platform's, of what it took."""
    adopted: bool = False
    """Whether it was found there after our own record of sending it was lost."""
    why: str = ""


class Chunk(Spec):
    """What came back of tasks that were sent together."""

    counted: tuple[Counted, ...]


class RunFolder:
    """A run's own part of the store."""

    def __init__(self, store: Store, name: str) -> None:
        self.store, self.name = store, name
        self._path = f"{FOLDER}/{name}"

    def read(self, what: str, form: type[Form], inside: str = "") -> Form | None:
        """What stands under a name; None where there is nothing. `inside`: the one field that it
        is, where it is no object. Raises StoreError for damage."""
        text = self.store.get(f"{self._path}/{what}")
        if text is None:
            return None
        try:
            plain = outside.parsed(text)
            if inside:
                plain = {inside: plain}
            elif not isinstance(plain, dict):
                raise ConfigError(f"an object belongs here, but {shown(plain)} is there")
            return form.parse(plain)
        except ConfigError as error:
            raise self._damaged(what, str(error)) from None

    def _damaged(self, what: str, why: str) -> StoreError:
        return StoreError(f"{self.store.uri}/{self._path}/{what} is damaged: {why}")

    def write(self, what: str, value: Any) -> bool:
        """Write it down, unless something stands there already. Returns whether it was."""
        text = json.dumps(value, allow_nan=False)
        return self.store.put(f"{self._path}/{what}", text, only_if_absent=True)

    def plan(self) -> Plan:
        """What is to be done. Raises ConfigError where there is no such run."""
        plan = self.read("plan.json", Plan) if NAME.fullmatch(self.name) else None
        if plan is None:
            raise ConfigError(
                f"no plan is called {shown(self.name)} in {self.store.uri}; run the same command "
                "with --dry-run, which writes one down and names it"
            )
        if fingerprint(plan) != self.name:
            raise self._damaged("plan.json", "it is another plan than its folder is named after")
        return plan

    def calibration(self) -> Calibration:
        """By which the run's circuits are laid out."""
        chip = self.read("calibration.json", Calibration)
        if chip is None:
            raise self._damaged("calibration.json", "it is missing")
        return chip

    def event(self, name: str) -> Event | None:
        """What was written down of a step."""
        return self.read(f"events/{name}.json", Event)

    def note(self, name: str, **told: Any) -> bool:
        """Write a step down. Returns False where another has."""
        plain = Event(**told).model_dump(mode="json", exclude_unset=True)
        return self.write(f"events/{name}.json", plain)

    def counted(self, chunk: int) -> tuple[Counted, ...] | None:
        """What came back of a chunk, if it has."""
        held = self.read(f"counts/{chunk}.json", Chunk, inside="counted")
        return held.counted if held else None

    def keep(self, chunk: int, counted: Sequence[Counted]) -> None:
        """Keep what came back of a chunk."""
        plain = [each.model_dump(mode="json", exclude_defaults=True) for each in counted]
        self.write(f"counts/{chunk}.json", plain)


def started(store: Store, plan: Plan, calibration: Calibration) -> RunFolder:
    """Write a plan down, or find it as it was. Raises ConfigError where its label is another's."""
    folder = RunFolder(store, fingerprint(plan))
    _free(folder, plan)
    folder.write("calibration.json", calibration.model_dump(mode="json"))
    folder.write("plan.json", plan.model_dump(mode="json"))
    return folder


def claim(folder: RunFolder, plan: Plan) -> None:
    """Take the plan's label for it, by whoever alone may send under that label.

    Raises ConfigError where another run has it.
    """
    if _free(folder, plan) != folder.name:
        folder.store.put(f"{LABELS}/{label(plan)}", folder.name)


def _free(folder: RunFolder, plan: Plan) -> str | None:
    """Who has the plan's label, if that is no other run that was begun."""
    holder = folder.store.get(f"{LABELS}/{label(plan)}")
    if holder not in (None, folder.name) and RunFolder(folder.store, holder).event("opens-0"):
        raise ConfigError(
            f"label {shown(plan.measurement.label)} was used for {plan.measurement.target} before, "
            f"by run {holder}; go on with that by --confirm {holder}, or give another --label"
        )
    return holder


def label(plan: Plan) -> str:
    """What names a label: what it may stand for once is a target's run."""
    told = {"target": plan.measurement.target, "label": plan.measurement.label}
    return fingerprint(MeasurementSpec.parse(told))


def every(store: Store) -> list[RunFolder]:
    """All runs that were begun."""
    names = {file.path.split("/")[1] for file in store.files(FOLDER)}
    return [RunFolder(store, name) for name in sorted(names)]
