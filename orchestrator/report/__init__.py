"""What a sweep found: findings, tables, figures, a page, data, and the paper's numbers beside."""

from orchestrator.report.frames import frame

__all__ = ["frame"]
