"""Ray: start it, run one job on it, train a teacher on its workers."""

import os
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote, urlencode

from orchestrator.console import Phase
from qdllm.errors import JobError, QdllmError

POLL = 0.2
"""Seconds between two looks at a job's progress."""

FAILURES = 2
PREEMPTIONS = 100
"""How often a teacher is started anew. Spot nodes go away often, and each time costs little."""


@contextmanager
def connect() -> Iterator[None]:
    """A local Ray with token authentication, bound to loopback.

    Ray reads these variables when it is imported or started, and its workers inherit them.
    """
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    if os.environ["RAY_AUTH_MODE"] == "token":
        # A token of this cluster's own, so that none is left in a file.
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(16))
    os.environ |= {
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # without it Ray listens on all interfaces
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "RAY_CHDIR_TO_TRIAL_DIR": "0",
        "RAY_AIR_NEW_OUTPUT": "0",
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "TUNE_DISABLE_SIGINT_HANDLER": "1",  # it ends fit() as if all trials were done
        "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    }
    import ray

    # Not Ray's own count, which overlooks a process that is bound to some of the CPUs.
    bound = getattr(os, "sched_getaffinity", None)
    cpus = len(bound(0)) if bound else os.cpu_count()
    ray.init(address="local", num_cpus=cpus, include_dashboard=False, log_to_driver=False)
    try:
        yield
    finally:
        ray.shutdown()


def run(job: Callable[..., Any], *arguments: Any, phase: Phase) -> Any:
    """Run `job(*arguments, progress=…)` on all CPUs of one node and return what it returns.

    The job calls `progress(phase, done, total, note)`. Raises what the job raises.
    """
    import ray

    @ray.remote(num_cpus=_cpus())
    def work(progress: Any, *arguments: Any) -> Any:
        return job(*arguments, progress=lambda *update: progress.put(update))

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
    *,
    name: str,
    workers: int | None,
    phase: Phase,
) -> None:
    """Run a train loop under Ray Train on `workers` workers; None: one per GPU, or else one.

    Checkpoints go to `checkpoints/` in the store that `config` names, under `name`, the result's
    fingerprint: the same name finds its own again. A worker that dies is started anew, at most
    `FAILURES` times; a node that its cloud takes away counts apart, at most `PREEMPTIONS` times.
    Raises the error that the loop returns, or JobError if training fails.
    """
    import ray
    from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
    from ray.train.backend import Backend
    from ray.train.torch import TorchConfig, TorchTrainer

    class Alone(TorchConfig):
        """Several workers meet at a port of the first; one alone makes its group in memory."""

        backend_cls = Backend

    gpus = int(ray.cluster_resources().get("GPU", 0))
    workers = workers or max(gpus, 1)
    with _progress(phase) as (queue, drain):
        trainer = TorchTrainer(
            loop,
            train_loop_config=config | {"progress": queue},
            torch_config=TorchConfig() if workers > 1 else Alone(),
            scaling_config=ScalingConfig(
                num_workers=workers,
                use_gpu=gpus > 0,
                resources_per_worker=None if gpus else {"CPU": max(1, _cpus() // workers)},
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
    if not uri.startswith("s3://") or not endpoint:
        return uri
    scheme, _, host = endpoint.partition("://")
    return f"{uri}?{urlencode({'endpoint_override': host.rstrip('/'), 'scheme': scheme})}"


def _cpus() -> int:
    """CPUs of the largest node: the most that one process can have."""
    import ray

    return max(int(node["Resources"].get("CPU", 0)) for node in ray.nodes())


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
    return JobError(f"{what}: {str(error).strip() or type(error).__name__}")
