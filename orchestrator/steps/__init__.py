"""The walk of one sweep, step by step: `orchestrator.sweep` calls them in their order."""

from orchestrator.steps import lock
from orchestrator.steps.conclusion import conclude
from orchestrator.steps.preparation import check_places, check_workers, open_tracker, prepare
from orchestrator.steps.session import INTERRUPTED, Session, Sweep
from orchestrator.steps.sources import make_sources
from orchestrator.steps.trials import train

__all__ = [
    "INTERRUPTED",
    "Session",
    "Sweep",
    "check_places",
    "check_workers",
    "conclude",
    "lock",
    "make_sources",
    "open_tracker",
    "prepare",
    "train",
]
