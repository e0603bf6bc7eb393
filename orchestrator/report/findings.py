"""What a sweep asked and what it found, gathered from the store alone.

No texts, no Ray and no torch are needed, so a report can be made again wherever the store is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from jobs import kinds
from jobs.kinds.agreements import AGREEMENTS, METRIC
from jobs.kinds.kind import Standing, measured, none
from jobs.kinds.probes import PROBES
from jobs.kinds.sweeps import SWEEPS
from jobs.kinds.trials import STOPPED
from jobs.store import Record, Store, address, unfit
from orchestrator.plan import History, Result
from orchestrator.plan.history import result_of
from orchestrator.plan.ranking import OBJECTIVE, apart, by_family, champion, ranked
from orchestrator.report import sweeps
from orchestrator.report.evaluations import Under, agreements, eligible, of_student, under
from qdllm.intervals import Interval, interval
from qdllm.spec import flat


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
    stopped: frozenset[str]
    """Those of them that a scheduler has stopped: they are not run again."""
    sources: list[Record]
    """What they were made from: features, soft labels, and so on."""
    references: list[Record]
    """Trials that stand beside them, nobody having asked for those by name."""
    baselines: list[Record]
    """What else does: made of the texts, and for nothing to be made from."""
    evaluations: list[Record]
    """What was made of the champion."""
    simulated: Record | None
    """The first of these that has kept what the champion's students said, without noise."""
    logits_SNC: np.ndarray | None
    """What they said in it."""
    labels: dict[str, np.ndarray]
    """Class ids of each split, by its name."""
    curves: dict[str, Mapping[str, np.ndarray]]
    """Curves of shape (S, E) by metric, for the trials in `examples`."""
    under: Under | None = None
    """The noise by which the champion was chosen, if it was."""
    agreements: Mapping[str, Interval] = field(default_factory=dict)
    """How often trials that no teacher taught agree with the others', by fingerprint."""

    @property
    def name(self) -> str:
        """What the sweep is called: its grid and its task."""
        return sweeps.name_of(self.sweep)

    @cached_property
    def axes(self) -> list[str]:
        """The settings that differ between trials of one family, by dotted path, and the family.

        What else differs, the family says.
        """
        return apart(self.settings.values())

    @property
    def best(self) -> Result:
        """The best of the trials among which the champion was chosen."""
        return eligible(self.sweep, self.order)[0]

    def place(self, result: Result) -> dict[str, Any]:
        """A trial's values on the axes that its family has."""
        settings = self.settings[result.trial.fingerprint]
        return {key: settings[key] for key in self.axes if key in settings}

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
        for record in [*self.baselines, *self.references]:
            sources = self._sources(record) if record.kind == PROBES.name else {}
            for standing in kinds.kind(record.kind).standing(record):
                place = standing.name, tuple(sorted(record.made_from.items()))
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
    def beside_trials(self) -> list[Result]:
        """The references that are trials of a family, and are not among the trials too."""
        trials = {one.trial.fingerprint for one in self.order}
        return [
            result_of(record)
            for record in self.references
            # Version 0.1 kept all of a sweep's references in one result, without seeds or settings.
            if record.kind != PROBES.name and record.fingerprint not in trials
        ]

    @cached_property
    def families(self) -> dict[str, list[Result]]:
        """Each family's trials, best first, references among them; none where a sweep asked for
        one family alone."""
        if len({one.trial.spec.family for one in self.order}) < 2:
            return {}
        return by_family([*self.beside_trials, *self.order])

    @property
    def examples(self) -> dict[str, Result]:
        """A few trials that tell how training went from the top of the ranking to its end."""
        return examples(self.order, self.champion)


def read(sweep: str, home: Path, store: str | None = None) -> tuple[Store, Findings]:
    """A sweep by its name or fingerprint, as `find` takes it, and the store that it is in.

    `store`: its address; else $QDLLM_STORE, or the folder of that name in `home`. Raises
    ConfigError where there is no store or no such sweep, StoreError for a damaged record.
    """
    history = History(Store(address.existing(store, home, "--home or --store")))
    return history.store, findings(history, sweeps.find(history, sweep))


def findings(
    history: History, sweep: Record, failures: Mapping[str, str] | None = None
) -> Findings:
    """Read what a sweep has found so far; a search, all that lies in its space.

    `failures`: why trials failed, by fingerprint. Raises StoreError for a damaged record.
    """
    store = history.store
    settings, results, beside = sweeps.asked(history, sweep)
    order, among = ranked(results), eligible(sweep, results)
    noisy = under(history, sweep, among)
    if noisy is not None:
        among = [one for one in among if one.trial.fingerprint in noisy.accuracies]
    chosen = champion(among, noisy) if among else None
    _, labels = store.load(SWEEPS.name, sweep.fingerprint)
    evaluated = of_student(history, chosen.trial.fingerprint) if chosen else []
    simulated = logits_SNC = None
    for record in evaluated:
        _, tensors = store.load(record.kind, record.fingerprint)
        if chosen and "test.logits" in tensors:
            simulated, logits_SNC = record, tensors["test.logits"]
            of = len(chosen.trial.spec.seeds), len(labels["test.labels"])
            if logits_SNC.shape[:2] != of:
                problem = f"is of {logits_SNC.shape[:2]} seeds and texts, its sweep of {of}"
                raise unfit(record, problem)
            break
    made = [one for kind, name in sweeps.sources(sweep) for one in history.records(kind, [name])]
    done = {one.trial.fingerprint for one in results}
    missing = {name: "" for name in settings if name not in done}
    stopped = history.records(STOPPED.name, missing)
    # Without one, what another sweep's has stopped is run to its end.
    scheduled = sweep.spec.get("scheduler", "none") != "none"
    missing |= {one.fingerprint: one.summary["reason"] for one in stopped}
    found = Findings(
        sweep=sweep,
        settings=settings,
        order=order,
        champion=chosen,
        missing=missing | dict(failures or {}),
        stopped=frozenset(one.fingerprint for one in stopped) if scheduled else frozenset(),
        sources=[record for record in made if not _beside(record)],
        references=beside,
        baselines=[record for record in made if _beside(record)],
        evaluations=evaluated,
        under=noisy,
        simulated=simulated,
        logits_SNC=logits_SNC,
        labels={name.removesuffix(".labels"): labels_N for name, labels_N in labels.items()},
        curves={
            one.trial.fingerprint: history.curves(one.trial)
            for one in examples(order, chosen).values()
        },
    )
    compared = history.records(
        AGREEMENTS.name, [job.fingerprint for job in agreements(found.families)]
    )
    by_trial = {one.made_from["trial"]: interval(measured(one)[METRIC]) for one in compared}
    return replace(found, agreements=by_trial)


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


def _beside(record: Record) -> bool:
    """Whether it was made to stand beside trials, and not for them to be made from."""
    return kinds.kind(record.kind).beside is not none


def _accuracy(standing: Standing) -> float:
    return float(np.mean(standing.metrics[OBJECTIVE]))
