"""A sweep on a cluster of four nodes, each of which is killed, the head last: the real command.

What is left of it a smaller cluster does.
"""

import re

import pytest
from driven import REFERENCES, Sweep, undisturbed
from nodes import Nodes

from orchestrator.cluster.nodes import TEACHER

pytestmark = [pytest.mark.slow, pytest.mark.cluster]

FEWER = ("--set", "fit.lr=[0.001, 0.003, 0.007, 0.01]")
"""Some of the rates of the sweep that nobody disturbs."""
TRIALS, HEADS = 8, 4
"""And the classical heads beside them, one for each rate."""
SOON = {"RAY_gcs_rpc_server_reconnect_timeout_s": "10"}
"""How long whoever belongs to a cluster waits for a head that has gone."""


def test_every_node_may_die_and_the_head_too(tmp_path, tmp_path_factory):
    expected, _ = undisturbed(tmp_path_factory)
    sweep = Sweep(expected.grid, expected.texts, tmp_path / "home")
    checkpoints = sweep.home / "store" / "checkpoints"
    with Nodes(SOON) as nodes:
        nodes.add("gpu", resource=TEACHER)
        nodes.add("one", cpus=1)
        nodes.add("two", cpus=1)
        driver = sweep.start(*FEWER, **nodes.environment, **SOON)
        driver.wait_for(lambda: list(checkpoints.glob("*/record.json")))
        nodes.kill("gpu")
        nodes.add("another", resource=TEACHER)
        driver.wait_for(lambda: driver.results_beyond({}))
        nodes.kill("one")
        nodes.add("late", cpus=1)
        nodes.kill("two")
        before = sweep.created()
        driver.wait_for(lambda: driver.results_beyond(before))
        nodes.kill("head")
        output = driver.ended(1)
        # The driver belongs to the head's node, so it may miss either first.
        assert re.search(r"error: Ray.* is gone; run the same command again to go on", output)
    done = sweep.created()
    assert 0 < len(done) < TRIALS
    with Nodes() as nodes:
        nodes.add("last", cpus=1)
        nodes.add("gone", cpus=1)
        nodes.kill("gone")  # which Ray does not know yet
        sweep.run(*FEWER, **nodes.environment)
    assert done.items() <= sweep.created().items()
    assert len(sweep.created()) == TRIALS
    assert sweep.results("soft-labels") == expected.results("soft-labels")
    assert sweep.results().items() <= expected.results().items()
    references = sum(len(sweep.created(kind)) for kind in REFERENCES)
    assert references == HEADS + 1
    # A sweep, each trial and head with its two seeds, and a logistic regression with its one row.
    assert len(sweep.runs()) == 1 + 3 * (TRIALS + HEADS) + 2
    assert set(sweep.runs().values()) == {("FINISHED", "")}
