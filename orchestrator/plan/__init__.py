"""What a sweep needs, what the store holds of it, and what the rest will take."""

from orchestrator.plan.graph import Job, Plan, Trial, plan, probe_spec

__all__ = ["Job", "Plan", "Trial", "plan", "probe_spec"]
