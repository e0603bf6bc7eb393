"""Ray: start it or join one, run jobs and teachers on it, look after its nodes."""

from orchestrator.cluster.address import address
from orchestrator.cluster.connection import connect, place
from orchestrator.cluster.work import run, train

__all__ = ["address", "connect", "place", "run", "train"]
