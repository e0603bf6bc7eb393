"""What a sweep asked, written down so that a report needs neither its grid nor its texts."""

from typing import Any

from jobs.kinds.kind import Count, Kind

_NAMED = list[tuple[str, str]]
"""Kinds and fingerprints."""
SWEEPS = Kind(
    name="sweeps",
    label="sweeps",
    content={
        "grid": str,
        "task": str,
        "task_spec": dict[str, Any],
        "texts": str,
        "classes": list[str],
        "cuts": list[dict[str, Any]],
        "rows": dict[str, Count],
        "trials": dict[str, dict[str, Any]],
        "families": dict[str, str],
        "bases": list[tuple[str, dict[str, str], dict[str, Any]]],
        "sources": _NAMED,
        "references": _NAMED,
        "features": list[str],
        "teachers": list[str],
        "probes": list[str],
    },
    shape=lambda record, name: (None,),
)
KINDS = (SWEEPS,)
