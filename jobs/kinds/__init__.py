"""Kinds of result, one file each: what plans, workers, stores and reports loop over. Torch-free.

A file's `KINDS` are its kinds. A package of one's own names its module as an entry point:

    [project.entry-points."jobs.kinds"]
    mine = "my_package.my_kind"
"""

import json
from collections.abc import Callable
from functools import cache
from typing import Any

from jobs.kinds.job import Job, task_key
from jobs.kinds.kind import Kind, Load, Source
from qdllm.errors import ConfigError, nearest
from qdllm.messages import shown
from qdllm.plugins import modules, named_once
from qdllm.spec import Spec
from qdllm.specs import TaskSpec

__all__ = [
    "Job",
    "Kind",
    "Load",
    "Source",
    "by_role",
    "evaluation",
    "kind",
    "kinds",
    "named",
    "read",
    "task_key",
    "written",
]


@cache
def kinds() -> dict[str, Kind]:
    """Every kind by its name."""
    found = modules(__name__, __path__, "KINDS")
    return named_once("kind", (each for module in found for each in module.KINDS))


def kind(name: str) -> Kind:
    """The kind of that name. Raises ConfigError where there is none."""
    if name not in kinds():
        raise ConfigError(_unknown(f"kind {name!r}"))
    return kinds()[name]


@cache
def by_role(role: str) -> Kind:
    """The kind whose results others are made from under that role.

    Raises ConfigError where there is none.
    """
    for each in kinds().values():
        if each.role == role:
            return each
    raise ConfigError(_unknown(f"a kind that is read as {role!r}"))


def _unknown(what: str) -> str:
    return (
        f"nothing here declares {what}; install the package that does, as an entry point of "
        f"jobs.kinds. There are: {', '.join(kinds())}"
    )


def evaluation(name: str) -> tuple[Kind, Spec]:
    """What a name means that a grid has among its `evaluations`.

    Raises ConfigError, naming those that there are, where it means nothing.
    """
    for each in kinds().values():
        spec = each.evaluation(name)
        if spec is not None:
            return each, spec
    offered = [name for each in kinds().values() for name in each.offers]
    raise ConfigError(
        f"unknown evaluation {shown(name)}{nearest(name, offered) or '.'} There are: "
        f"{', '.join(offered)}"
    )


def named(
    name: str,
    spec: Spec,
    task: TaskSpec,
    texts: str,
    seen: Callable[[Job[Any]], object] = lambda job: None,
) -> Job[Any]:
    """The result of that kind and spec, for a task whose texts have the digest `texts`.

    `seen` is called with it after all that it is made from. Raises ConfigError for a model that
    cannot be had.
    """
    what = kind(name)
    made_from = {"task": task_key(task, texts)} if what.of_texts else {}
    for role, (source, source_spec) in what.needs(spec).items():
        made_from[role] = named(source, source_spec, task, texts, seen).fingerprint
    job = Job.of(name, spec, {**made_from, **what.digests(spec)})
    seen(job)
    return job


def written(job: Job[Any]) -> str:
    """A job as text, which a worker reads alone, without all that a plan has beside it."""
    spec, made_from = job.spec.model_dump(mode="json"), dict(job.made_from)
    parts = {"fingerprint": job.fingerprint, "spec": spec, "made_from": made_from}
    return json.dumps({"kind": job.kind, **parts})


def read(text: str) -> Job[Any]:
    """The job that `written` wrote."""
    parts = json.loads(text)
    spec = kind(parts["kind"]).spec
    assert spec, "no job is of a kind without a spec"
    return Job(parts["kind"], parts["fingerprint"], spec.parse(parts["spec"]), parts["made_from"])
