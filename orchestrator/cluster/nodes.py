"""The nodes of a cluster: of which types they are, and whether each can do its work."""

import secrets
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, NamedTuple

from jobs.store import Store
from jobs.store.inventory import CHECKS
from orchestrator.cluster import checks
from orchestrator.cluster.checks import Diagnosis
from qdllm.addresses import without_secrets
from qdllm.errors import ConfigError, StoreError

DRIVER = "driver"
WORK = ("teacher", "student", "body")
"""What trains: a teacher, a small head, and what takes long."""
TEACHER = "gpu_teacher"
"""The resource of nodes that are for teachers, as cluster.yaml has them."""
START = 600.0
"""Seconds that an autoscaler gets to start a node, and its setup commands to run."""
ANSWER = 2 * checks.PATIENCE
"""Seconds that a node gets for its checks."""
RETRIES = 2
"""How often a node is asked again whose worker died over the question."""
POLL = 1.0
HEAD = "node:__internal_head__"
GROUP = "ray.io/node-group"
"""The label in which autoscalers name a node's type: the launcher's version 2, and KubeRay's."""


class Node(NamedTuple):
    """One that is alive. `resources`: Ray's, by name."""

    id: str
    kind: str
    host: str
    resources: Mapping[str, float]


def before(store: Store, ray: str, work: Collection[str], say: Callable[[str], None]) -> None:
    """The checks that a sweep runs first, once Ray is connected; of MLflow it asks itself.

    `ray`: `local`, or a cluster's address. `work`: of WORK, what is missing. A node type that
    would do it and has no node gets one; `say` is told while that takes its minutes.
    Raises ConfigError with a line for each failure.
    """
    # What can differ between machines cannot on one; but the store may still be full, or closed.
    diagnoses = {DRIVER: [checks.store(store.uri, "", DRIVER)]} if ray == "local" else {}
    refuse(diagnoses or examine(store, ray, work, say))


def refuse(diagnoses: Mapping[str, Iterable[Diagnosis]]) -> None:
    """Raise ConfigError, with a line for each failure, where there is one."""
    failed = failures(diagnoses)
    if failed:
        raise ConfigError("this sweep cannot run as it is:\n" + "\n".join(failed))


def failures(diagnoses: Mapping[str, Iterable[Diagnosis]]) -> list[str]:
    """One line for each diagnosis that is not well: where, what, and what to do."""
    return [
        f"{kind}: {diagnosis.name}: {'; '.join(filter(None, [diagnosis.seen, diagnosis.remedy]))}"
        for kind, of_kind in diagnoses.items()
        for diagnosis in of_kind
        if not diagnosis.ok
    ]


def examine(
    store: Store, ray: str, work: Collection[str], say: Callable[[str], None]
) -> dict[str, list[Diagnosis]]:
    """What the driver and each node type say of themselves, by type; arguments as for `before`.

    Of each type one node is asked everything, and every other one for its store and its clock.
    """
    nodes = _alive(ray)
    types = {node.kind: node.resources for node in nodes}
    absent = {kind: of.resources for kind, of in _offered(nodes).items() if kind not in types}
    duties = _duties(types | absent)
    diagnoses: dict[str, list[Diagnosis]] = {DRIVER: []}
    wanted = {kind: of for kind, of in absent.items() if duties[kind] & set(work)}
    missing = _start(wanted, say)
    if wanted:
        nodes = _alive(ray)
    here = checks.versions()
    token, written = _write(store)
    diagnoses[DRIVER] += [written, *checks.same(checks.EVERYWHERE, here, here)]
    try:
        say(f"asking {len(nodes)} node{'s' * (len(nodes) > 1)}")
        answered = list(_ask(nodes, duties, work, store, token, here))
        left = {node.id: node.kind for node in _alive(ray)}
        for node, answers in answered:
            if node.id not in left and node.kind in left.values():
                continue  # it has died since; others of its type do its work
            several = sum(other.kind == node.kind for other in nodes) > 1
            diagnoses.setdefault(node.kind, []).extend(
                answer._replace(seen=f"{node.host}: {answer.seen}")
                if several and not answer.ok
                else answer
                for answer in answers
            )
    finally:
        if token:
            store.clear(f"{CHECKS}/{token}")
    return diagnoses | {kind: [why] for kind, why in missing.items()}


def _alive(ray: str) -> list[Node]:
    import ray as library

    nodes = [
        Node(
            node["NodeID"],
            "this machine" if ray == "local" else _kind(node),
            node["NodeManagerAddress"],
            node["Resources"],
        )
        for node in library.nodes()
        if node["Alive"]
    ]
    return sorted(nodes, key=lambda node: (HEAD not in node.resources, node.kind))


def _kind(node: Mapping[str, Any]) -> str:
    """A node's type: a resource of its own with the type's name, or what its autoscaler says."""
    common = {"CPU", "GPU", "memory", "object_store_memory"}
    own = sorted(name for name in node["Resources"] if name not in common and ":" not in name)
    group = node["Labels"].get(GROUP)
    # A launcher of the user's own machines knows one type only, the head's and the others' alike.
    if own and group not in own:
        return own[0]
    return group or ("head" if HEAD in node["Resources"] else "worker")


def startable() -> dict[str, checks.Offer]:
    """What an autoscaler may start, by node type."""
    return _offered(_alive("a cluster"))


def _offered(nodes: Iterable[Node]) -> dict[str, checks.Offer]:
    import ray

    context = ray.get_runtime_context()
    for node in nodes:
        if HEAD in node.resources:
            if node.id == context.get_node_id():
                return checks.offered(context.gcs_address)  # without waiting for a worker
            said = _result(_call(node, checks.offered, context.gcs_address))
            # A head that does not answer will be found out when it is asked for its store.
            return {} if isinstance(said, Diagnosis) else said
    return {}


def _duties(types: Mapping[str, Mapping[str, float]]) -> dict[str, set[str]]:
    """The work that each type would get, as `orchestrator.cluster` and Tune ask for it."""
    gpu, own, cpu = (
        {kind for kind, resources in types.items() if resources.get(name)}
        for name in ("GPU", TEACHER, "CPU")
    )
    duties: dict[str, set[str]] = {kind: set() for kind in types}
    plain = cpu - gpu - own or cpu
    for work, kinds in zip(WORK, (gpu or own or cpu, plain, gpu or plain), strict=True):
        for kind in kinds:
            duties[kind].add(work)
    return duties


def _start(
    types: Mapping[str, Mapping[str, float]], say: Callable[[str], None]
) -> dict[str, Diagnosis]:
    """Have a node of each type. Returns why there is none, by type."""
    import ray

    waiting = {
        _run(checks.now, resources={kind: 0.001}): kind
        for kind, resources in types.items()
        if kind in resources
    }
    missing = {
        kind: Diagnosis(
            "a node",
            False,
            "there is none, and none of its own can be asked for",
            f"give the type a resource of its own name, {kind}: 1, in the cluster's file",
        )
        for kind in types.keys() - waiting.values()
    }
    until = time.monotonic() + START
    while waiting and time.monotonic() < until:
        left = until - time.monotonic()
        say(f"waiting up to {left:.0f} s for a node of type {', '.join(waiting.values())}")
        for done in ray.wait(list(waiting), num_returns=len(waiting), timeout=POLL)[0]:
            waiting.pop(done)
    for request, kind in waiting.items():
        ray.cancel(request)
        missing[kind] = Diagnosis(
            "a node",
            False,
            f"none has come in {START / 60:.0f} minutes",
            "see ray status and the head's monitor.log: quota, instance type, setup commands",
        )
    return missing


def _write(store: Store) -> tuple[str, Diagnosis]:
    """What all nodes are to read in the store, empty where the driver cannot write it."""
    token, diagnosis = secrets.token_hex(8), checks.store(store.uri, "", DRIVER)
    if diagnosis.ok:
        try:
            store.put(f"{CHECKS}/{token}/driver", token)
            return token, diagnosis
        except StoreError as error:
            diagnosis = diagnosis._replace(ok=False, seen=str(error), remedy="see what it says")
    return "", diagnosis


def _ask(
    nodes: Iterable[Node],
    duties: Mapping[str, set[str]],
    work: Collection[str],
    store: Store,
    token: str,
    here: Mapping[str, str],
) -> Iterable[tuple[Node, list[Diagnosis]]]:
    """Each node's diagnoses; all are asked at once."""
    asked, answers = set[str](), []
    for node in nodes:
        duty = duties.get(node.kind, set()) & set(work) if node.kind not in asked else set()
        teacher, gpus = "teacher" in duty, int(node.resources.get("GPU", 0)) if duty else 0
        arguments = (store.uri, token, node.id, gpus, teacher)
        answers.append((node, duty, _call(node, checks.node, *arguments)))
        asked.add(node.kind)
    for node, duty, answer in answers:
        said = _result(answer)
        if isinstance(said, Diagnosis):
            yield node, [said]
            continue
        names = dict.fromkeys(
            checks.EVERYWHERE + checks.STUDENTS * bool(duty) + checks.TEACHERS * ("teacher" in duty)
        )
        began = time.time()
        there = _result(_call(node, checks.now))
        ended = time.time()
        clock = there if isinstance(there, Diagnosis) else checks.clock(began, there, ended)
        versions = checks.same(tuple(names), said["versions"], here)
        yield node, [*said["diagnoses"], clock, *versions]


def _call(node: Node, function: Callable[..., Any], *arguments: Any) -> Any:
    """Have a node run a function, beside whatever it is doing; see `_result`."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    there = NodeAffinitySchedulingStrategy(node.id, soft=False)
    return _run(function, *arguments, scheduling_strategy=there)


def _run(function: Callable[..., Any], *arguments: Any, **where: Any) -> Any:
    import ray
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(checks)
    try:
        return ray.remote(num_cpus=0, max_retries=RETRIES, **where)(function).remote(*arguments)
    finally:
        cloudpickle.unregister_pickle_by_value(checks)


def _result(answer: Any) -> Any:
    """What the function returned, or the diagnosis that it could not be asked."""
    import ray

    try:
        return ray.get(answer, timeout=ANSWER)
    except ray.exceptions.RayError as error:
        reason = without_secrets((str(error).strip().splitlines() or [type(error).__name__])[-1])
        return Diagnosis(
            "a node", False, f"no answer: {reason}", "see ray status and its raylet.out"
        )
