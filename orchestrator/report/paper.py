"""The paper's numbers beside ours, where a sweep has something to put beside them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from jobs import kinds
from jobs.store import Record
from orchestrator.plan.ranking import Result, champion
from orchestrator.report.findings import Findings
from orchestrator.report.tables import accuracy, label, plus_minus
from qdllm.families.quantum import StudentSpec
from qdllm.specs import TrialSpec

FILE = Path(__file__).with_name("paper.yaml")


@dataclass(frozen=True)
class Beside:
    """One of the paper's tables with our column."""

    title: str
    head: tuple[str, ...]
    rows: list[tuple[str, ...]]


def beside(found: Findings) -> list[Beside]:
    """The tables that speak of the sweep's task, and Table 7 where it compares losses."""
    printed = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    task = found.sweep.summary["task"].removeprefix("sample-")
    if not found.champion or task not in printed["tasks"]:
        return []
    tables = [_teachers(found, printed, task), _methods(found.champion, printed, task)]
    ours = _champions(found, loss)
    if len(ours) > 1:
        tables.append(_side_by_side("Losses: Table 7", "loss", printed["losses"], ours, {}))
    if measured := [one for one in found.evaluations if "costs" in one.summary]:
        tables.append(_devices(found, printed["device"], measured))
    return tables


def loss(spec: TrialSpec) -> str | None:
    """Which loss of Table 7 a student was trained with, if any."""
    if not isinstance(spec, StudentSpec):
        return None
    terms = spec.loss.teacher_terms
    if spec.loss.alpha == 0:
        return "CE"
    if spec.loss.alpha == 1:
        return None if terms == "kl+js" else terms.upper()
    return "KL+JS+CE" if terms == "kl+js" else None


def teacher(spec: TrialSpec) -> str | None:
    """Whose student it is."""
    return spec.teacher.model if isinstance(spec, StudentSpec) else None


def _teachers(found: Findings, printed: dict[str, Any], task: str) -> Beside:
    figures = printed["tasks"][task]
    ours = _champions(found, teacher)
    title = f"Students by their teacher: Tables {figures['table']} and 8"
    return _side_by_side(title, "teacher", figures["by_teacher"], ours, printed["teachers"])


def _methods(chosen: Result, printed: dict[str, Any], task: str) -> Beside:
    figures = printed["tasks"][task]
    rows = [
        (f"{method} (paper)", *map(_printed, measured), f"{printed['parameters'][method]:,}")
        for method, measured in figures["overall"].items()
    ]
    ours = ("champion (ours)", *_measured(chosen), f"{chosen.parameters:,}")
    title = f"Students by their size: Table {figures['table']}, means over five teachers, and 3"
    return Beside(title, ("student", "test accuracy", "test F1", "parameters"), [*rows, ours])


def _devices(found: Findings, printed: dict[str, Any], measured: Sequence[Record]) -> Beside:
    """Accuracies on the paper's processor, and of the champion on chips, real or simulated."""
    low, high = map(_printed, printed["accuracy"])
    theirs = f"{printed['processor']}, {printed['shots']:,} shots (paper, three teachers and tasks)"
    rows: list[tuple[str, ...]] = [(theirs, f"{low} to {high}")]
    for record in measured:
        for one in kinds.kind(record.kind).standing(record):
            rows.append((one.name, accuracy(one.metrics["test.accuracy"])))
    assert found.champion is not None, "there are no evaluations without one"
    exact = plus_minus(found.champion.over_seeds("test.accuracy"))
    rows.append(("★ champion, exact expectations", exact))
    return Beside("On a processor: Fig. 5", ("device", "test accuracy"), rows)


def _side_by_side(
    title: str,
    first: str,
    printed: dict[str, list[float]],
    ours: dict[str, Result],
    names: dict[str, str],
) -> Beside:
    """A row for each name that the paper or we have."""
    rows = []
    for name in [*printed, *(name for name in ours if name not in printed)]:
        theirs = map(_printed, printed[name]) if name in printed else ("", "")
        measured = _measured(ours[name]) if name in ours else ("", "")
        pairs = zip(theirs, measured, strict=True)
        rows.append((names.get(name, label(name)), *(cell for pair in pairs for cell in pair)))
    head = (first, "accuracy, paper", "accuracy, ours", "F1, paper", "F1, ours")
    return Beside(title, head, rows)


def _champions(found: Findings, group: Callable[[TrialSpec], str | None]) -> dict[str, Result]:
    """The champion of each group of trials; what is in no group is left out."""
    groups: dict[str, list[Result]] = {}
    for one in found.order:
        name = group(one.trial.spec)
        if name is not None:
            groups.setdefault(name, []).append(one)
    return {name: champion(members) for name, members in groups.items()}


def _measured(one: Result) -> tuple[str, str]:
    return plus_minus(one.over_seeds("test.accuracy")), plus_minus(one.over_seeds("test.f1"))


def _printed(value: float) -> str:
    return f"{value:.4f}"
