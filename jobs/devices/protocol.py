"""What a platform of processors must be able to do for us: six calls, and one to tidy up."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NamedTuple, Protocol

from pydantic import Field

from qdllm.processors.calibration import Calibration
from qdllm.processors.native import Native
from qdllm.spec import Spec

MOST = 2**53
"""No count is larger."""


class Limits(NamedTuple):
    """What a processor takes."""

    status: str
    """As the platform calls it."""
    online: bool
    qubits: int
    min_shots: int
    max_shots: int
    shots_step: int
    tasks: int
    """Circuits of one job."""
    quota: str = ""
    """What is left of it, in words."""


class Task(NamedTuple):
    """One circuit to be run: its places filled with a point."""

    circuit: Native
    point: tuple[float, ...] = ()
    name: str = ""


class Counted(Spec):
    """What came back of a task."""

    counts: dict[str, Annotated[int, Field(ge=0, le=MOST)]] | None
    """Bit strings; None where it failed."""
    order: str | None = None
    """In which the bits stand, as the platform declares it."""
    error: str = ""
    retryable: bool = False
    qubits: tuple[Annotated[int, Field(ge=0, le=MOST)], ...] | None = None
    """The chip's qubit that each classical bit was read from, if the platform says so."""
    calibration: str | None = None
    """The platform's name for the one that was in force, by which it can be asked for."""
    executed: str | None = None
    """The circuit that was run, as the platform has written it down."""
    raw: dict[str, Any] = Field(default_factory=dict)
    """Whatever else it says, for the record."""


class Processor(Protocol):
    """A processor on its platform. All calls raise DeviceError with what to do."""

    free: bool
    """Whether it is a simulator, which needs nobody's consent."""
    seconds_per_shot: float
    """About, where no earlier run tells better."""

    def limits(self) -> Limits:
        """What it takes now."""
        ...

    def calibration(self) -> Calibration:
        """What is known of it now."""
        ...

    def open(self, name: str, shots: int) -> str:
        """Open a job, which costs nothing yet. Returns its id."""
        ...

    def append(self, job: str, chunk: int, tasks: Sequence[Task], shots: int) -> list[str]:
        """Send tasks under a number of their own. Returns their ids."""
        ...

    def accepted(self, job: str) -> Mapping[int, list[str]]:
        """The ids of all that was taken, by that number, whatever became of our answer."""
        ...

    def results(
        self, job: str, chunk: int, ids: Sequence[str], tasks: Sequence[Task]
    ) -> list[Counted] | None:
        """What came of a chunk's tasks, in their order; None while some are not done."""
        ...

    def close(self, job: str) -> None:
        """Nothing more is sent: platforms have so many open jobs, and no more."""
        ...
