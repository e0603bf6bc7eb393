"""Ray: start it or join one, run jobs and teachers on it, look after its nodes."""

from orchestrator.cluster.work import connect, place, run, train

__all__ = ["connect", "place", "run", "train"]
