"""How much of the texts the models of a plan read, each with its `max_length`."""

from collections.abc import Sequence
from typing import Any

from orchestrator.plan.graph import Plan
from qdllm.models import FITTED, NOBODY, resolve
from qdllm.texts.lengths import cut

MUCH = 1 / 20
"""The share of cut texts beyond which a table of results says so too."""


def cuts(plan: Plan, texts: Sequence[str]) -> list[dict[str, Any]]:
    """What of the texts is cut, for each model and length with which some are, as plain data.

    `readers` are the groups of settings in which the model stands, such as encoder and teacher.
    """
    readers: dict[tuple[str, str, int], dict[str, None]] = {}
    for trial in plan.sweep.asked:
        for name, group in trial.spec:
            if hasattr(group, "max_length") and group.model not in (*FITTED, NOBODY):
                key = group.model, group.weights, group.max_length
                readers.setdefault(key, {})[name] = None
    found = []
    for (model, weights, length), names in readers.items():
        lost = cut(texts, resolve(model, weights), length)
        if lost.texts:
            told = {"readers": list(names), "model": model, "max_length": length}
            found.append(told | lost.plain())
    return found
