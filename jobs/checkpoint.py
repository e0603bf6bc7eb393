"""A teacher in training, as it lies in the store until its soft labels do: tensors and JSON.

There is one at a time. The same workers, others, or another command go on from it.
"""

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import distributed

from jobs import zero
from jobs.kinds import Job
from jobs.kinds.teachers import CHECKPOINTS
from jobs.store import Store
from jobs.store.record import DamagedError, VersionError
from jobs.store.results import DATA
from qdllm import teacher
from qdllm.errors import StoreError
from qdllm.specs import TeacherSpec

Tensors = dict[str, torch.Tensor]

ADAPTER, VALIDATION = "adapter/", "validation"
"""What stands before the names of the best epoch's adapter, and the name of its logits."""


@dataclass
class Course:
    """How fine-tuning went so far: a point per epoch, and the best epoch's adapter and logits."""

    curve: list[dict[str, float]] = field(default_factory=list)
    adapter: Tensors = field(default_factory=dict)
    validation_NC: np.ndarray = field(default_factory=lambda: np.empty((0, 0), np.float32))
    step: int = 0
    """Batches of the epoch under way that are done."""
    loss: float = 0.0
    """Their loss, summed over all rows and workers."""
    elapsed: float = 0.0
    """Seconds they took."""

    @property
    def seconds(self) -> float:
        """Time spent, over all restarts."""
        return sum(epoch["seconds"] for epoch in self.curve)

    @property
    def best(self) -> float:
        """The highest validation accuracy; negative before the first epoch."""
        return max((epoch["val.accuracy"] for epoch in self.curve), default=-1.0)


class _Point(BaseModel):
    model_config = ConfigDict(strict=True)

    loss: float = Field(alias="train.loss")
    accuracy: float = Field(alias="val.accuracy")
    seconds: float


class _Told(BaseModel):
    """What of a checkpoint is no tensor."""

    model_config = ConfigDict(strict=True)

    curve: list[_Point]
    step: int = Field(ge=0)
    loss: float
    elapsed: float
    updates: int = Field(ge=1)


class Saved(NamedTuple):
    """A course, and the state of training at its end, as jobs.zero has it."""

    course: Course
    state: Tensors
    updates: int


class Checkpoints:
    """Of one teacher, in one store."""

    def __init__(self, job: Job[TeacherSpec], store: Store) -> None:
        self._job, self._store = job, store

    def save(self, course: Course, state: Tensors, updates: int) -> None:
        """Put a checkpoint in the place of the one before.

        `state` and `updates`: as `zero.gathered_state` gives them. Raises StoreError.
        """
        tensors = dict(state)
        if course.curve:
            tensors |= {f"{ADAPTER}{name}": tensor for name, tensor in course.adapter.items()}
            tensors[VALIDATION] = torch.from_numpy(course.validation_NC)
        told = {name: getattr(course, name) for name in ("curve", "step", "loss", "elapsed")}
        self._store.replace(
            CHECKPOINTS.name,
            self._job.fingerprint,
            # In float32, which holds every bfloat16.
            tensors={name: tensor.float().numpy() for name, tensor in tensors.items()},
            spec=self._job.spec.model_dump(mode="json"),
            made_from=self._job.made_from,
            summary=told | {"updates": updates},
            seconds=course.seconds + course.elapsed,
        )

    def load(self, model: teacher.Classifier, rows: int, say: Callable[[str], None]) -> Saved:
        """What was saved last, on all workers alike: the first one reads it.

        `model`: as it is built; `rows`: of the validation split. Where there is no checkpoint, or
        none that can be used, all of it is empty; why one is not used is said.
        Raises StoreError where the store does not answer.
        """
        told, tensors = dict[str, Any](), Tensors()
        if distributed.get_rank() == 0:
            told, tensors = self._read(model, rows, say)
        told, tensors = _shared(told, tensors)
        if not told:
            return Saved(Course(), {}, 0)
        updates = told.pop("updates")
        course = Course(**told)
        if course.curve:
            course.validation_NC = tensors.pop(VALIDATION).numpy()
            for name in [name for name in tensors if name.startswith(ADAPTER)]:
                course.adapter[name.removeprefix(ADAPTER)] = tensors.pop(name)
        return Saved(course, tensors, updates)

    def _read(
        self, model: teacher.Classifier, rows: int, say: Callable[[str], None]
    ) -> tuple[dict[str, Any], Tensors]:
        key = CHECKPOINTS.name, self._job.fingerprint
        problem = ""
        try:
            if self._store.has(*key):
                record, arrays = self._store.load(*key)
                told = _Told.model_validate(record.summary)
                problem = _misfit(arrays, _shapes(model, rows, bool(told.curve)))
                if not problem:
                    tensors = {name: torch.tensor(array) for name, array in arrays.items()}
                    return told.model_dump(by_alias=True), tensors
            elif any(not file.path.endswith(DATA) for file in self._store.files("/".join(key))):
                problem = "it is an earlier version's, and those are not read"
        except DamagedError as error:
            problem = error.problem
        except VersionError as error:
            problem = str(error)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            problem = f"in its record, {'.'.join(map(str, first['loc']))}: {first['msg']}"
        if problem:
            say(f"the checkpoint {'/'.join(key)} is not used, training begins anew: {problem}")
        return {}, {}

    def clear(self) -> None:
        """Delete it, once its teacher is there. What cannot be deleted housekeeping will."""
        with suppress(StoreError):
            self._store.clear(f"{CHECKPOINTS.name}/{self._job.fingerprint}")


def _shapes(model: teacher.Classifier, rows: int, best: bool) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor of a checkpoint; `best`: with those of the best epoch."""
    shapes = zero.shapes(model)
    if best:
        adapter = teacher.adapter_of(model).items()
        shapes |= {f"{ADAPTER}{name}": tuple(tensor.shape) for name, tensor in adapter}
        shapes[VALIDATION] = rows, model.head.out_features
    return shapes


def _misfit(arrays: Mapping[str, np.ndarray], wanted: Mapping[str, tuple[int, ...]]) -> str:
    """Why training cannot go on from what was stored; empty if it can."""
    given = {name: array.shape for name, array in arrays.items() if array.dtype == np.float32}
    odd = sorted(name for name in {**wanted, **arrays} if wanted.get(name) != given.get(name))
    if not odd:
        return ""
    name = odd[0]
    return (
        f"{len(odd)} of its tensors are not this teacher's, the first is {name!r}: in float32 it "
        f"has the shape {given.get(name)}, {wanted.get(name)} is needed"
    )


def _shared(told: Mapping[str, Any], tensors: Tensors) -> tuple[dict[str, Any], Tensors]:
    """What the first worker has. Torch's own way for what is no tensor is a pickle."""
    plain = {"told": told, "shapes": {name: tensor.shape for name, tensor in tensors.items()}}
    text = torch.tensor(list(json.dumps(plain).encode()), dtype=torch.uint8, device=zero.device())
    length = torch.tensor(len(text), device=zero.device())
    distributed.broadcast(length, 0)
    text = text.resize_(int(length))
    distributed.broadcast(text, 0)
    plain = json.loads(bytes(text.tolist()))
    for name, shape in plain["shapes"].items():
        tensor = tensors.get(name, torch.empty(shape)).to(zero.device())
        distributed.broadcast(tensor, 0)
        tensors[name] = tensor.cpu()
    return plain["told"], tensors
