"""Ray: start it, run one job on it, train a teacher on its workers."""

import importlib
import os
import secrets
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote, unquote, urlencode

from orchestrator.cluster import capacity
from orchestrator.cluster.liveness import Place, watched
from orchestrator.cluster.nodes import TEACHER
from orchestrator.console import Phase
from qdllm.errors import ConfigError, JobError, QdllmError
from qdllm.texts.data import Dataset

POLL = 0.2
"""Seconds between two looks at a job's progress."""

FAILURES = 2
PREEMPTIONS = 100
"""How often a teacher is started anew. Spot nodes go away often, and each time costs little."""

SILENCE = 2.0
"""Seconds after which a part of Ray on this machine counts as dead: it would not come back."""
RECONNECT = "RAY_gcs_rpc_server_reconnect_timeout_s"
"""Ray's setting for how long it waits for a head that is gone."""


@contextmanager
def connect(
    address: str = "local", lost: Callable[[str], None] = lambda place: None
) -> Iterator[Callable[[], str]]:
    """A local Ray, which ends with the block; or the cluster at `address`, which stays.

    `address`: host:port of a cluster's head, `auto` on one of its nodes, or `local`.
    The local one has token authentication and is bound to loopback; a cluster's token comes from
    the environment, as Ray itself has it. Calls `lost`, from another thread, when Ray has died.
    Gives a function that tells a cluster's nodes and hours so far, and nothing of a local Ray.
    Raises ConfigError if there is no such cluster.
    """
    # Ray reads these when it is imported or started, and its workers inherit them.
    os.environ |= {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "RAY_CHDIR_TO_TRIAL_DIR": "0",
        "RAY_AIR_NEW_OUTPUT": "0",
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "TUNE_DISABLE_SIGINT_HANDLER": "1",  # it ends fit() as if all trials were done
        "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    }
    if address == "local":
        _start()
        patience = SILENCE
    else:
        _join(address)
        # A cluster's head may come back before Ray gives it up.
        patience = 0.8 * float(os.environ.get(RECONNECT, "60"))
    import ray

    try:
        with watched(_places(patience), lost):
            if address == "local":
                yield lambda: ""
            else:
                with capacity.metered() as meter:
                    yield meter.line
    finally:
        ray.shutdown()


def place(address: str) -> tuple[str, int | None]:
    """Where `connect` would go, in words, and its CPUs; None of a cluster, which is not asked."""
    cpus = _own_cpus()
    if address != "local":
        return f"the cluster at {address}", None
    return f"a Ray of its own on this machine, {cpus} CPU{'s' * (cpus > 1)}", cpus


def _own_cpus() -> int:
    """CPUs that this process may use; Ray overlooks that it may be bound to some of them."""
    bound = getattr(os, "sched_getaffinity", None)
    return len(bound(0)) if bound else os.cpu_count() or 1


def _start() -> None:
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    if os.environ["RAY_AUTH_MODE"] == "token":
        # A token of this cluster's own, so that none is left in a file.
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(16))
    # Without it Ray listens on all interfaces.
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    import ray

    ray.init(address="local", num_cpus=_own_cpus(), include_dashboard=False, log_to_driver=False)


def _join(address: str) -> None:
    import ray

    host, _, port = address.rpartition(":")
    try:
        if address != "auto":
            if not port.isdigit() or "://" in host:
                raise ValueError("it is no host:port")
            # Ray itself would try for minutes.
            socket.create_connection((host, int(port)), timeout=10).close()
        ray.init(address=address, log_to_driver=False)
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ConfigError(
            f"no cluster can be used at {address} ({reason}): --address or RAY_ADDRESS name the "
            "host:port of a cluster's head, or auto, on one of its nodes, with RAY_AUTH_MODE=token "
            "and its token set if it wants one; without an address a sweep has a Ray of its own"
        ) from None


def _places(patience: float) -> list[Place]:
    """Ray's head and its part on this machine: without either, Ray ends the process silently."""
    import ray

    context = ray.get_runtime_context()
    host, _, port = context.gcs_address.rpartition(":")
    node = next(one for one in ray.nodes() if one["NodeID"] == context.get_node_id())
    return [
        Place("Ray's head", host, int(port), patience),
        Place("Ray on this machine", node["NodeManagerAddress"], node["NodeManagerPort"], SILENCE),
    ]


def run(job: str, *arguments: Any, phase: Phase) -> Any:
    """Run a job's `run(*arguments, progress=…)` on all CPUs of one node, return what it returns.

    `job`: its module, which the worker alone imports. The job calls `progress(phase, done, total,
    note)`. Raises what the job raises.
    """
    import ray

    @ray.remote(num_cpus=max(1, capacity.largest("CPU")))
    def work(progress: Any, *arguments: Any) -> Any:
        module = importlib.import_module(job)
        return module.run(*arguments, progress=lambda *update: progress.put(update))

    with _progress(phase) as (queue, drain):
        result = work.remote(queue, *arguments)
        while not ray.wait([result], timeout=POLL)[0]:
            drain()
        drain()
    try:
        return ray.get(result)
    except ray.exceptions.RayError as error:
        raise _ours(error, f"the {phase.name} job failed") from error


def train(
    loop: Callable[[dict[str, Any]], QdllmError | None],
    config: dict[str, Any],
    dataset: Dataset,
    *,
    name: str,
    workers: int | None,
    phase: Phase,
) -> None:
    """Run a train loop under Ray Train on `workers` workers; None: one per GPU, or else one.

    Every node gets the texts from here: their files may lie on this one alone. Checkpoints go to
    `checkpoints/` in the store that `config` names, under `name`, the result's fingerprint: the
    same name finds its own again. A worker that dies is started anew, at most `FAILURES` times; a
    node that its cloud takes away counts apart, at most `PREEMPTIONS` times.

    A worker asks for a GPU where there are some, or where the autoscaler can start some: one
    node's, if none is up; else for a node that is for teachers, if there is one; else for cores.
    Raises the error that the loop returns, or JobError if training fails.
    """
    import ray
    from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
    from ray.train.backend import Backend
    from ray.train.torch import TorchConfig, TorchTrainer

    class Alone(TorchConfig):
        """Several workers meet at a port of the first; one alone makes its group in memory."""

        backend_cls = Backend

    gpus, own = capacity.total("GPU"), capacity.total(TEACHER)
    workers = workers or max(gpus, 1)
    # A node for teachers may offer no core, so that no student keeps it from ending.
    share: dict[str, float] = {"GPU": 1} if gpus else {TEACHER: own / workers} if own else {}
    if not share:
        share = {"CPU": max(1, capacity.largest("CPU") // workers)}
    with _progress(phase) as (queue, drain):
        trainer = TorchTrainer(
            loop,
            train_loop_config=config | {"dataset": ray.put(dataset), "progress": queue},
            torch_config=TorchConfig() if workers > 1 else Alone(),
            scaling_config=ScalingConfig(
                num_workers=workers,
                use_gpu=gpus > 0,
                resources_per_worker=share,
            ),
            run_config=RunConfig(
                name=name,
                storage_path=_address(config["store"] + "/checkpoints"),
                failure_config=FailureConfig(
                    max_failures=FAILURES, max_preemption_failures=PREEMPTIONS
                ),
                checkpoint_config=CheckpointConfig(num_to_keep=1),
            ),
        )
        endings: list[Any] = []

        def fit() -> None:
            try:
                endings.append(trainer.fit().return_value)
            except Exception as error:  # handed to the caller's thread
                endings.append(_ours(error, "the teacher could not be trained"))

        thread = threading.Thread(target=fit, name="teacher", daemon=True)
        thread.start()
        while thread.is_alive():
            thread.join(POLL)
            drain()
    if endings[0] is not None:
        raise endings[0]


def _address(uri: str) -> str:
    """A store's address as Ray's file systems want it: a path, or S3 with its endpoint inside."""
    if uri.startswith("file://"):
        return unquote(uri.removeprefix("file://"))
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if uri.startswith("s3://"):
        uri = f"s3://{quote(uri.removeprefix('s3://'))}"
        if endpoint:
            scheme, _, host = endpoint.partition("://")
            uri += f"?{urlencode({'endpoint_override': host.rstrip('/'), 'scheme': scheme})}"
    return uri


@contextmanager
def _progress(phase: Phase) -> Iterator[tuple[Any, Callable[[], None]]]:
    """A queue for workers' (phase, done, total, note), and a function that shows the newest."""
    import ray
    from ray.util.queue import Queue
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    # Beside the driver: a queue on a node that is taken away would take the driver with it.
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    queue = Queue(actor_options={"num_cpus": 0, "scheduling_strategy": here})

    def drain() -> None:
        waiting = queue.qsize()
        if waiting:
            _, done, total, note = queue.get_nowait_batch(waiting)[-1]
            phase.update(done, total, note)

    try:
        yield queue, drain
    finally:
        queue.shutdown()


def _ours(error: BaseException, what: str) -> QdllmError:
    """The error of ours that a worker raised, out of all that Ray wraps around it, or a new one."""
    failures = getattr(error, "worker_failures", None)
    inner = next(iter(failures.values())) if failures else getattr(error, "cause", None)
    if isinstance(inner, BaseException):
        return _ours(inner, what)
    if isinstance(error, QdllmError):
        return error
    # Ray's text has the worker's whole traceback in front.
    *_, reason = [type(error).__name__, *filter(None, map(str.strip, str(error).splitlines()))]
    return JobError(f"{what}: {reason}")
