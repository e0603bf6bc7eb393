"""Which nodes are asked whether they can do a sweep's work, and which there could be."""

import json

import pytest

from orchestrator.cluster import checks
from orchestrator.cluster.nodes import TEACHER, _duties
from qdllm.errors import ConfigError

CPU, GPU, OWN = {"CPU": 8}, {"CPU": 0, "GPU": 1}, {"CPU": 0, TEACHER: 1}


@pytest.mark.parametrize(
    ("types", "duties"),
    [
        ({"a": CPU}, {"a": {"teacher", "student", "body"}}),
        ({"a": CPU, "b": GPU}, {"a": {"student"}, "b": {"teacher", "body"}}),
        ({"a": CPU, "b": OWN}, {"a": {"student", "body"}, "b": {"teacher"}}),
        ({"b": {"CPU": 8, "GPU": 1}}, {"b": {"teacher", "student", "body"}}),
    ],
)
def test_what_takes_long_goes_where_tune_sends_it(types, duties):
    assert _duties(types) == duties


def test_kuberays_groups_are_what_the_heads_environment_says(monkeypatch):
    """Their autoscaler lives in another container, and no process here knows its file."""
    monkeypatch.delenv("QDLLM_NODE_TYPES", raising=False)
    assert checks.offered("nowhere:1") == {}
    said = {
        "gpu": {"resources": {"CPU": 0, "GPU": 1}, "nodes": 1},
        "off": {"resources": {"CPU": 4}, "nodes": 0},
    }
    monkeypatch.setenv("QDLLM_NODE_TYPES", json.dumps(said))
    assert checks.offered("nowhere:1") == {"gpu": checks.Offer({"CPU": 0, "GPU": 1}, 1)}
    for wrong in ("{", "[]", '{"gpu": {}}', '{"gpu": {"resources": {"GPU": "one"}, "nodes": 1}}'):
        monkeypatch.setenv("QDLLM_NODE_TYPES", wrong)
        with pytest.raises(ConfigError, match="QDLLM_NODE_TYPES on the head is not read"):
            checks.offered("nowhere:1")
