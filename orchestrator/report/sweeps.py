"""What sweeps ask, as they are written down in the store, and what came of each.

What version 0.1 wrote is read here too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from jobs.kinds.probes import PROBES
from jobs.kinds.sweeps import SWEEPS
from jobs.kinds.trials import STOPPED
from jobs.store import Record, Store, parsed
from jobs.store.inventory import peek
from jobs.store.record import DamagedError
from orchestrator.grid import Grid, difference
from orchestrator.grid.space import Search
from orchestrator.plan import History, Job, Listed, Plan, Result, Searched, Trial
from orchestrator.plan.graph import digest, grouped, references
from orchestrator.plan.history import after_search, read_all
from orchestrator.plan.ranking import axes
from qdllm import families
from qdllm.errors import ConfigError
from qdllm.messages import shown, some
from qdllm.specs import TaskSpec
from qdllm.texts.data import SPLITS, Dataset


def publish_sweep(
    store: Store,
    definition: Grid,
    plan: Plan,
    dataset: Dataset,
    cuts: Sequence[Mapping[str, Any]] = (),
) -> str:
    """Write down what a sweep asks, so that a report needs neither grid nor texts.

    `cuts`: what of the texts is not read, by orchestrator.plan.reading.

    Returns its fingerprint: the plan's name; or another one, where the same trials were asked for
    under another name or of texts that lie elsewhere. One that stands there already is left as it
    is.
    """
    task = plan.task.model_dump(mode="json")
    told = {"grid": definition.name, "task": dataset.name, "task_spec": task}
    name, first = plan.name, store.record(SWEEPS.name, plan.name)
    # Version 0.1 wrote down a task's name alone.
    if first and told != {key: first.summary.get(key, told[key]) for key in told}:
        name = digest([plan.name, told])
    if store.has(SWEEPS.name, name):
        return name
    asked = plan.sweep
    listed, searched = isinstance(asked, Listed), isinstance(asked, Searched)
    store.publish(
        SWEEPS.name,
        name,
        tensors={f"{split}.labels": getattr(dataset, split).labels_N for split in SPLITS},
        spec=definition.model_dump(mode="json"),
        made_from={"texts": dataset.digest},
        summary={
            **told,
            "texts": dataset.describe(),
            "classes": list(dataset.classes),
            "rows": dict(zip(SPLITS, dataset.sizes, strict=True)),
            "cuts": list(cuts),
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
    return name


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
    try:
        alike = [one for one in records if isinstance(one, Record) and name_of(one) == name]
        if not alike:
            return []
        last = max(alike, key=lambda one: one.created)
        lines = difference(parsed(last, Grid.parse), definition)
        if last.made_from["texts"] != dataset.digest:
            lines.insert(0, f"texts: {last.summary['texts']} → {dataset.describe()}")
    except DamagedError:
        return []  # such as another version's grid
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
    named = [one for one in sweeps if name in (one.fingerprint, name_of(one))]
    meant = named[-1:] or [one for one in sweeps if name and one.fingerprint.startswith(name)]
    if len(meant) == 1:
        return meant[0]
    known = some(f"{name_of(one)} ({one.fingerprint})" for one in reversed(sweeps))
    given = shown(name)
    what = f"{given} may be any of {len(meant)} sweeps" if meant else f"unknown sweep {given}"
    raise ConfigError(f"{what}; give a name or a fingerprint. There are: {known}")


def asked(
    history: History, sweep: Record
) -> tuple[dict[str, dict[str, Any]], list[Result], list[Record]]:
    """The settings of all trials, the finished ones, and what stands beside them."""
    if sweep.summary["bases"]:
        search = parsed(sweep, lambda spec: Search.parse(spec["search"]))
        bases: list[Trial] = []
        for name, made_from, plain in sweep.summary["bases"]:
            spec = parsed(sweep, families.parse, plain)
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
    return settings, _of_its_texts(sweep, results), records or _probes(history, sweep)


def _of_its_texts(sweep: Record, results: Sequence[Result]) -> list[Result]:
    """Results as this sweep asks for them: when they were trained, their texts may have had another
    name, and have lain elsewhere.
    """
    if "task_spec" not in sweep.summary:
        return list(results)
    task = {"task": parsed(sweep, TaskSpec.parse, sweep.summary["task_spec"])}
    trials = (replace(one.trial, spec=one.trial.spec.model_copy(update=task)) for one in results)
    return [Result(trial, one.record) for trial, one in zip(trials, results, strict=True)]


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
    kind = {name: parsed(sweep, families.family, named[name]).kind for name in settings}
    finished = {
        one.trial.fingerprint: one
        for each in dict.fromkeys(kind.values())
        for one in history.results(each, [name for name in settings if kind[name] == each])
    }
    return [finished[name] for name in settings if name in finished]


def sources(sweep: Record) -> list[tuple[str, str]]:
    """Kinds and fingerprints of what the trials were made from."""
    summary = sweep.summary
    if "sources" in summary:
        return [(kind, name) for kind, name in summary["sources"]]
    # As version 0.1 wrote it.
    lists = (("features", summary["features"]), ("soft-labels", summary["teachers"]))
    return [(kind, name) for kind, names in lists for name in names]


def _sources_of(made_from: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(made_from.items()))


def name_of(sweep: Record) -> str:
    """What it is called: its grid and its task."""
    return f"{sweep.summary['grid']}-{sweep.summary['task']}"
