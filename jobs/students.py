"""A trained student out of the store, with what it reads, for whoever measures it once more."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from jobs.kinds.features import FEATURES
from jobs.store import Record, Store, parsed, unfit
from qdllm import families
from qdllm.circuits.circuit import circuit
from qdllm.circuits.gates import Circuit
from qdllm.engine.statevector import expectations as engine
from qdllm.families.quantum import FAMILY, StudentSpec
from qdllm.specs import TrialSpec
from qdllm.student import Student, minmax, restore


@dataclass(frozen=True)
class Trained:
    """A trial of quantum students, all its seeds."""

    record: Record
    spec: StudentSpec
    parameters_SP: Tensor
    features: int
    classes: int

    def under(self, simulate: Callable[..., Tensor] = engine) -> Student:
        """The students, their circuit simulated so."""
        spec = self.spec
        return restore(
            spec.circuit, spec.angles, self.features, self.classes, self.parameters_SP, simulate
        )

    @property
    def circuit(self) -> Circuit:
        """What each of them runs."""
        return circuit(self.spec.circuit)

    @property
    def best_seed(self) -> int:
        """The position of the one that is served: the best by validation."""
        accuracy = self.record.summary["metrics"]["val.accuracy"]
        return int(np.argmax(accuracy))

    @torch.no_grad()
    def angles(self, features_NH: Tensor) -> Tensor:
        """angles_SNA, what goes into their circuits."""
        angles_SNA = self.under().encode(features_NH)
        return minmax(angles_SNA) if self.spec.angles == "minmax" else angles_SNA


def trained(store: Store, fingerprint: str, features: int, classes: int) -> Trained:
    """The trial with that fingerprint, whose students read so many features.

    Raises StoreError if there is none, or if its parameters are not what its spec needs.
    """
    record, tensors = store.load(FAMILY.kind, fingerprint)
    spec = parsed(record, StudentSpec.parse)
    parameters_SP = parameters(record, tensors, spec, features, classes).float()
    return Trained(record, spec, parameters_SP, features, classes)


def parameters(
    record: Record,
    tensors: Mapping[str, np.ndarray],
    spec: TrialSpec,
    features: int,
    classes: int,
) -> Tensor:
    """parameters_SP of a trial of any family. Raises StoreError if its spec needs another shape."""
    parameters_SP = torch.tensor(tensors["parameters"])
    needed = len(spec.seeds), families.of(spec).parameters(spec, features, classes)
    if parameters_SP.shape != needed:
        given = tuple(parameters_SP.shape)
        raise unfit(record, f"has parameters of the shape {given}, {needed} is needed")
    return parameters_SP


def widths(store: Store, record: Record) -> tuple[int, int]:
    """How many features a trial's students read, and how many classes they tell apart.

    Raises StoreError as `load` does.
    """
    spec = parsed(record, StudentSpec.parse)
    _, features = store.load(FEATURES.name, record.made_from[FEATURES.role])
    read = int(features["test"].shape[1])
    # Parameters grow with the classes alone by then.
    none, one = (FAMILY.parameters(spec, read, classes) for classes in (0, 1))
    return read, (int(record.summary["parameters"]) - none) // (one - none)
