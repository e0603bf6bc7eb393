"""Which nodes are asked whether they can do a sweep's work."""

import pytest

from orchestrator.cluster.nodes import TEACHER, _duties

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
