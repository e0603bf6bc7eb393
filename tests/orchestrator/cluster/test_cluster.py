"""Teachers on a real Ray: workers killed, nodes taken away, mistakes that no retry can mend."""

import csv
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil
import pytest
from malicious import Malicious, of_ray
from tiny_models import save, texts_of

from jobs import kinds
from jobs import teacher as maker
from jobs.kinds import Job
from jobs.kinds.teachers import SOFT_LABELS
from jobs.store import Store
from orchestrator import cluster
from orchestrator.cluster import nodes
from orchestrator.console import Phase
from qdllm.errors import TeacherError
from qdllm.specs import TaskSpec, TeacherSpec
from qdllm.texts import data

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def task(tmp_path_factory) -> TaskSpec:
    """Two classes that one word tells apart."""
    path = tmp_path_factory.mktemp("data") / "texts.csv"
    with path.open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(("text", "label"))
        for text in sorted(set(texts_of(150))):
            rows.writerow((text, "finance" if "bank" in text or "price" in text else "other"))
    return TaskSpec(name="tiny", data=str(path))


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> str:
    return save("bert", tmp_path_factory.mktemp("bert"))


def spec_of(base: str, **settings) -> TeacherSpec:
    chosen = {"rank": 2, "lora_alpha": 4, "epochs": 3, "batch_size": 16, "lr": 0.03}
    return TeacherSpec(model=base, **(chosen | {"max_length": 16} | settings))


class Watched(Phase):
    """A phase that keeps every (done, total) and calls `at(done, total)`."""

    def __init__(self, at: Callable[[int, int], None] = lambda done, total: None) -> None:
        super().__init__("teacher", None)
        self.seen: list[tuple[int, int]] = []
        self._at = at

    def update(self, done: float, total: float | None = None, note: str | None = None) -> None:
        """Only fine-tuning's own steps count, not the inference that follows it."""
        if note and note.startswith("epoch"):
            self.seen.append((int(done), int(total)))
            self._at(int(done), int(total))


def asked(task: TaskSpec, spec: TeacherSpec) -> tuple[Job, data.Dataset]:
    """The soft labels by name, and the texts that they are of."""
    dataset = data.load(task)
    return kinds.named(SOFT_LABELS.name, spec, task, dataset.digest), dataset


def train(
    task: TaskSpec, spec: TeacherSpec, store: Store, workers: int | None, phase: Phase
) -> str:
    """Train through the orchestrator; returns the soft labels' fingerprint."""
    job, dataset = asked(task, spec)
    cluster.train(job, dataset, store, phase, workers)
    return job.fingerprint


def assert_like_undisturbed(task, spec, store, key, folder) -> None:
    alone = Store(str(folder))
    maker.run(*asked(task, spec), alone)
    record, splits = store.load(SOFT_LABELS.name, key)
    assert len(record.summary["curve"]) == spec.epochs
    for name, expected_NC in alone.load(SOFT_LABELS.name, key)[1].items():
        np.testing.assert_allclose(splits[name], expected_NC, rtol=1e-3, atol=1e-3)


def below() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


def workers_of_mine() -> list[psutil.Process]:
    return [one for one in below() if "RayTrainWorker" in " ".join(one.cmdline())]


@pytest.fixture(scope="module")
def ray_here(tmp_path_factory) -> Iterator[None]:
    with cluster.connect():
        yield


def test_a_killed_worker_is_restarted_and_goes_on_from_its_checkpoint(
    ray_here, task, base, tmp_path
):
    spec, store, killed = spec_of(base, epochs=12, lr=0.01), Store(str(tmp_path / "a store")), []

    def kill_in_the_fourth_epoch(done: int, total: int) -> None:
        if not killed and done > 3 * total // spec.epochs:
            workers_of_mine()[0].kill()
            killed.append(len(phase.seen))

    phase = Watched(kill_in_the_fourth_epoch)
    key = train(task, spec, store, 2, phase)
    after = phase.seen[killed[0] :]
    assert all(done > 2 * total // spec.epochs for done, total in after), "it began anew"
    assert after[-1][0] == after[-1][1]
    assert store.record(SOFT_LABELS.name, key).summary["workers"] == 2
    assert_like_undisturbed(task, spec, store, key, tmp_path / "alone")


class Alone(NamedTuple):
    """One worker's whole course."""

    store: Store
    key: str
    lines: list[str]
    """What it has told."""
    attack: Path
    """What is there if code of the checkpoint's was run."""
    looks: list[set[Any]]
    """Addresses, with the process that listens there, that are no loopback's: at each step."""


@pytest.fixture(scope="module")
def alone(ray_here, task, base, tmp_path_factory) -> Alone:
    """It finds a checkpoint of Ray Train's, as earlier versions left them, with code in it."""
    folder = tmp_path_factory.mktemp("alone")
    spec, store, lines, looks = spec_of(base, epochs=2), Store(str(folder / "store")), [], []

    def look(done: int, total: int) -> None:
        mine = {one.pid for one in below()}
        looks.append(
            {
                (connection.laddr, psutil.Process(connection.pid).name())
                for connection in psutil.net_connections("inet")
                if connection.status == psutil.CONN_LISTEN
                and connection.pid in mine
                and not connection.laddr.ip.startswith(("127.", "::1", "::ffff:127."))
            }
        )

    phase = Watched(look)
    phase.say = lines.append
    job, _ = asked(task, spec)
    attack = folder / "it ran"
    of_ray(folder / "store" / "checkpoints" / job.fingerprint, Malicious(attack))
    return Alone(store, train(task, spec, store, 1, phase), lines, attack, looks)


def test_no_code_in_an_earlier_versions_checkpoint_is_run(alone):
    """The store may be written by others than those who may run code here."""
    assert not alone.attack.exists()
    (line,) = alone.lines
    assert line.endswith("training begins anew: it is an earlier version's, and those are not read")
    assert alone.store.has(SOFT_LABELS.name, alone.key)
    assert not alone.store.files("checkpoints")


def test_one_worker_alone_opens_no_port_to_the_world(alone):
    """Nor does Ray: whatever this test's processes listen on is loopback."""
    assert alone.looks
    assert set().union(*alone.looks) == set()


def test_progress_that_nobody_hears_costs_nothing(ray_here, task, base, tmp_path, monkeypatch):
    """The process that carries it from worker to driver is killed."""
    monkeypatch.setattr(cluster.work, "FAILURES", 0)
    spec, store, killed = spec_of(base, epochs=12, lr=0.01), Store(str(tmp_path)), []

    def kill(done: int, total: int) -> None:
        if not killed:
            killed.extend(one for one in below() if "_QueueActor" in " ".join(one.cmdline()))
            for one in killed:
                one.kill()

    assert store.has(SOFT_LABELS.name, train(task, spec, store, 1, Watched(kill)))
    assert len(killed) == 1


def test_a_node_is_asked_again_whose_worker_died_over_the_question(ray_here, tmp_path):
    def answer(seen: Path) -> str:
        if not seen.exists():
            seen.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return "well"

    assert nodes._result(nodes._run(answer, tmp_path / "seen")) == "well"


def test_what_would_go_wrong_again_is_not_tried_again(ray_here, task, base, tmp_path):
    phase, spec = Watched(), spec_of(base, lr=1e30, warmup=0)
    with pytest.raises(TeacherError, match="give a learning rate below 1e"):
        train(task, spec, Store(str(tmp_path)), 1, phase)
    steps = [done for done, _ in phase.seen]
    assert steps == sorted(set(steps))


def test_a_node_that_is_taken_away_costs_a_few_steps_and_no_failure(
    ray_here, tmp_path, monkeypatch
):
    """A notice, a checkpoint inside the epoch, the node's end, and on from there elsewhere."""
    import ray
    from ray.cluster_utils import Cluster
    from ray.core.generated.autoscaler_pb2 import DrainNodeReason

    monkeypatch.setattr(cluster.work, "FAILURES", 0)
    monkeypatch.setenv("RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S", "0.5")
    ray.shutdown()  # what it had set in the environment stays, the token among it
    several = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "resources": {"head": 1}}
    )
    workers = [several.add_node(num_cpus=1, wait=False) for _ in range(2)]
    several.wait_for_nodes()
    ray.init(address=several.address, log_to_driver=False)
    notice = []

    def take_away(done: int, total: int) -> None:
        """The node whose CPU is in use gets 8 seconds."""
        if notice or done < 5:
            return
        notice.append(done)
        free = ray._private.state.available_resources_per_node()
        busy = next(node for node in workers if free[node.node_id].get("CPU", 0) < 1)
        deadline = int(1000 * (time.time() + 8))
        client = ray._private.worker.global_worker.gcs_client
        accepted, why = client.drain_node(
            busy.node_id, DrainNodeReason.DRAIN_NODE_REASON_PREEMPTION, "spot", deadline
        )
        assert accepted, why
        threading.Timer(8, several.remove_node, (busy, False)).start()

    task = TaskSpec()
    spec = TeacherSpec(epochs=1, batch_size=2, max_length=32, rank=4)
    phase, store = Watched(take_away), Store(str(tmp_path))
    try:
        key = train(task, spec, store, 1, phase)
    finally:
        ray.shutdown()
        several.shutdown()
    steps = [done for done, _ in phase.seen]
    back = [after for before, after in pairwise(steps) if after < before]
    assert len(back) == 1, f"it was to go back once: {back}"
    assert back[0] > notice[0], "it went on from before the notice"
    assert len(store.record(SOFT_LABELS.name, key).summary["curve"]) == 1
