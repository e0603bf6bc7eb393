"""MLflow, as the rest of the program sees it: a view of the store, written by one process."""

from orchestrator.tracking.tracker import CURVES, ENVIRONMENT, Tracker, address, without_secrets

__all__ = ["CURVES", "ENVIRONMENT", "Tracker", "address", "without_secrets"]
