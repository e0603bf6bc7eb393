"""A long trial whose node goes, the largest of a real Ray's three, ends on a smaller one."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest
import readings
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


def lose_the_largest(folder: Path) -> None:
    from ray.cluster_utils import Cluster

    from orchestrator import cluster

    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **MEMORY})
    large = nodes.add_node(num_cpus=2, **MEMORY)
    nodes.add_node(num_cpus=1, **MEMORY)
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
        nodes.remove_node(large, allow_graceful=False)

    try:
        with cluster.connect(nodes.address):
            from orchestrator.tune import tuner
            from orchestrator.tune.group import Group

            tuner.REPLACED = 0.0
            group = Group(
                Grid(name="stranded"),
                {trial.sources: gather(store, trial.made_from, dataset)},
                store,
                folder,
                ended=lambda trial, last: failures.extend(filter(None, [last.get("failed")])),
                failed=lambda trial, reason: failures.append(reason),
            )
            losing = threading.Thread(target=lose)
            losing.start()
            tuner.run_list(group, [trial])
            losing.join()
    finally:
        nodes.shutdown()
    assert not failures, failures
    assert store.has(trial.kind, trial.fingerprint)


@pytest.mark.slow
def test_a_long_trial_ends_on_what_is_left(tmp_path):
    # In a process of its own, since Ray reads its settings once, when it is imported.
    command = [sys.executable, __file__, str(tmp_path)]
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "support")])
    done = subprocess.run(
        command,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    assert done.returncode == 0, done.stdout + done.stderr


if __name__ == "__main__":
    lose_the_largest(Path(sys.argv[1]))
