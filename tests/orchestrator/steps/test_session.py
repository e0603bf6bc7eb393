from types import SimpleNamespace

import pytest

from orchestrator.steps.session import Sweep
from qdllm.specs import TaskSpec


@pytest.mark.parametrize(("seed", "name"), [(0, "qdllm-best-news"), (3, "qdllm-best-news-split3")])
def test_each_split_has_a_registered_model_of_its_own(seed, name):
    definition, dataset = SimpleNamespace(name="best"), SimpleNamespace(name="news")
    plan = SimpleNamespace(task=TaskSpec(seed=seed))
    assert Sweep(None, definition, dataset, plan, 0, ()).model == name
