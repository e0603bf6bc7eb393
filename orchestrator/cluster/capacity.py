"""What a cluster has, what its autoscaler could start, and the CPU and GPU hours it has cost."""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from orchestrator.cluster import nodes
from orchestrator.repeating import repeated

PAUSE = 5.0
"""Seconds between two looks at the cluster's nodes."""


def own_cpus() -> int:
    """CPUs that this process may use; Ray overlooks that it may be bound to some of them."""
    bound = getattr(os, "sched_getaffinity", None)
    return len(bound(0)) if bound else os.cpu_count() or 1


def up() -> list[Mapping[str, float]]:
    """The resources of each node that is up."""
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def largest(kind: str) -> int:
    """The most of a resource that one node has; where none has any, that one could be started with.

    `kind`: `CPU`, `GPU`, or a resource of the cluster's own.
    """
    return max((int(node.get(kind, 0)) for node in up()), default=0) or max(
        (int(offer.resources.get(kind, 0)) for offer in nodes.startable().values()), default=0
    )


def total(kind: str) -> int:
    """How much of a resource all nodes have; where none has any, that one could be started with."""
    return int(sum(node.get(kind, 0) for node in up())) or largest(kind)


def fits(held: Mapping[str, float]) -> bool:
    """Whether a node that is up, or that could be started, has so much of each resource."""

    def has(node: Mapping[str, float]) -> bool:
        return all(node.get(kind, 0) >= much for kind, much in held.items())

    # Whoever is not on the head asks it what can be started.
    return any(map(has, up())) or any(has(one.resources) for one in nodes.startable().values())


def ceiling(kind: str) -> float:
    """The most of a resource that one node has, or that one could be started with."""
    offers = nodes.startable().values()
    every = [*up(), *(one.resources for one in offers)]
    return max((node.get(kind, 0) for node in every), default=0)


def most(kind: str) -> float:
    """How much of a resource all nodes have, or would if the autoscaler started all it may."""
    offers = nodes.startable().values()
    return max(
        sum(node.get(kind, 0) for node in up()),
        sum(offer.resources.get(kind, 0) * offer.nodes for offer in offers),
    )


class Meter:
    """Node time since the sweep joined, whoever uses the nodes."""

    def __init__(self) -> None:
        self.cpu_hours = self.gpu_hours = 0.0
        self._nodes, self._seen = up(), time.monotonic()

    def read(self) -> None:
        """Count the time since the last look, with the nodes of then."""
        hours = (time.monotonic() - self._seen) / 3600
        self._seen += hours * 3600
        self.cpu_hours += hours * sum(node.get("CPU", 0) for node in self._nodes)
        self.gpu_hours += hours * sum(node.get("GPU", 0) for node in self._nodes)
        self._nodes = up()

    def line(self) -> str:
        """How many nodes there are, and the hours so far."""
        return (
            f"{len(self._nodes)} nodes, {self.gpu_hours:.2f} GPU hours, "
            f"{self.cpu_hours:.2f} CPU hours"
        )


@contextmanager
def metered() -> Iterator[Meter]:
    """A meter that looks at the nodes every few seconds while the block runs."""
    meter = Meter()
    with repeated(meter.read, PAUSE, "meter"):
        yield meter
