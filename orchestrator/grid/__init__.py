"""Named sweeps: what a grid file says, and the specs that it comes to."""

from orchestrator.grid.definition import (
    DEFAULT,
    FOLDER,
    Champion,
    Grid,
    Resources,
    difference,
    load,
    on,
    override,
)
from orchestrator.grid.trials import by_task, specs

__all__ = [
    "DEFAULT",
    "FOLDER",
    "Champion",
    "Grid",
    "Resources",
    "by_task",
    "difference",
    "load",
    "on",
    "override",
    "specs",
]
