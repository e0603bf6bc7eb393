"""What a sweep needs, what the store holds of it, and what the rest will take."""

from jobs.kinds import Job
from orchestrator.plan.graph import Listed, Plan, Searched, Trial, plan
from orchestrator.plan.history import History
from orchestrator.plan.ranking import Result

__all__ = ["History", "Job", "Listed", "Plan", "Result", "Searched", "Trial", "plan"]
