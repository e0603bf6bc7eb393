"""Named sweeps: what a grid file says, and the specs that it comes to."""

from orchestrator.grid.definition import (
    DEFAULT,
    FOLDER,
    Champion,
    Grid,
    Resources,
    by_task,
    difference,
    load,
    on,
    override,
    specs,
)

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
