"""Jobs on Ray: one on a node, or one on the workers of Ray Train."""

import importlib
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from jobs import kinds
from jobs.command import Progress
from jobs.kinds import Job
from jobs.store import Store
from jobs.store.patient import PatientStore
from orchestrator.cluster import capacity
from orchestrator.cluster.nodes import TEACHER
from orchestrator.console import Phase
from qdllm.errors import JobError, QdllmError
from qdllm.texts.data import Dataset

POLL = 0.2
"""Seconds between two looks at a job's progress."""

FAILURES = 2
PREEMPTIONS = 100
"""How often a teacher is started anew. Spot nodes go away often, and each time costs little."""


def run(job: Job[Any], dataset: Dataset, store: Store, phase: Phase) -> None:
    """Have a job made, by its kind's `run`, on all CPUs of one node.

    The maker's module is imported by the worker alone. Raises what the maker raises.
    """
    import ray

    @ray.remote(num_cpus=max(1, capacity.largest("CPU")))
    def work(progress: Progress, maker: str, *arguments: Any) -> None:
        importlib.import_module(maker).run(*arguments, progress=progress)

    try:
        with _progress(phase) as (tell, drain):
            maker, kept = kinds.kind(job.kind).maker, PatientStore(store.uri)
            result = work.remote(tell, maker, job, dataset, kept)
            while not ray.wait([result], timeout=POLL)[0]:
                drain()
            drain()
        ray.get(result)
    except ray.exceptions.RayError as error:
        raise _ours(error, f"the {phase.name} job failed") from error


def train(job: Job[Any], dataset: Dataset, store: Store, phase: Phase, workers: int | None) -> None:
    """Have a job made, by its kind's `train_loop`, on `workers` workers of Ray Train.

    None: one per GPU, or else one. Every node gets the texts from here: their files may lie on this
    one alone. A worker that dies is started anew, at most `FAILURES` times; a node that its cloud
    takes away counts apart, at most `PREEMPTIONS` times. It goes on from the loop's own checkpoints
    in the store: Ray gets none, whose list of them would be believed by whoever reads it, and so it
    has nothing to keep but an empty folder here.

    A worker asks for a GPU where there are some, or where the autoscaler can start some: one
    node's, if none is up; else for a node that is for teachers, if there is one; else for cores.
    Raises the error that the loop returns, or JobError if training fails.
    """
    import ray
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.backend import Backend
    from ray.train.torch import TorchConfig, TorchTrainer

    maker = kinds.kind(job.kind).maker

    def loop(config: dict[str, Any]) -> QdllmError | None:
        if share.keys() == {TEACHER}:
            _take_cores(ray.train.get_context().get_local_world_size())
        ending: QdllmError | None = importlib.import_module(maker).train_loop(config)
        return ending

    class Alone(TorchConfig):
        """Several workers meet at a port of the first; one alone makes its group in memory."""

        backend_cls = Backend

    gpus, own = capacity.total("GPU"), capacity.total(TEACHER)
    workers = workers or max(gpus, 1)
    # A node for teachers may offer no core, so that no student keeps it from ending.
    share: dict[str, float] = {"GPU": 1} if gpus else {TEACHER: own / workers} if own else {}
    if not share:
        share = {"CPU": max(1, capacity.largest("CPU") // workers)}
    with (
        tempfile.TemporaryDirectory(prefix="train-") as scratch,
        _progress(phase) as (tell, drain),
    ):
        trainer = TorchTrainer(
            loop,
            train_loop_config={
                "job": kinds.written(job),
                "store": store.uri,
                "dataset": ray.put(dataset),
                "progress": tell,
            },
            torch_config=TorchConfig() if workers > 1 else Alone(),
            scaling_config=ScalingConfig(
                num_workers=workers,
                use_gpu=gpus > 0,
                resources_per_worker=share,
            ),
            run_config=RunConfig(
                name=job.fingerprint,
                storage_path=scratch,
                failure_config=FailureConfig(
                    max_failures=FAILURES, max_preemption_failures=PREEMPTIONS
                ),
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


def _take_cores(workers: int) -> None:
    """Share a teachers' node among its workers: Ray lets a worker without CPUs use one core."""
    import torch

    torch.set_num_threads(max(1, capacity.own_cpus() // workers))


class _Tell:
    """What workers call with (phase, done, total, note). Whether anybody hears it, work goes on."""

    def __init__(self, queue: Any) -> None:
        self._queue = queue

    def __call__(self, *event: Any) -> None:
        import ray

        with suppress(ray.exceptions.RayError):
            self._queue.put(event)


@contextmanager
def _progress(phase: Phase) -> Iterator[tuple[Progress, Callable[[], None]]]:
    """What workers tell their progress by, and a function that shows the newest of each
    part, and every line that is to be read.
    """
    import ray
    from ray.util.queue import Queue
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    # Beside the driver: a queue on a node that is taken away would take the driver with it.
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    placed = {"num_cpus": 0, "scheduling_strategy": here, "max_restarts": -1}
    queue = Queue(actor_options=placed)

    def drain() -> None:
        # Where the queue is lost, the work itself tells what became of it.
        with suppress(ray.exceptions.RayError):
            events = queue.get_nowait_batch(queue.qsize())
            newest = {event[0]: event for event in events if event[2]}
            for _, *event in [event for event in events if not event[2]] + [*newest.values()]:
                phase.hear(*event)

    try:
        yield _Tell(queue), drain
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
