"""What a trial holds of a cluster, how many fit, and a run that no node has room for any more."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from ray import tune

from orchestrator.cluster import capacity, nodes
from orchestrator.grid import Grid
from qdllm import families

REPLACED = nodes.START
"""Seconds that a node which is gone has to come back, or another one like it."""


def held(definition: Grid, family: families.Family[Any]) -> dict[str, float]:
    """What a trial asks of Ray: the grid's part of a node; or for one that takes long a GPU, where
    there is one, or all of a node's cores."""
    if not family.long:
        return {"cpu": definition.resources.cpu}
    if capacity.total("GPU"):
        # A node that has some may offer no core, so that no student keeps it from ending.
        return {"cpu": 0, "gpu": 1}
    return {"cpu": max(1, capacity.largest("CPU"))}


def at_once(held: Mapping[str, float]) -> int:
    """How many trials that hold so much can run at once, when every node is up that may be."""
    return max(1, min(int(capacity.most(kind.upper()) / one) for kind, one in held.items() if one))


class Stranded(tune.Stopper):
    """Ends a run that no node has had room for in a while, where one has for what would be asked
    now."""

    def __init__(self, held: Mapping[str, float], now: Callable[[], Mapping[str, float]]) -> None:
        self._held, self._now = held, now
        self._looked = self._fitted = time.monotonic()
        self.ended = False

    def __getstate__(self) -> dict[str, Any]:
        """Nothing, as of Watch, which Tune saves too."""
        return {}

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """No single trial is ended. Ray's own signature, as the next one's."""
        return False

    def stop_all(self) -> bool:
        """Looks at the cluster every few seconds."""
        now = time.monotonic()
        if now - self._looked > capacity.PAUSE:
            self._looked = now
            if _room_for(self._held):
                self._fitted = now
            elif now - self._fitted > REPLACED and _room_for(self._now()):
                self.ended = True
        return self.ended


def _room_for(held: Mapping[str, float]) -> bool:
    return capacity.fits({kind.upper(): much for kind, much in held.items()})
