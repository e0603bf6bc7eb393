"""What a sweep found, as text: the plan before it, the table after it."""

from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from jobs.store import Record
from orchestrator.console import duration
from orchestrator.plan import Plan
from orchestrator.results import OBJECTIVE, Result, axes, common
from qdllm.intervals import Interval, interval

ROWS = 10


def plan_table(plan: Plan) -> Table:
    """What is held and what would run, a line per kind of result."""
    table = Table(title=f"sweep {plan.name}", title_justify="left")
    for column, justify in (("result", "left"), ("held", "right"), ("to compute", "right")):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    for kind, jobs in (
        ("features", plan.features),
        ("soft labels", plan.teachers),
        ("classical references", plan.probes),
        ("trials", plan.trials),
    ):
        held = sum(job.held for job in jobs)
        table.add_row(kind, str(held), str(len(jobs) - held))
    return table


def trials_table(
    order: Sequence[Result], champion: Result, probes: Sequence[Record], title: str, wide: bool
) -> Table:
    """The ten best trials, the champion if it is not among them, and the classical references.

    `wide` adds agreement with the teacher and time per epoch, for which 80 columns are too few.
    """
    settings = axes([result.trial for result in order])
    keys = list(next(iter(settings.values())))
    table = Table(
        title=title,
        title_justify="left",
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.caption = (
        f"± is the 95 % interval of the mean over {len(order[0].trial.spec.seeds)} seeds, "
        "Student's t; ★ is the champion"
    )
    table.add_column("")
    measures = ["val.accuracy", "test.accuracy", *(["test.agreement"] if wide else [])]
    headings = ["params", "validation", "test", *(["agreement", "s/epoch"] if wide else [])]
    for heading in (*_short(keys), *headings):
        table.add_column(heading, justify="right", no_wrap=True)
    for result in [*order[:ROWS], *([champion] if champion not in order[:ROWS] else [])]:
        cells = [
            f"{order.index(result) + 1}{' ★' if result is champion else ''}",
            *(str(settings[result.trial.fingerprint][key]) for key in keys),
            f"{result.parameters:,}",
            *(plus_minus(result.over_seeds(measure)) for measure in measures),
        ]
        if wide:
            cells.append(f"{result.record.summary['seconds_per_epoch']:.2f}")
        table.add_row(*cells)
    for record in probes:
        beside = [result.trial for result in order if result.trial.made_from == record.made_from]
        inputs = {
            key: value
            for key, value in (common(beside) if beside else {}).items()
            if key.startswith(("encoder.", "teacher."))
        }
        for name, summary in record.summary.items():
            told = inputs | {
                f"{group}.{key}": value
                for group in ("loss", "fit")
                for key, value in summary.get(group, {}).items()
            }
            table.add_row(
                name,
                *(str(told.get(key, "")) for key in keys),
                f"{summary['parameters']:,}",
                *(_accuracy(summary[f"{split}.accuracy"]) for split in ("val", "test")),
            )
    return table


def _short(keys: Sequence[str]) -> list[str]:
    """Settings' last words, or their whole paths where those collide."""
    last = [key.rpartition(".")[2] for key in keys]
    return [short if last.count(short) == 1 else key for short, key in zip(last, keys, strict=True)]


def teacher_line(record: Record) -> str:
    """The teacher's own accuracy, which its students are measured against."""
    spec, summary = record.spec, record.summary
    return (
        f"teacher {spec['model']}, LoRA rank {spec['rank']}: "
        f"validation {summary['accuracy']['validation']:.4f}, "
        f"test {summary['accuracy']['test']:.4f}"
    )


def curve_table(record: Record) -> Table:
    """How a teacher's fine-tuning went, a line per epoch; ★ is the one that was kept."""
    table = Table(title=f"teacher {record.spec['model']}", title_justify="left", box=SIMPLE_HEAD)
    for heading in ("epoch", "train loss", "validation accuracy", "time"):
        table.add_column(heading, justify="right")
    for epoch, point in enumerate(record.summary["curve"], start=1):
        table.add_row(
            f"{epoch}{' ★' if epoch == record.summary['best_epoch'] else ''}",
            f"{point['train.loss']:.4f}",
            f"{point['val.accuracy']:.4f}",
            duration(point["seconds"]),
        )
    return table


def champion_line(champion: Result, best: Result) -> str:
    """What the champion is, and why it and not the best."""
    size = f"{champion.parameters:,} parameters"
    if champion is best:
        return f"champion: the best by validation, {size}"
    behind = best.over_seeds(OBJECTIVE).mean - champion.over_seeds(OBJECTIVE).mean
    return (
        f"champion: {size}, the smallest within one standard error of the best "
        f"({behind:.4f} behind it in validation)"
    )


def second_opinion_line(champion: Result, evaluation: Record) -> str:
    """What another simulator says of the champion."""
    found = interval(evaluation.summary["metrics"]["test.accuracy"])
    ours = champion.over_seeds("test.accuracy")
    return (
        f"test {found.mean:.4f}, ours {ours.mean:.4f}; "
        f"no ⟨Z⟩ differs by more than {evaluation.summary['largest_difference']:.1e}"
    )


def plus_minus(found: Interval) -> str:
    """0.8825 ± 0.0031, or the mean alone where a single seed leaves the spread unknown."""
    return f"{found.mean:.4f}" if found.n == 1 else f"{found.mean:.4f} ± {found.ci95:.4f}"


def _accuracy(value: Any) -> str:
    """One accuracy, or one per seed."""
    return plus_minus(interval(value)) if isinstance(value, list) else f"{value:.4f}"
