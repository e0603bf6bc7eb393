"""What a trial asks of Ray, and how many there is room for."""

import pytest

from orchestrator.cluster import capacity
from orchestrator.grid import Grid
from orchestrator.tune import tuner
from orchestrator.tune.group import Group
from qdllm import families

GROUP = Group(Grid(name="g", resources={"cpu": 0.5}), {}, None, None, print, print)


@pytest.mark.parametrize(
    ("family", "nodes", "held", "room"),
    [
        ("quantum", [{"CPU": 4}, {"CPU": 8, "GPU": 1}], {"cpu": 0.5}, 24),
        # As the GPU nodes of cluster.yaml are: without a core that a student could hold.
        ("hard", [{"CPU": 4}, {"CPU": 0, "GPU": 4}], {"cpu": 0, "gpu": 1}, 4),
        ("hard", [{"CPU": 4}, {"CPU": 8}, {"CPU": 8}], {"cpu": 8}, 2),
        ("hard", [], {"cpu": 1}, 1),
    ],
)
def test_what_takes_long_has_a_gpu_or_all_cores_of_a_node(family, nodes, held, room, monkeypatch):
    monkeypatch.setattr(capacity, "up", lambda: nodes)
    monkeypatch.setattr(capacity.nodes, "startable", dict)
    assert tuner._holds(GROUP, families.family(family)) == held
    assert tuner._room(held) == room


def test_a_run_ends_that_has_no_room_left_where_less_would_do(monkeypatch):
    """Of 16 and 8 cores the larger machine goes; nobody waits for it while there is the other."""
    nodes = [{"CPU": 16}, {"CPU": 8}]
    monkeypatch.setattr(capacity, "up", lambda: nodes)
    monkeypatch.setattr(capacity.nodes, "startable", dict)
    monkeypatch.setattr(capacity, "PAUSE", -1.0)
    family = families.family("hard")
    stopper = tuner._Stranded(tuner._holds(GROUP, family), lambda: tuner._holds(GROUP, family))
    assert not stopper.stop_all()
    del nodes[0]
    assert stopper.stop_all()
    nodes.clear()
    again = tuner._Stranded({"cpu": 8}, lambda: tuner._holds(GROUP, family))
    assert not again.stop_all(), "there is nobody to go to"
