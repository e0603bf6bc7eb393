"""Where the work of a sweep is done: on Ray, or in this process."""

from orchestrator.execution.executor import Executor
from orchestrator.execution.inprocess import InProcess
from orchestrator.execution.onray import OnRay

__all__ = ["Executor", "InProcess", "OnRay", "executor"]


def executor(address: str) -> Executor:
    """What does a sweep's work, by the address that its command has: `none` is without Ray."""
    return InProcess() if address == "none" else OnRay(address)
