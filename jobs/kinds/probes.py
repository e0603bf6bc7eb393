"""The classical references of a sweep of version 0.1, all in one result; they are trials now.

Nothing makes or needs one. Reports of sweeps of then still show them.
"""

from collections.abc import Sequence
from typing import Any

from jobs.kinds.kind import Kind, Record, Standing
from qdllm.spec import flat


def _standing(record: Record) -> Sequence[Standing]:
    return [
        Standing(
            name,
            {metric: value for metric, value in said.items() if metric.endswith(".accuracy")},
            said["parameters"],
            flat({group: said[group] for group in ("loss", "fit") if group in said}),
        )
        for name, said in record.summary.items()
    ]


PROBES = Kind(
    name="probes",
    label="classical references",
    told={
        "linear": "summary/logistic regression/val.accuracy",
        "head": "summary/classical head/val.accuracy",
    },
    content={"*": dict[str, Any]},
    standing=_standing,
    kept="source",
)
KINDS = (PROBES,)
