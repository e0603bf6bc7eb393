"""What every kind of result says of itself."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NamedTuple, Protocol

from pydantic import Field

from qdllm.spec import Spec
from qdllm.specs import TrialSpec
from qdllm.texts.splits import SPLITS

Source = tuple[str, Spec]
"""A kind's name, and the spec of one of its results."""
Load = tuple[tuple[Any, ...], float]
"""What must be the same for two results' times to compare, and what the time grows with beside the
number of texts."""


LARGEST = 1e12
Number = Annotated[float, Field(ge=-LARGEST, le=LARGEST)]
Count = Annotated[int, Field(ge=0, le=2**53)]
"""What a record tells in numbers, finite and within what can be reckoned with."""


class Record(Protocol):
    """What a kind reads of a result's record; jobs.store has the whole of it."""

    @property
    def kind(self) -> str:
        """The kind's name."""

    @property
    def spec(self) -> dict[str, Any]:
        """The result's spec, as plain data."""

    @property
    def made_from(self) -> dict[str, str]:
        """Fingerprints and digests by role."""

    @property
    def summary(self) -> dict[str, Any]:
        """What is told of it."""


def nothing(*_: Any) -> dict[str, Any]:
    """What many kinds have to say."""
    return {}


def none(*_: Any) -> tuple[Any, ...]:
    """What most kinds ask for."""
    return ()


def nobody(*_: Any) -> None:
    """Of a name that means nothing to a kind."""


def measured(record: Record) -> Mapping[str, Any]:
    """What a result measured: by name, such as `test.accuracy`, a value for each seed, or one."""
    metrics: Mapping[str, Any] = record.summary.get("metrics", {})
    return metrics


class Standing(NamedTuple):
    """A line of what stands beside a champion.

    `metrics`: as a kind tells them. `parameters`: how many numbers were trained, with a word to go
    after them. `settings`: by dotted path, those that its name does not tell.
    """

    name: str
    metrics: Mapping[str, Any]
    parameters: int | None
    settings: Mapping[str, Any]
    word: str = ""


@dataclass(frozen=True)
class Kind:
    """One kind of result: how it is named, made, timed, told and kept. Plain data and functions.

    Its results lie under `<name>/<fingerprint>` in a store. A result's fingerprint is that of its
    spec and of what it is made from: the results that `needs` names, the texts where `of_texts`,
    and the `digests`.
    """

    name: str
    label: str
    """What tables call several of them."""
    spec: type[Spec] | None = None
    """None where its records hold the specs of several families, or no Spec."""

    role: str = ""
    """As what others are made from it: the key in their `made_from`."""
    of_trial: Callable[[TrialSpec], Spec | None] | None = None
    """The part of a trial's spec that describes it, for a kind that families read; of a trial that
    does without, None."""
    tensor: str = ""
    """What a trial that reads it calls its tensors, after the split: `train.features`."""
    splits: tuple[str, ...] = SPLITS
    """Of which splits it has one."""
    whole_numbers: bool = False
    """Whether it holds those; else floating point."""
    named_by: str = ""
    """The role whose results name this kind's, under its own role in their `made_from`, for one
    whose fingerprints nobody knows before. What trials read of it goes by its role and its names:
    `adapter.head.bias`."""
    per_class: bool = False
    """Whether that tensor has a column for each class."""
    of_texts: bool = False
    """Whether it is made from a task's texts."""
    needs: Callable[[Any], Mapping[str, Source]] = nothing
    """The results that one with that spec is made from, by role."""
    digests: Callable[[Any], Mapping[str, str]] = nothing
    """Digests of what else it is made from, such as a model's files."""

    maker: str = ""
    """The module that makes one; empty where others bring it forth."""
    holds: Literal["node", "workers", "trial"] = "node"
    """What its maker holds: all CPUs of a node, by its `run`; workers of Ray Train, one GPU each
    where there are some, by its `train_loop` (without Ray by its `run`), which goes on from what it
    has left in the store; or what a grid gives each of its trials."""
    one_core: bool = False
    """Whether its maker keeps to one core."""
    goes_on_from: Callable[[Any], Sequence[Spec]] = none
    """Of the same kind and made from the same: the maker of one with that spec takes over what the
    first of these has done that the store holds."""
    phase: Callable[[Any], str] = lambda spec: ""
    """What a person reads while one with that spec is made."""
    note: Callable[[Any], str] = lambda spec: ""
    """What that ends with."""
    load: Callable[[Any], Load] | None = None
    """How long it takes; None: nothing is known before."""
    counts_texts: bool = False
    """Whether its records say how many texts there are, for others' times to be scaled by."""

    beside: Callable[[Sequence[TrialSpec]], Sequence[Spec]] = none
    """Those that every sweep with these trials wants beside them; the trials are of one task and
    made from the same results."""
    evaluation: Callable[[str], Spec | None] = nobody
    """The spec of one that is made of a sweep's champion, by the name that a grid's `evaluations`
    has for it; None where the name is none of this kind's. Their `student` is the champion."""
    offers: tuple[str, ...] = ()
    """Such names, for a message that lists them."""
    suits: Callable[[TrialSpec], bool] = lambda champion: True
    """Whether such a one can be made of that champion."""
    tried: Callable[[Any, TrialSpec], None] = nobody
    """Raises ConfigError, before anything is trained, where one with that spec could not be made
    of such a champion."""

    content: Mapping[str, Any] = field(default_factory=dict)
    """The types of what is read in its summary, by key; `*`: of all other keys. A key may be
    missing until it is read."""
    shape: Callable[[Record, str], tuple[int | None, ...] | None] = lambda record, name: None
    """The shape that a tensor of that name must have to be read; None inside of it, or alone: any.
    """

    told: Mapping[str, str] = field(default_factory=dict)
    """What a list of results tells of one: names, and paths in its record."""
    metrics: Callable[[Record], Mapping[str, Any]] = measured
    standing: Callable[[Record], Sequence[Standing]] = none
    """What a report sets beside a champion."""
    line: Callable[[Record], str] = lambda record: ""
    """What a person is told of it once it is there."""
    figures: Callable[[Record], Mapping[str, float]] = nothing
    """What MLflow shows of one that is made of a champion."""
    opinion: Callable[[Record, Record], str] = lambda record, champion: ""
    """What one that is made of a champion says of it: its own record, and the champion's."""
    title: Callable[[Record], str] = lambda record: record.kind
    """What that is called: whose opinion it is."""
    kept: Literal["always", "used", "source"] = "always"
    """What housekeeping must leave: all; those that a trial was made from; or those whose own
    sources stay."""
