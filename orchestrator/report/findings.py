"""What a sweep asked and what it found, gathered from the store alone.

No texts, no Ray and no torch are needed, so a report can be made again wherever the store is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from jobs import kinds
from jobs.kinds.kind import Standing
from jobs.kinds.probes import PROBES
from jobs.kinds.sweeps import SWEEPS
from jobs.kinds.trials import STOPPED
from jobs.store import Record, Store
from jobs.store.inventory import peek
from orchestrator.grid import Champion, Grid, difference
from orchestrator.grid.space import Search
from orchestrator.plan import History, Job, Listed, Plan, Result, Searched, Trial
from orchestrator.plan.graph import grouped, references
from orchestrator.plan.history import after_search, read_all
from orchestrator.plan.ranking import OBJECTIVE, axes, champion, keys, ranked
from qdllm import families
from qdllm.errors import ConfigError
from qdllm.specs import flat
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
    sources: list[Record]
    """What they were made from: features, soft labels, and so on."""
    references: list[Record]
    """What stands beside them, nobody having asked for it by name."""
    evaluations: list[Record]
    """What was made of the champion."""
    logits_SNC: np.ndarray | None
    """What the champion's students said in the first evaluation."""
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
        return keys(self.settings.values())

    @property
    def best(self) -> Result:
        """The best of the trials among which the champion was chosen."""
        return eligible(self.sweep, self.order)[0]

    def value(self, result: Result, key: str) -> Any:
        """A trial's value on an axis; an empty text where its family has no such setting."""
        return self.settings[result.trial.fingerprint].get(key, "")

    def values(self, key: str) -> list[Any]:
        """The values on an axis that finished trials have: numbers by size, others as they come.

        Last, an empty text if some of them are of a family that has no such setting.
        """
        distinct = {repr(self.value(one, key)): self.value(one, key) for one in self._in_order}
        found = [value for value in distinct.values() if value != ""]
        numbers = all(isinstance(value, int | float) for value in found)
        nothing = [value for value in distinct.values() if value == ""]
        return [*(sorted(found) if numbers else found), *nothing]

    @property
    def _in_order(self) -> list[Result]:
        """The finished trials in the order of the grid."""
        by_name = {one.trial.fingerprint: one for one in self.order}
        return [by_name[name] for name in self.settings if name in by_name]

    @property
    def beside(self) -> list[Standing]:
        """The references as they are told: of those of one name that were made from the same, the
        best by validation."""
        told: dict[tuple[Any, ...], Standing] = {}
        for record in self.references:
            sources = self._sources(record) if record.kind == PROBES.name else {}
            for standing in kinds.kind(record.kind).standing(record):
                place = standing.name, _sources_of(record.made_from)
                if place not in told or _accuracy(standing) > _accuracy(told[place]):
                    told[place] = standing._replace(settings=sources | dict(standing.settings))
        return list(told.values())

    def _sources(self, record: Record) -> dict[str, Any]:
        """The settings of what a result was made from, which a trial that was made from it has."""
        alike = (one.trial for one in self.order if one.trial.made_from == record.made_from)
        settings = [flat(trial.spec.model_dump(mode="json")) for trial in islice(alike, 1)]
        return {
            key: value
            for values in settings
            for key, value in values.items()
            if key.startswith(("encoder.", "teacher."))
        }

    @property
    def teacher(self) -> Record | None:
        """The champion's teacher."""
        made_from = self.champion.trial.made_from if self.champion else {}
        names = set(made_from.values())
        taught = (one for one in self.sources if kinds.kind(one.kind).holds == "workers")
        return next((one for one in taught if one.fingerprint in names), None)

    @property
    def examples(self) -> dict[str, Result]:
        """A few trials that tell how training went from the top of the ranking to its end."""
        return examples(self.order, self.champion)


def publish_sweep(store: Store, definition: Grid, plan: Plan, dataset: Dataset) -> str:
    """Write down what a sweep asks, so that a report needs neither grid nor texts.

    Returns its fingerprint, the plan's name. One that stands there already is left as it is.
    """
    if store.has(SWEEPS.name, plan.name):
        return plan.name
    asked = plan.sweep
    listed, searched = isinstance(asked, Listed), isinstance(asked, Searched)
    store.publish(
        SWEEPS.name,
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
            "trials": axes(asked.asked) if listed else {},
            "families": {one.fingerprint: one.spec.family for one in asked.asked},
            "bases": [
                [one.fingerprint, one.made_from, one.spec.model_dump(mode="json")]
                for one in (asked.asked if searched else ())
            ],
            "sources": [[job.kind, job.fingerprint] for job in plan.sources],
            "references": [
                [job.kind, job.fingerprint]
                for job in (asked.references if isinstance(asked, Listed) else ())
            ],
        },
        seconds=0.0,
    )
    return plan.name


def changes(history: History, definition: Grid, plan: Plan, dataset: Dataset) -> list[str]:
    """What makes a new sweep another one than the last of its name, a line for each difference.

    Nothing for a sweep that the store knows, or where none of its name is older.
    """
    name = f"{definition.name}-{dataset.name}"
    store = history.store
    names = store.fingerprints(SWEEPS.name)
    if plan.name in names:
        return []
    records = read_all(lambda key: peek(store, (SWEEPS.name, key)), names)
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


def find(history: History, name: str) -> Record:
    """The sweep with that fingerprint, or whose fingerprint begins so, or the newest of that name.

    Raises ConfigError, naming the sweeps that there are, if none or several are meant.
    """
    names = history.store.fingerprints(SWEEPS.name)
    sweeps = sorted(history.records(SWEEPS.name, names), key=lambda one: one.created)
    if not sweeps:
        raise ConfigError(
            f"there is no sweep in {history.store.uri}; run one with python -m orchestrator.sweep, "
            "or say with --home or --store where it ran"
        )
    named = [one for one in sweeps if name in (one.fingerprint, _name(one))]
    meant = named[-1:] or [one for one in sweeps if name and one.fingerprint.startswith(name)]
    if len(meant) == 1:
        return meant[0]
    known = ", ".join(f"{_name(one)} ({one.fingerprint})" for one in reversed(sweeps))
    what = f"{name!r} may be any of {len(meant)} sweeps" if meant else f"unknown sweep {name!r}"
    raise ConfigError(f"{what}; give a name or a fingerprint. There are: {known}")


def findings(
    history: History, sweep: Record, failures: Mapping[str, str] | None = None
) -> Findings:
    """Read what a sweep has found so far; a search, all that lies in its space.

    `failures`: why trials failed, by fingerprint. Raises StoreError for a damaged record.
    """
    store = history.store
    settings, results, beside = _asked(history, sweep)
    order, among = ranked(results), eligible(sweep, results)
    chosen = champion(among) if among else None
    _, labels = store.load(SWEEPS.name, sweep.fingerprint)
    evaluated, logits_SNC = [], None
    for job in evaluations(chosen) if chosen else ():
        if store.has(job.kind, job.fingerprint):
            record, tensors = store.load(job.kind, job.fingerprint)
            evaluated.append(record)
            logits_SNC = tensors.get("test.logits") if logits_SNC is None else logits_SNC
    done = {one.trial.fingerprint for one in results}
    missing = {name: "" for name in settings if name not in done}
    stopped = history.records(STOPPED.name, missing)
    missing |= {one.fingerprint: one.summary["reason"] for one in stopped}
    return Findings(
        sweep=sweep,
        settings=settings,
        order=order,
        champion=chosen,
        missing=missing | dict(failures or {}),
        sources=[
            record for kind, name in _sources(sweep) for record in history.records(kind, [name])
        ],
        references=beside,
        evaluations=evaluated,
        logits_SNC=logits_SNC,
        labels={name.removesuffix(".labels"): labels_N for name, labels_N in labels.items()},
        curves={
            one.trial.fingerprint: store.load(one.trial.kind, one.trial.fingerprint)[1]
            for one in examples(order, chosen).values()
        },
    )


def eligible(sweep: Record, results: Sequence[Result]) -> list[Result]:
    """Those of the families from which the sweep's champion comes, best first."""
    choice = Champion.parse(sweep.spec.get("champion") or {})
    asked = sweep.summary.get("families", {})
    among = choice.among(asked.values() or [one.trial.spec.family for one in results])
    return [one for one in ranked(results) if one.trial.spec.family in among]


def _asked(
    history: History, sweep: Record
) -> tuple[dict[str, dict[str, Any]], list[Result], list[Record]]:
    """The settings of all trials, the finished ones, and what stands beside them."""
    if sweep.summary["bases"]:
        search = Search.parse(sweep.spec["search"])
        bases: list[Trial] = []
        for name, made_from, plain in sweep.summary["bases"]:
            spec = families.parse(plain)
            bases.append(Job(families.of(spec).kind, name, spec, made_from))
        results = [one for base in bases for one in history.in_space(search, base)]
        stopped = [one for base in bases for one in history.in_space(search, base, STOPPED.name)]
        settings = axes([one.trial for one in results + stopped])
        named = [(job.kind, job.fingerprint) for job in after_search(results)]
    else:
        settings = sweep.summary["trials"]
        results = _listed(history, sweep)
        named = [(kind, name) for kind, name in sweep.summary.get("references", [])]
        if "references" not in sweep.summary:
            # Version 0.1 wrote no list of them: they follow from the trials, with what was stopped.
            stopped = history.results(STOPPED.name, settings)
            beside = references(grouped(one.trial for one in results + stopped))
            named = [(job.kind, job.fingerprint) for job in beside]
    records = [record for kind, name in named for record in history.records(kind, [name])]
    return settings, results, records or _probes(history, sweep)


def _probes(history: History, sweep: Record) -> list[Record]:
    """The classical references of a sweep of version 0.1; none of a later one.

    A search of then could not write down which they would be: they are the last that were fitted
    to what its trials are made from.
    """
    if not sweep.summary["bases"]:
        return history.records(PROBES.name, sweep.summary.get("probes", []))
    if "probes" not in sweep.summary:
        return []
    every = history.records(PROBES.name, history.store.fingerprints(PROBES.name))
    last = {_sources_of(one.made_from): one for one in sorted(every, key=lambda one: one.created)}
    asked = dict.fromkeys(_sources_of(made_from) for _, made_from, _ in sweep.summary["bases"])
    return [last[sources] for sources in asked if sources in last]


def _listed(history: History, sweep: Record) -> list[Result]:
    """The finished trials of a list, in its order."""
    settings = sweep.summary["trials"]
    named = sweep.summary.get("families", dict.fromkeys(settings, families.DEFAULT))
    kind = {name: families.family(family).kind for name, family in named.items()}
    finished = {
        one.trial.fingerprint: one
        for each in dict.fromkeys(kind.values())
        for one in history.results(each, [name for name in settings if kind[name] == each])
    }
    return [finished[name] for name in settings if name in finished]


def _sources(sweep: Record) -> list[tuple[str, str]]:
    """Kinds and fingerprints of what the trials were made from."""
    summary = sweep.summary
    if "sources" in summary:
        return [(kind, name) for kind, name in summary["sources"]]
    # As version 0.1 wrote it.
    lists = (("features", summary["features"]), ("soft-labels", summary["teachers"]))
    return [(kind, name) for kind, names in lists for name in names]


def evaluations(chosen: Result) -> list[Job[Any]]:
    """What is made of a champion, such as its simulation by MindQuantum."""
    made_from = {"student": chosen.trial.fingerprint}
    return [
        Job.of(kind.name, spec, made_from)
        for kind in kinds.kinds().values()
        for spec in kind.of_champion(chosen.trial.spec)
    ]


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


def _sources_of(made_from: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(made_from.items()))


def _name(sweep: Record) -> str:
    return f"{sweep.summary['grid']}-{sweep.summary['task']}"


def _accuracy(standing: Standing) -> float:
    return float(np.mean(standing.metrics[OBJECTIVE]))
