"""The trials: what is held is told, what is missing is run, by list or as a search asks."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from jobs.inputs import gather
from jobs.kinds.trials import STOPPED
from orchestrator.console import Phase
from orchestrator.grid.measures import CURVES
from orchestrator.grid.settings import readable
from orchestrator.grid.space import point
from orchestrator.plan import Listed, Result, Searched, Trial
from orchestrator.plan.graph import grouped
from orchestrator.plan.history import after_search
from orchestrator.plan.ranking import axes, keys
from orchestrator.steps.session import Sweep
from orchestrator.steps.sources import Lacking, reason
from orchestrator.tracking import Tracker
from orchestrator.tune.group import Group
from qdllm import families
from qdllm.errors import StoreError
from qdllm.spec import flat

Settings = Mapping[str, Any]
LONG = "long trials"
"""What they are called on the screen, in the plan too; others are students or references."""


def train(sweep: Sweep, tracker: Tracker, lacking: Lacking) -> dict[str, str]:
    """Run what is missing, then the references beside it. Returns why trials have no result.

    `lacking`: why some of what they read cannot be had.
    """
    asked = sweep.plan.sweep
    if isinstance(asked, Listed):
        failures = _list(sweep, tracker, lacking, asked)
        _references(sweep, tracker, lacking, asked.references, keys(axes(asked.trials).values()))
    else:
        failures, results = _search(sweep, tracker, lacking, asked)
        beside = after_search(results)
        _references(sweep, tracker, lacking, beside, list(asked.search.space))
    return failures


@dataclass
class Endings:
    """Hears of each trial's end, tells MLflow, and remembers what went wrong."""

    sweep: Sweep
    tracker: Tracker
    settings: dict[str, Settings]
    """What is told of each trial, by fingerprint."""
    shared: Settings = field(default_factory=dict)
    """What a search's base has that other bases have not."""
    reference: bool = False
    """Whether these are trials that nobody asked for by name."""
    phase: Phase | None = None
    """The part of the sweep that is on the screen; see `during`."""
    before: int = 0
    """How many had failed when it began."""
    failures: dict[str, str] = field(default_factory=dict)
    """Why trials have no result, by fingerprint; those that a scheduler stopped are not here."""
    unread: list[tuple[Trial, Settings]] = field(default_factory=list)
    """Trials that ended while the store was away, with their last reports."""

    @contextmanager
    def during(self, name: str, trials: int) -> Iterator[Phase]:
        """Count those that end while the block runs, and how many of them fail."""
        with self.sweep.terminal.phase(name, trials) as self.phase:
            self.before = len(self.failures)
            yield self.phase

    def told(self, trial: Trial) -> Settings:
        """A trial's swept settings."""
        asked = self.sweep.plan.sweep
        if trial.fingerprint not in self.settings and isinstance(asked, Searched):
            return {**self.shared, **readable(point(asked.search, trial.spec))}
        return self.settings[trial.fingerprint]

    def done(self, trial: Trial) -> None:
        """Its record is in the store; MLflow is told, unless it knows."""
        if not self.tracker.finished(trial.fingerprint):
            record, tensors = self.sweep.store.load(trial.kind, trial.fingerprint)
            result = Result(trial, record)
            self.tracker.write_trial(result, self.told(trial), tensors, self.reference)

    def stopped(self, trial: Trial) -> None:
        """A scheduler has ended it, in this run or an earlier one; MLflow is told."""
        record = self.sweep.store.record(STOPPED.name, trial.fingerprint)
        assert record is not None, "whoever calls this has seen it"
        self._write_failure(trial, record.summary["reason"], record.created)

    def ended(self, trial: Trial, last: Settings) -> None:
        """It ended by itself or by the scheduler; `last` is its last report."""
        try:
            self.settle(trial, last)
        except StoreError:
            # Away for a while: training goes on, and this is tried again at the end.
            self.unread.append((trial, last))
        self._advance()

    def settle(self, trial: Trial, last: Settings) -> None:
        """Tell what became of it, if anything has: `_settle` tells what is left.

        Raises StoreError where the store does not answer.
        """
        if "failed" in last:
            self._fail(trial, last["failed"])
        elif self.sweep.store.has(trial.kind, trial.fingerprint):
            self.done(trial)
        elif "epoch" in last:
            self._stop(trial, last)

    def failed(self, trial: Trial, reason: str) -> None:
        """It cannot be had."""
        self._fail(trial, reason)
        self._advance()

    def _fail(self, trial: Trial, reason: str) -> None:
        self.failures[trial.fingerprint] = reason
        self._write_failure(trial, reason, time.time())

    def _write_failure(self, trial: Trial, reason: str, when: float) -> None:
        told = self.told(trial)
        self.tracker.write_failure(trial.fingerprint, told, reason, when, self.reference)

    def _stop(self, trial: Trial, last: Settings) -> None:
        """Remember that it was tried, so that it is not tried again."""
        scheduler, epoch = self.sweep.definition.scheduler, last["epoch"]
        curves = {curve: last[curve] for curve in CURVES if curve in last}
        self.sweep.store.publish(
            STOPPED.name,
            trial.fingerprint,
            tensors={},
            spec=trial.spec.model_dump(mode="json"),
            made_from=trial.made_from,
            summary={"reason": f"stopped by {scheduler} after epoch {epoch}", "epoch": epoch}
            | curves,
            seconds=last.get("time_total_s", 0.0),
        )
        self.stopped(trial)

    def _advance(self) -> None:
        if self.phase:
            total = int(self.phase.total or 0)
            failed = len(self.failures) - self.before
            note = f"{total} trials" + (f", {failed} failed" if failed else "")
            self.phase.update(self.phase.done + 1, note=note)


def _list(sweep: Sweep, tracker: Tracker, lacking: Lacking, asked: Listed) -> dict[str, str]:
    """Returns why trials have no result."""
    endings = Endings(sweep, tracker, dict(axes(asked.trials)))
    _run(endings, "students", asked.trials, lacking)
    return endings.failures


def _references(
    sweep: Sweep, tracker: Tracker, lacking: Lacking, trials: Sequence[Trial], told: Sequence[str]
) -> None:
    """Train those that the store lacks, each to its end, in the ways of the students.

    One that fails is out of the race, and fails nothing else. `told`: what is told of the students.
    """
    settings = {trial.fingerprint: flat(trial.spec.model_dump(mode="json")) for trial in trials}
    kept = ["family", *(key for key in told if key != "family" and not key.startswith("circuit."))]
    endings = Endings(
        sweep,
        tracker,
        {
            name: {key: values[key] for key in kept if key in values}
            for name, values in settings.items()
        },
        reference=True,
    )
    _run(endings, "references", trials, lacking, "none")
    for name, why in endings.failures.items():
        if why not in map(str, lacking.values()):
            sweep.terminal.print(f"reference {name}, {endings.settings[name]['family']}: {why}")


def _run(
    endings: Endings,
    name: str,
    trials: Sequence[Trial],
    lacking: Lacking,
    scheduler: str | None = None,
) -> None:
    """Tell of what is held, run the others: what takes seconds by what it reads, so that no more
    than one set of arrays is there at once; what takes long side by side, so that no node waits.

    `scheduler`: another than the grid's.
    """
    sweep, missing = endings.sweep, list[Trial]()
    kinds = {STOPPED.name, *(trial.kind for trial in trials)}
    there = {kind: sweep.store.fingerprints(kind) for kind in kinds}
    for trial in trials:
        if why := reason(trial, lacking):
            endings.failed(trial, why)
        elif trial.fingerprint in there[trial.kind]:
            endings.done(trial)
        elif trial.held and trial.fingerprint in there[STOPPED.name]:
            endings.stopped(trial)
        else:
            missing.append(trial)
    if not missing:
        return
    sweep.session.connect()
    long = [trial for trial in missing if families.of(trial.spec).long]
    short = [trial for trial in missing if not families.of(trial.spec).long]
    for told, asked, parts in (
        (name, short, list(grouped(short).values())),
        (LONG, long, [long]),
    ):
        if asked:
            with endings.during(told, len(asked)):
                for members in parts:
                    # Without a name of its own, so that it is gone before the next one is read.
                    sweep.session.executor.run_list(_group(endings, members, scheduler), members)
                _settle(endings, asked)


def _search(
    sweep: Sweep, tracker: Tracker, lacking: Lacking, asked: Searched
) -> tuple[dict[str, str], list[Result]]:
    """One search for each base; everything in the store that lies in its space is its past.

    Returns why bases and trials have no result, and all that then lies in the space.
    """
    search, history, varied = asked.search, sweep.session.history, axes(asked.bases)
    endings, results = Endings(sweep, tracker, {}), list[Result]()
    for base in asked.bases:
        if why := reason(base, lacking):
            endings.failures[base.fingerprint] = why
            continue
        past = history.tried(search, base, sweep.definition.scheduler)
        endings.shared = varied[base.fingerprint]
        for result in past:
            tell = endings.stopped if result.trial.kind == STOPPED.name else endings.done
            tell(result.trial)
        missing = search.trials - len(past)
        if missing > 0:
            sweep.session.connect()
            name = LONG if families.of(base.spec).long else "students"
            with endings.during(name, missing) as phase:
                phase.note = ", ".join(f"{k}={v}" for k, v in endings.shared.items())
                group = _group(endings, [base])
                sweep.session.executor.run_search(group, search, base, past, missing)
                _settle(endings, [])
        results += history.in_space(search, base)
    return endings.failures, results


def _group(endings: Endings, trials: Sequence[Trial], scheduler: str | None = None) -> Group:
    """What those trials share."""
    sweep = endings.sweep
    definition = sweep.definition
    if scheduler:
        definition = definition.model_copy(update={"scheduler": scheduler})
    arrays = {
        sources: gather(sweep.store, dict(sources), sweep.dataset) for sources in grouped(trials)
    }
    return Group(definition, arrays, sweep.store, endings.ended, endings.failed)


def _settle(endings: Endings, asked: Sequence[Trial]) -> None:
    """Ask once more for what the store did not tell. Raises StoreError if it is still away."""
    for trial, last in endings.unread:
        endings.settle(trial, last)
    endings.unread.clear()
    store = endings.sweep.store
    known = store.fingerprints(STOPPED.name) | endings.failures.keys()
    for kind in {trial.kind for trial in asked}:
        known |= store.fingerprints(kind)
    for trial in asked:
        if trial.fingerprint not in known:
            endings.failed(trial, "it ended without a result or a reason; see the log")
