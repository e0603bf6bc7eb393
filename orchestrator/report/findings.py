"""What a sweep asked and what it found, gathered from the store alone.

No texts, no Ray and no torch are needed, so a report can be made again wherever the store is.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from jobs import fingerprints
from jobs.fingerprints import EVALUATIONS, FEATURES, PROBES, SOFT_LABELS, STOPPED, STUDENTS, SWEEPS
from jobs.store import Record, Store
from jobs.store.inventory import peek
from orchestrator.grid import Grid, difference
from orchestrator.grid.space import Search
from orchestrator.plan import Plan, Trial
from orchestrator.plan.history import in_space, read_all, references
from orchestrator.plan.ranking import Result, axes, champion, ranked
from orchestrator.report.tables import told
from qdllm.errors import ConfigError
from qdllm.specs import EvaluationSpec, StudentSpec
from qdllm.texts.data import SPLITS, Dataset


@dataclass(frozen=True, eq=False)
class Findings:
    """One sweep's results, as far as they are there."""

    sweep: Record
    """What was asked: the grid as `spec`; grid, task, texts, classes and rows in `summary`."""
    settings: dict[str, dict[str, Any]]
    """The values of the swept axes of every trial, by fingerprint, in the order of the grid."""
    order: list[Result]
    """The finished trials, best first."""
    champion: Result | None
    missing: dict[str, str]
    """The trials without a result, with the reason where it is known."""
    features: list[Record]
    teachers: list[Record]
    probes: list[Record]
    evaluation: Record | None
    """The champion on the test split once more, under MindQuantum."""
    logits_SNC: np.ndarray | None
    """What the champion's students said in that evaluation."""
    labels: dict[str, np.ndarray]
    """Class ids of each split, by its name."""
    curves: dict[str, dict[str, np.ndarray]]
    """Curves of shape (S, E) by metric, for the trials in `examples`."""

    @property
    def name(self) -> str:
        """What the sweep is called: its grid and its task."""
        return f"{self.sweep.summary['grid']}-{self.sweep.summary['task']}"

    @property
    def axes(self) -> list[str]:
        """The settings that differ between the trials, by dotted path."""
        return list(next(iter(self.settings.values()), {}))

    def value(self, result: Result, key: str) -> Any:
        """A trial's value on an axis."""
        return self.settings[result.trial.fingerprint][key]

    def values(self, key: str) -> list[Any]:
        """The values on an axis that finished trials have: numbers by size, others as they come."""
        distinct = {repr(self.value(one, key)): self.value(one, key) for one in self._in_order}
        found = list(distinct.values())
        numbers = all(isinstance(value, int | float) for value in found)
        return sorted(found) if numbers else found

    @property
    def _in_order(self) -> list[Result]:
        """The finished trials in the order of the grid."""
        by_name = {one.trial.fingerprint: one for one in self.order}
        return [by_name[name] for name in self.settings if name in by_name]

    @property
    def references(self) -> list[tuple[str, dict[str, Any]]]:
        """The classical references as name and summary. Where there are several of a name, it says
        which features and soft labels they were made from."""
        inputs = ("encoder.", "teacher.")
        named = []
        for probe in self.probes:
            beside = [one for one in self.order if one.trial.made_from == probe.made_from][:1]
            settings = {
                key: self.value(one, key)
                for one in beside
                for key in self.axes
                if key.startswith(inputs)
            }
            suffix = f", {told(settings)}" if settings else ""
            named += [(name + suffix, summary) for name, summary in probe.summary.items()]
        return named

    @property
    def teacher(self) -> Record | None:
        """The champion's teacher."""
        made_from = self.champion.trial.made_from if self.champion else {}
        found = (one for one in self.teachers if one.fingerprint == made_from.get("soft_labels"))
        return next(found, None)

    @property
    def examples(self) -> dict[str, Result]:
        """A few trials that tell how training went from the top of the ranking to its end."""
        return examples(self.order, self.champion)


def publish_sweep(store: Store, definition: Grid, plan: Plan, dataset: Dataset) -> str:
    """Write down what a sweep asks, so that a report needs neither grid nor texts.

    Returns its fingerprint, the plan's name. One that stands there already is left as it is.
    """
    if store.has(SWEEPS, plan.name):
        return plan.name
    store.publish(
        SWEEPS,
        plan.name,
        tensors={f"{split}.labels": getattr(dataset, split).labels_N for split in SPLITS},
        spec=definition.model_dump(mode="json"),
        made_from={"texts": dataset.digest},
        summary={
            "grid": definition.name,
            "task": dataset.name,
            "texts": dataset.describe(),
            "classes": list(dataset.classes),
            "rows": dict(zip(SPLITS, dataset.sizes, strict=True)),
            "trials": axes(plan.trials),
            "bases": [
                [one.fingerprint, one.made_from, one.spec.model_dump(mode="json")]
                for one in plan.bases
            ],
            "features": [job.fingerprint for job in plan.features],
            "teachers": [job.fingerprint for job in plan.teachers],
            "probes": [job.fingerprint for job in plan.probes],
        },
        seconds=0.0,
    )
    return plan.name


def changes(store: Store, definition: Grid, plan: Plan, dataset: Dataset) -> list[str]:
    """What makes a new sweep another one than the last of its name, a line for each difference.

    Nothing for a sweep that the store knows, or where none of its name is older.
    """
    name = f"{definition.name}-{dataset.name}"
    names = store.fingerprints(SWEEPS)
    if plan.name in names:
        return []
    records = read_all(lambda key: peek(store, (SWEEPS, key)), names)
    alike = [one for one in records if isinstance(one, Record) and _name(one) == name]
    if not alike:
        return []
    last = max(alike, key=lambda one: one.created)
    try:
        lines = difference(Grid.parse(last.spec), definition)
    except ConfigError:
        return []  # another version's grid
    if last.made_from["texts"] != dataset.digest:
        lines.insert(0, f"texts: {last.summary['texts']} → {dataset.describe()}")
    return [f"another sweep than {last.fingerprint}, the last of {name}:", *lines]


def find(store: Store, name: str) -> Record:
    """The sweep with that fingerprint, or whose fingerprint begins so, or the newest of that name.

    Raises ConfigError, naming the sweeps that there are, if none or several are meant.
    """
    sweeps = sorted(
        _records(store, SWEEPS, store.fingerprints(SWEEPS)), key=lambda one: one.created
    )
    if not sweeps:
        raise ConfigError(
            f"there is no sweep in {store.uri}; run one with python -m orchestrator.sweep, or say "
            "with --home or --store where it ran"
        )
    named = [one for one in sweeps if name in (one.fingerprint, _name(one))]
    meant = named[-1:] or [one for one in sweeps if name and one.fingerprint.startswith(name)]
    if len(meant) == 1:
        return meant[0]
    known = ", ".join(f"{_name(one)} ({one.fingerprint})" for one in reversed(sweeps))
    what = f"{name!r} may be any of {len(meant)} sweeps" if meant else f"unknown sweep {name!r}"
    raise ConfigError(f"{what}; give a name or a fingerprint. There are: {known}")


def findings(store: Store, sweep: Record, failures: Mapping[str, str] | None = None) -> Findings:
    """Read what a sweep has found so far; a search, all that lies in its space.

    `failures`: why trials failed, by fingerprint. Raises StoreError for a damaged record.
    """
    settings: dict[str, dict[str, Any]] = sweep.summary["trials"]
    probes: Sequence[str] = sweep.summary["probes"]
    if sweep.summary["bases"]:
        search = Search.parse(sweep.spec["search"])
        bases = [
            Trial(STUDENTS, name, StudentSpec.parse(spec), made_from, False)
            for name, made_from, spec in sweep.summary["bases"]
        ]
        results = [one for base in bases for one in in_space(store, search, base)]
        stopped = [one for base in bases for one in in_space(store, search, base, STOPPED)]
        settings = axes([one.trial for one in results + stopped])
        probes = [job.fingerprint for job in references(store, results)]
    else:
        results = [
            Result(
                Trial(STUDENTS, one.fingerprint, StudentSpec.parse(one.spec), one.made_from, True),
                one,
            )
            for one in _records(store, STUDENTS, settings)
        ]
    order, chosen = ranked(results), champion(results) if results else None
    _, labels = store.load(SWEEPS, sweep.fingerprint)
    evaluation, logits_SNC = None, None
    if chosen:
        key = fingerprints.of_evaluation(EvaluationSpec(), chosen.trial.fingerprint)
        if store.has(EVALUATIONS, key):
            evaluation, tensors = store.load(EVALUATIONS, key)
            logits_SNC = tensors["test.logits"]
    done = {one.trial.fingerprint for one in results}
    missing = {name: "" for name in settings if name not in done}
    missing |= {one.fingerprint: one.summary["reason"] for one in _records(store, STOPPED, missing)}
    return Findings(
        sweep=sweep,
        settings=settings,
        order=order,
        champion=chosen,
        missing=missing | dict(failures or {}),
        features=_records(store, FEATURES, sweep.summary["features"]),
        teachers=_records(store, SOFT_LABELS, sweep.summary["teachers"]),
        probes=_records(store, PROBES, probes),
        evaluation=evaluation,
        logits_SNC=logits_SNC,
        labels={name.removesuffix(".labels"): labels_N for name, labels_N in labels.items()},
        curves={
            one.trial.fingerprint: store.load(STUDENTS, one.trial.fingerprint)[1]
            for one in examples(order, chosen).values()
        },
    )


def examples(order: Sequence[Result], chosen: Result | None) -> dict[str, Result]:
    """Champion, best, median and last of a ranking, by what they are; each trial once."""
    if not chosen:
        return {}
    named = {"champion": chosen, "best": order[0]}
    named |= {"median": order[len(order) // 2], "last": order[-1]}
    kept: dict[str, Result] = {}
    for what, result in named.items():
        if all(result is not other for other in kept.values()):
            kept[what] = result
    return kept


def _name(sweep: Record) -> str:
    return f"{sweep.summary['grid']}-{sweep.summary['task']}"


def _records(store: Store, kind: str, names: Iterable[str]) -> list[Record]:
    """The records that there are, in the order of their names."""
    return read_all(partial(store.record, kind), names)
