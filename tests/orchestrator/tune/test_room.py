"""What a trial asks of Ray, and how many there is room for."""

import pytest

from orchestrator.cluster import capacity
from orchestrator.cluster.checks import Offer
from orchestrator.execution.onray import OnRay
from orchestrator.grid import Grid
from orchestrator.tune import room
from qdllm import families
from qdllm.errors import ConfigError

GRID = Grid(name="g", resources={"cpu": 0.5})


@pytest.mark.parametrize(
    ("family", "nodes", "asked", "at_once"),
    [
        ("quantum", [{"CPU": 4}, {"CPU": 8, "GPU": 1}], {"cpu": 0.5}, 24),
        # As the GPU nodes of cluster.yaml are: without a core that a student could hold.
        ("hard", [{"CPU": 4}, {"CPU": 0, "GPU": 4}], {"cpu": 0, "gpu": 1}, 4),
        ("hard", [{"CPU": 4}, {"CPU": 8}, {"CPU": 8}], {"cpu": 8}, 2),
        ("hard", [], {"cpu": 1}, 1),
    ],
)
def test_what_takes_long_has_a_gpu_or_all_cores_of_a_node(
    family, nodes, asked, at_once, monkeypatch
):
    monkeypatch.setattr(capacity, "up", lambda: nodes)
    monkeypatch.setattr(capacity.nodes, "startable", dict)
    assert room.held(GRID, families.family(family)) == asked
    assert room.at_once(asked) == at_once


def test_cores_that_no_node_has_are_refused_before_anything_is_paid_for(monkeypatch):
    """Ray would wait for such a node for ever."""
    monkeypatch.setattr(capacity, "up", lambda: [{"CPU": 2}, {"CPU": 3}])
    monkeypatch.setattr(capacity.nodes, "startable", dict)
    monkeypatch.setattr(capacity.nodes, "before", lambda *_: None)
    OnRay("local").check(None, ["student"], 3, print)
    with pytest.raises(ConfigError, match=r"resources\.cpu: 3\.5 cores .* no node has more than 3"):
        OnRay("local").check(None, ["student"], 3.5, print)
    # Nobody knows what this cluster's autoscaler could start.
    OnRay("10.0.0.1:6379").check(None, ["student"], 3.5, print)
    offers = {"large": Offer({"CPU": 16}, 1)}
    monkeypatch.setattr(capacity.nodes, "startable", lambda: offers)
    OnRay("10.0.0.1:6379").check(None, ["student"], 16, print)
    with pytest.raises(ConfigError, match="no node has more than 16"):
        OnRay("10.0.0.1:6379").check(None, ["student"], 17, print)


@pytest.fixture
def cluster(monkeypatch) -> tuple[list[dict], dict[str, Offer]]:
    """Nodes that are up, and what could be started; a look at them whenever one is asked for."""
    up, offers = [{"CPU": 16}, {"CPU": 8}], {}
    monkeypatch.setattr(capacity, "up", lambda: up)
    monkeypatch.setattr(capacity.nodes, "startable", lambda: offers)
    monkeypatch.setattr(capacity, "PAUSE", -1.0)
    return up, offers


def held() -> dict[str, float]:
    return room.held(GRID, families.family("hard"))


def stopper() -> room.Stranded:
    return room.Stranded(held(), held)


def test_a_run_ends_that_has_had_no_room_in_a_while_where_less_would_do(cluster, monkeypatch):
    """Of 16 and 8 cores the larger machine goes; nobody waits for it for ever."""
    nodes, _ = cluster
    run = stopper()
    assert not run.stop_all()
    del nodes[0]
    assert not run.stop_all(), "it may come back"
    monkeypatch.setattr(room, "REPLACED", -1.0)
    assert run.stop_all()
    nodes.insert(0, {"CPU": 16})
    assert run.stop_all(), "what has ended stays so"


@pytest.mark.parametrize(
    ("left", "offers"),
    [([], {}), ([{"CPU": 8}], {"large": Offer({"CPU": 16}, 1)})],
    ids=["nobody is there", "another one can be started"],
)
def test_a_run_waits_where_nothing_better_is_there(left, offers, cluster, monkeypatch):
    nodes, startable = cluster
    run = stopper()
    nodes[:] = left
    startable |= offers
    monkeypatch.setattr(room, "REPLACED", -1.0)
    assert not run.stop_all()


def test_what_had_the_only_gpu_goes_to_cores_without_one(cluster, monkeypatch):
    nodes, _ = cluster
    nodes.append({"CPU": 0, "GPU": 1})
    run = stopper()
    nodes.pop()
    monkeypatch.setattr(room, "REPLACED", -1.0)
    assert run.stop_all()
    assert held() == {"cpu": 16}
