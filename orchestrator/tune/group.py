"""Trials that run together."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from jobs.kinds.job import Sources
from jobs.store import Store
from orchestrator.grid import Grid
from orchestrator.plan import Trial


@dataclass(frozen=True)
class Group:
    """What they share."""

    definition: Grid
    arrays: Mapping[Sources, Mapping[str, np.ndarray]]
    """What `jobs.inputs.gather` gave, by what they are made from; Ray's object store holds it once
    per node."""
    store: Store
    ended: Callable[[Trial, Mapping[str, Any]], None]
    """Called in the driver when a trial ended by itself, or was stopped, with its last report."""
    failed: Callable[[Trial, str], None]
    """Called in the driver when a trial's worker failed for good, with the reason."""
