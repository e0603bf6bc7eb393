"""MLflow, as the rest of the program sees it: a view of the store, written by one process."""

from orchestrator.tracking.address import address
from orchestrator.tracking.tracker import CURVES, ENVIRONMENT, Tracker

__all__ = ["CURVES", "ENVIRONMENT", "Tracker", "address"]
