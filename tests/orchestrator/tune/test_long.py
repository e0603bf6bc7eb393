"""A long trial on a real Ray of several nodes."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest
import readings
import torch
from checkout import ROOT
from waiting import DEADLINE, until

from jobs import tokens
from jobs.inputs import gather
from jobs.store import Store
from orchestrator.grid import Grid
from orchestrator.plan import plan
from qdllm import families
from qdllm.texts import data

MEMORY = {"object_store_memory": 100 * 2**20}


def working() -> bool:
    """Whether a process runs a trial."""
    children = psutil.Process().children(recursive=True)
    return any("ImplicitFunc.train" in " ".join(child.cmdline()) for child in children)


def trained(folder: Path, lost: bool, *others: dict[str, int]) -> list[str]:
    """Why a long trial has no result, on a real Ray with a head and such nodes.

    `lost`: whether the first of them goes once the trial runs.
    """
    from ray.cluster_utils import Cluster

    from orchestrator import cluster

    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **MEMORY})
    first, *_ = [nodes.add_node(**other, **MEMORY) for other in others]
    family, task = families.family("hard"), readings.task(folder)
    tuning = {"epochs": 300, "batch_size": 16, "lr": 0.01}
    settings = readings.settings(family) | {"task": task.model_dump(), "tuning": tuning}
    store, dataset = Store(str(folder / "store")), data.load(task)
    made = plan([family.spec.parse(settings)], dataset, store)
    (trial,) = made.sweep.asked
    for job in made.sources:
        if job.kind == "tokens":
            tokens.run(job, dataset, store)
    failures: list[str] = []

    def lose() -> None:
        until(working)
        nodes.remove_node(first, allow_graceful=False)

    losing = threading.Thread(target=lose if lost else list)
    try:
        with cluster.connect(nodes.address):
            from orchestrator.tune import room, tuner
            from orchestrator.tune.group import Group

            room.REPLACED = 0.0
            group = Group(
                Grid(name="long"),
                {trial.sources: gather(store, trial.made_from, dataset)},
                store,
                ended=lambda trial, last: failures.extend(filter(None, [last.get("failed")])),
                failed=lambda trial, reason: failures.append(reason),
            )
            losing.start()
            tuner.run_list(group, [trial])
            losing.join()
    finally:
        nodes.shutdown()
    return failures or ["no result"] * (not store.has(trial.kind, trial.fingerprint))


NODES = {
    "lost": (True, {"num_cpus": 2}, {"num_cpus": 1}),
    # As those of cluster.yaml are, but for the GPU itself.
    "gpu": (False, {"num_cpus": 0, "num_gpus": 1}),
}


def told(case: str, folder: Path) -> list[str]:
    # In a process of its own, since Ray reads its settings once, when it is imported.
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "support")])
    done = subprocess.run(
        [sys.executable, __file__, case, str(folder)],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_a_trial_whose_node_goes_ends_on_what_is_left(tmp_path):
    """The largest of three, and no other one has as much."""
    assert told("lost", tmp_path) == []


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="PyTorch sees a GPU here")
def test_a_gpus_node_needs_no_core_and_a_gpu_that_pytorch_does_not_see_is_told(tmp_path):
    (why,) = told("gpu", tmp_path)
    assert why.startswith(
        "Ray lends it a GPU that PyTorch does not see; install a PyTorch with CUDA"
    )


if __name__ == "__main__":
    print(json.dumps(trained(Path(sys.argv[2]), *NODES[sys.argv[1]])))
