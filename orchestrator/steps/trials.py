"""Step 4: the students. What is held is told, what is missing is run, by list or by search."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from jobs.fingerprints import STOPPED, STUDENTS
from orchestrator.console import Phase
from orchestrator.grid.measures import CURVES
from orchestrator.grid.space import Search, point
from orchestrator.plan import Trial
from orchestrator.plan.history import in_space, references, tried
from orchestrator.plan.ranking import Result, axes
from orchestrator.steps.inputs import Sweep
from qdllm.errors import StoreError

if TYPE_CHECKING:
    from orchestrator.tracking import Tracker


@dataclass
class Ended:
    """Hears of each trial's end, tells MLflow, and remembers what went wrong."""

    sweep: Sweep
    tracker: "Tracker"
    settings: Mapping[str, Mapping[str, Any]]
    """The swept settings of each trial that is known beforehand, by fingerprint."""
    common: Mapping[str, Any] = field(default_factory=dict)
    """What a search's base has that other bases have not."""
    phase: Phase | None = None
    failures: dict[str, str] = field(default_factory=dict)
    """Why trials have no result, by fingerprint; those that a scheduler stopped are not here."""
    unread: list[tuple[Trial, Mapping[str, Any]]] = field(default_factory=list)
    """Trials that ended while the store was away, with their last reports."""

    def told(self, trial: Trial) -> Mapping[str, Any]:
        """A trial's swept settings."""
        trials = self.sweep.definition.search
        if trials:
            return {**self.common, **point(trials, trial.spec)}
        return self.settings[trial.fingerprint]

    def done(self, trial: Trial) -> None:
        """Its record is in the store; MLflow is told, unless it knows."""
        if not self.tracker.finished(trial.fingerprint):
            record, tensors = self.sweep.store.load(trial.kind, trial.fingerprint)
            self.tracker.write_trial(Result(trial, record), self.told(trial), tensors)

    def stopped(self, trial: Trial) -> None:
        """A scheduler has ended it, in this run or an earlier one; MLflow is told."""
        record = self.sweep.store.record(STOPPED, trial.fingerprint)
        assert record is not None, "whoever calls this has seen it"
        reason = record.summary["reason"]
        self.tracker.write_failure(trial.fingerprint, self.told(trial), reason, record.created)

    def ended(self, trial: Trial, last: Mapping[str, Any]) -> None:
        """It ended by itself or by the scheduler; `last` is its last report."""
        try:
            self.settle(trial, last)
        except StoreError:
            # Away for a while: training goes on, and this is tried again at the end.
            self.unread.append((trial, last))
        self._advance()

    def settle(self, trial: Trial, last: Mapping[str, Any]) -> None:
        """Tell what became of it. Raises StoreError where the store does not answer."""
        if "failed" in last:
            self._fail(trial, last["failed"])
        elif self.sweep.store.has(trial.kind, trial.fingerprint):
            self.done(trial)
        else:
            self._stop(trial, last)

    def failed(self, trial: Trial, reason: str) -> None:
        """It cannot be had."""
        self._fail(trial, reason)
        self._advance()

    def _fail(self, trial: Trial, reason: str) -> None:
        self.failures[trial.fingerprint] = reason
        self.tracker.write_failure(trial.fingerprint, self.told(trial), reason, time.time())

    def _stop(self, trial: Trial, last: Mapping[str, Any]) -> None:
        """Remember that it was tried, so that it is not tried again."""
        scheduler, epoch = self.sweep.definition.scheduler, last["epoch"]
        curves = {curve: last[curve] for curve in CURVES}
        self.sweep.store.publish(
            STOPPED,
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
            note = f"{total} trials" + (f", {len(self.failures)} failed" if self.failures else "")
            self.phase.update(self.phase.done + 1, note=note)


def train(
    sweep: Sweep, tracker: "Tracker", lacking: Mapping[str, str]
) -> tuple[Sweep, dict[str, str]]:
    """Run what is missing. Returns the sweep with all its trials, and why some have no result.

    A list of trials is what it was; a search's are known only now, with the references beside them.
    `lacking`: why teachers gave no soft labels, by fingerprint.
    """
    if sweep.definition.search:
        return _search(sweep, sweep.definition.search, tracker, lacking)
    ended = Ended(sweep, tracker, axes(sweep.plan.trials))
    finished = sweep.store.fingerprints(STUDENTS)
    groups: dict[tuple[str, str], list[Trial]] = {}
    for trial in sweep.plan.trials:
        if trial.made_from["soft_labels"] in lacking:
            ended.failed(trial, lacking[trial.made_from["soft_labels"]])
        elif not trial.held:
            key = trial.made_from["features"], trial.made_from["soft_labels"]
            groups.setdefault(key, []).append(trial)
        elif trial.fingerprint in finished:
            ended.done(trial)
        else:
            ended.stopped(trial)
    missing = [trial for trials in groups.values() for trial in trials]
    if missing:
        sweep.connect()  # before Ray is imported, which reads its environment then
        from orchestrator.tune import tuner

        with sweep.terminal.phase("students", len(missing)) as ended.phase:
            for trials in groups.values():
                tuner.run_list(_runner(sweep, trials[0], ended), trials)
            _settle(ended, missing)
    return sweep, ended.failures


def _search(
    sweep: Sweep, asked: Search, tracker: "Tracker", lacking: Mapping[str, str]
) -> tuple[Sweep, dict[str, str]]:
    """One search for each base; everything in the store that lies in its space is its past."""
    varied = axes(sweep.plan.bases)
    ended = Ended(sweep, tracker, {})
    found: list[Result] = []
    for base in sweep.plan.bases:
        if base.made_from["soft_labels"] in lacking:
            ended.failures[base.fingerprint] = lacking[base.made_from["soft_labels"]]
            continue
        past = tried(sweep.store, asked, base, sweep.definition.scheduler)
        ended.common = varied[base.fingerprint]
        for result in past:
            tell = ended.stopped if result.trial.kind == STOPPED else ended.done
            tell(result.trial)
        missing = asked.trials - len(past)
        if missing > 0:
            sweep.connect()  # before Ray is imported, which reads its environment then
            from orchestrator.tune import tuner

            with sweep.terminal.phase("students", missing) as ended.phase:
                ended.phase.note = ", ".join(f"{k}={v}" for k, v in ended.common.items())
                runner = _runner(sweep, base, ended)
                tuner.run_search(runner, asked, base, past, missing)
                _settle(ended, [])
        found += in_space(sweep.store, asked, base)
    known = replace(
        sweep.plan,
        trials=tuple(one.trial for one in found),
        probes=references(sweep.store, found),
    )
    return replace(sweep, plan=known), ended.failures


def _runner(sweep: Sweep, trial: Trial, ended: Ended) -> Any:
    """What the trials that read the same features and soft labels share."""
    from jobs.inputs import gather
    from orchestrator.tune.tuner import Runner

    arrays = gather(sweep.store, **trial.made_from, dataset=sweep.dataset)
    return Runner(sweep.definition, arrays, sweep.store, sweep.home, ended.ended, ended.failed)


def _settle(ended: Ended, asked: list[Trial]) -> None:
    """Ask once more for what the store did not tell. Raises StoreError if it is still away."""
    for trial, last in ended.unread:
        ended.settle(trial, last)
    ended.unread.clear()
    known = ended.sweep.store.fingerprints(STUDENTS) | ended.sweep.store.fingerprints(STOPPED)
    for trial in asked:
        if trial.fingerprint not in known | ended.failures.keys():
            ended.failed(trial, "it ended without a result or a reason; see the log")
