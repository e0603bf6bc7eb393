"""What the sweeps of one grid on several splits of the same texts say together.

Seeds of one split share its texts: their spread tells how much training varies, not how much other
texts would. So a trial's accuracy has two intervals, and two trials are compared split by split.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from statistics import fmean
from typing import Any, NamedTuple

from rich.box import SIMPLE_HEAD
from rich.table import Table

from jobs import kinds
from jobs.kinds.sweeps import SWEEPS
from jobs.store import Record
from orchestrator.grid.settings import readable
from orchestrator.plan import History
from orchestrator.plan.ranking import OBJECTIVE, Paired, paired_test, varied
from orchestrator.report import findings, tables
from orchestrator.report.findings import Findings
from qdllm import families
from qdllm.intervals import Interval, interval, within
from qdllm.spec import canonical, flat

TEST = "test.accuracy"


@dataclass(frozen=True)
class Over:
    """One setting, or one thing that stands beside trials, on each of K splits."""

    name: str
    settings: Mapping[str, Any]
    parameters: int | None
    measured: Sequence[Mapping[str, Sequence[float]]]
    """A split's values by metric, one for each seed."""

    def over_splits(self, metric: str) -> Interval:
        """Of the splits' means over their seeds: how much other texts would change."""
        return interval(self.means(metric))

    def over_seeds(self, metric: str) -> float:
        """95 % half-width of the mean where only seeds vary, and the splits stay as they are."""
        return within([one[metric] for one in self.measured])

    def means(self, metric: str) -> list[float]:
        """Of each split over its seeds."""
        return [fmean(one[metric]) for one in self.measured]


def told(history: History, sweep: Record) -> list[Any]:
    """A table and comparisons over all splits of a sweep's texts that its grid was run on so far.

    Nothing where there is one split alone.
    """
    swept = begun(history, sweep)
    found = over_splits(swept)
    if not found:
        return []
    leaders: dict[str, Over] = {}
    for one in found:
        leaders.setdefault(one.name, one)
    # What is asked of a sweep is what the student's circuit adds; without one, what its best does.
    student = families.family(families.DEFAULT).label
    first = leaders.pop(student, None) or leaders.pop(found[0].name)
    lines = (_line(first, other) for other in leaders.values())
    return [_table(found), *lines, *filter(None, map(_lacking, swept))]


def begun(history: History, sweep: Record) -> list[Findings]:
    """What there is so far on each split of a sweep's texts that its grid was run on."""
    return [findings.findings(history, each) for each in _beside(history, sweep)]


def over_splits(swept: Sequence[Findings]) -> list[Over]:
    """All that was measured on every split that has any trial, best mean validation accuracy
    first."""
    splits = [each for each in swept if each.order]
    if len(splits) < 2:
        return []
    found: dict[str, list[_One]] = {}
    for split in splits:
        for one in _measured(split):
            found.setdefault(one.key, []).append(one)
    whole = [
        Over(each[0].name, each[0].settings, each[0].parameters, [one.measured for one in each])
        for each in found.values()
        if len(each) == len(splits)
    ]
    return sorted(whole, key=lambda one: -one.over_splits(OBJECTIVE).mean)


class _One(NamedTuple):
    """What an `Over` is on one split; the same `key` on each."""

    key: str
    name: str
    settings: Mapping[str, Any]
    parameters: int | None
    measured: Mapping[str, Sequence[float]]


def _measured(found: Findings) -> Iterator[_One]:
    for result in (*found.order, *found.beside_trials):
        spec = result.trial.spec
        plain = spec.model_dump(mode="json", exclude={"task"})
        values = {metric: result.by_seed(metric) for metric in (OBJECTIVE, TEST)}
        label = families.of(spec).label
        settings = readable(flat(plain))
        yield _One(canonical(plain), label, settings, result.parameters, values)
    for record in found.baselines:
        for one in kinds.kind(record.kind).standing(record):
            if not {OBJECTIVE, TEST} <= one.metrics.keys():
                continue
            values = {metric: [one.metrics[metric]] for metric in (OBJECTIVE, TEST)}
            yield _One(one.name, one.name, one.settings, one.parameters, values)


def compared(first: Over, second: Over, metric: str = TEST) -> Paired | None:
    """Paired t-test of first − second over the splits; None where there is no spread."""
    return paired_test(list(zip(first.means(metric), second.means(metric), strict=True)))


def _beside(history: History, sweep: Record) -> list[Record]:
    """The sweeps of the same grid on the same texts, the newest of each split, by their seeds."""
    every = history.records(SWEEPS.name, history.store.fingerprints(SWEEPS.name))
    found: dict[int, Record] = {}
    for one in sorted(every, key=lambda one: one.created):
        if (
            one.made_from == sweep.made_from
            and one.spec == sweep.spec
            and _apart_from_seed(one) == _apart_from_seed(sweep)
        ):
            found[one.summary["task_spec"]["seed"]] = one
    return [found[seed] for seed in sorted(found)]


def _apart_from_seed(sweep: Record) -> Mapping[str, Any] | None:
    """How the texts are split but for the seed; None in sweeps that do not tell."""
    task: Mapping[str, Any] | None = sweep.summary.get("task_spec")
    return task and {"split": task["split"], "name": task["name"]}


def _table(found: Sequence[Over]) -> Table:
    columns = varied(one.settings for one in found)
    splits = len(found[0].measured)
    seeds = max(len(one.measured[0][TEST]) for one in found)
    table = Table(
        title=f"{len(found)} settings over {splits} splits, by validation accuracy",
        title_justify="left",
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        caption=(
            f"± splits: the 95 % interval over {splits} splits of the texts, Student's t; ± seeds: "
            f"over {seeds} seeds in each of them, were the splits to stay"
        ),
    )
    for heading in ("", "", *tables.short(columns), "params", "validation", "test"):
        table.add_column(heading, justify="right", no_wrap=True)
    for heading in ("± splits", "± seeds"):
        table.add_column(heading, justify="right", no_wrap=True)
    shown = set[str]()
    for rank, one in enumerate(found, start=1):
        # The best ten, and the best of each name.
        if rank > tables.ROWS and one.name in shown:
            continue
        shown.add(one.name)
        test, seeds_bar = one.over_splits(TEST), one.over_seeds(TEST)
        table.add_row(
            str(rank),
            one.name,
            *(tables.cell(one.settings.get(key, "")) for key in columns),
            "" if one.parameters is None else f"{one.parameters:,}",
            f"{one.over_splits(OBJECTIVE).mean:.4f}",
            f"{test.mean:.4f}",
            f"{test.ci95:.4f}",
            "" if isnan(seeds_bar) else f"{seeds_bar:.4f}",
        )
    return table


def _lacking(found: Findings) -> str:
    """What a split has no result of, so that nothing is compared that not all splits have."""
    left = len(found.missing.keys() - found.stopped)
    seed = found.sweep.summary["task_spec"]["seed"]
    what = "and is left out" if not found.order else "which the table leaves out of all splits"
    return f"split {seed} lacks {left} trial{'s' * (left > 1)}, {what}" if left else ""


def _line(first: Over, second: Over) -> str:
    """How the best of two families differ on test texts."""
    names = f"{first.name} − {second.name}"
    found = compared(first, second)
    if found is None:
        return f"{names}: no test between the two, the splits leave no spread to judge by"
    difference = found.difference
    p = "< 0.001" if found.p < 0.001 else f"= {found.p:.2g}"
    return (
        f"{names}, the best of each by validation, paired over {difference.n} splits: "
        f"{difference.mean:+.4f} ± {difference.ci95:.4f} in test, p {p} (t-test; it sees a "
        f"difference of {found.detectable:.4f} four times in five)"
    )
