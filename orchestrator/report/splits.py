"""What the sweeps of one grid on several splits of the same texts say together.

Seeds of one split share its texts: their spread tells how much training varies, not how much other
texts would. So a trial's accuracy has two intervals, and two trials are compared split by split.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from jobs.kinds.probes import PROBES
from jobs.kinds.sweeps import SWEEPS
from jobs.store import Record
from orchestrator.plan import History, Result
from orchestrator.plan.history import result_of
from orchestrator.plan.ranking import OBJECTIVE, Paired, axes, paired_test
from orchestrator.report import findings, tables
from qdllm import families
from qdllm.intervals import Interval, interval, within
from qdllm.specs import canonical

TEST = "test.accuracy"


@dataclass(frozen=True)
class Over:
    """One setting, trained on each of K splits."""

    results: Sequence[Result]

    def over_splits(self, metric: str) -> Interval:
        """Of the splits' means over their seeds: how much other texts would change."""
        return interval([fmean(one.by_seed(metric)) for one in self.results])

    def over_seeds(self, metric: str) -> float:
        """95 % half-width of the mean where only seeds vary, and the splits stay as they are."""
        return within([one.by_seed(metric) for one in self.results])

    @property
    def family(self) -> str:
        """Its family's name."""
        return self.results[0].trial.spec.family


def told(history: History, sweep: Record) -> list[Any]:
    """A table and comparisons over all splits of a sweep's texts that its grid was run on so far.

    Nothing where there is one split alone.
    """
    found = over_splits(history, sweep)
    if not found:
        return []
    leaders: dict[str, Over] = {}
    for one in found:
        leaders.setdefault(one.family, one)
    # What is asked of a sweep is what the student's circuit adds; without one, what its best does.
    first = leaders.pop(families.DEFAULT, None) or leaders.pop(found[0].family)
    others = leaders.values()
    return [_table(found), *(_line(first, other) for other in others)]


def over_splits(history: History, sweep: Record) -> list[Over]:
    """Each setting that was trained on every split, best mean validation accuracy first."""
    splits = [findings.findings(history, each) for each in _beside(history, sweep)]
    if len(splits) < 2:
        return []
    settings: dict[str, dict[int, Result]] = {}
    for number, split in enumerate(splits):
        beside = [result_of(one) for one in split.references if one.kind != PROBES.name]
        for result in (*split.order, *beside):
            spec = result.trial.spec
            name = canonical(spec.model_dump(mode="json", exclude={"task"}))
            settings.setdefault(name, {})[number] = result
    whole = [Over(list(each.values())) for each in settings.values() if len(each) == len(splits)]
    return sorted(whole, key=lambda one: -one.over_splits(OBJECTIVE).mean)


def compared(first: Over, second: Over, metric: str = TEST) -> Paired | None:
    """Paired t-test of first − second over the splits; None where there is no spread."""
    means = [[fmean(one.by_seed(metric)) for one in over.results] for over in (first, second)]
    return paired_test(list(zip(*means, strict=True)))


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
    settings = axes([one.results[0].trial for one in found])
    columns = [key for key in tables.keys(settings.values()) if key != "seeds"]
    splits = len(found[0].results)
    seeds = max(len(one.results[0].trial.spec.seeds) for one in found)
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
    for heading in ("", *tables.short(columns), "params", "validation", "test"):
        table.add_column(heading, justify="right", no_wrap=True)
    for heading in ("± splits", "± seeds"):
        table.add_column(heading, justify="right", no_wrap=True)
    families_shown = set[str]()
    for rank, one in enumerate(found, start=1):
        if rank > tables.ROWS and one.family in families_shown:
            continue
        families_shown.add(one.family)
        first, test = one.results[0], one.over_splits(TEST)
        values = settings[first.trial.fingerprint]
        seeds_bar = one.over_seeds(TEST)
        table.add_row(
            str(rank),
            *(tables.cell(values.get(key, "")) for key in columns),
            f"{first.parameters:,}",
            f"{one.over_splits(OBJECTIVE).mean:.4f}",
            f"{test.mean:.4f}",
            f"{test.ci95:.4f}",
            "" if seeds_bar != seeds_bar else f"{seeds_bar:.4f}",
        )
    return table


def _line(first: Over, second: Over) -> str:
    """How the best of two families differ on test texts."""
    names = " − ".join(families.family(one.family).label for one in (first, second))
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
