"""What a sweep found, as pictures. matplotlib lives here."""

from orchestrator.report.figures.axes import accuracy_over
from orchestrator.report.figures.canvas import Picture, png, svg
from orchestrator.report.figures.overall import heat_map, pareto
from orchestrator.report.figures.students import confusion, learning_curves, reliability
from orchestrator.report.findings import Findings

__all__ = [
    "Picture",
    "accuracy_over",
    "confusion",
    "heat_map",
    "learning_curves",
    "pareto",
    "pictures",
    "png",
    "reliability",
    "svg",
]


def pictures(found: Findings) -> list[Picture]:
    """Everything that there is to see, in the order in which a reader asks."""
    drawn = [
        pareto(found),
        *(accuracy_over(found, key) for key in found.axes),
        heat_map(found),
        learning_curves(found),
        confusion(found),
        reliability(found),
    ]
    return [picture for picture in drawn if picture]
