"""Ranking and the champion's rule, on records made for the purpose."""

import pytest
from scipy import stats

from jobs.store import DataFile, Record
from orchestrator.plan import Trial
from orchestrator.plan.ranking import Result, axes, champion, common, keys, paired, ranked
from qdllm.families.linear import LinearSpec
from qdllm.families.quantum import StudentSpec
from qdllm.families.tanh import TanhSpec
from qdllm.spec import SCHEMA, flat
from qdllm.specs import TrialSpec


def result(
    name: str, accuracies: list[float], parameters: int, seeds: list[int] | None = None
) -> Result:
    spec = StudentSpec.parse({"seeds": seeds or list(range(len(accuracies)))})
    record = Record(
        schema_version=SCHEMA,
        kind="students",
        fingerprint=name,
        spec={},
        made_from={},
        summary={"metrics": {"val.accuracy": accuracies}, "parameters": parameters},
        data=DataFile(name="x", sha256="x", bytes=0),
        created=0.0,
        seconds=0.0,
        versions={},
    )
    return Result(Trial("students", name, spec, {}, held=True), record)


BEST = result("best", [0.90, 0.92, 0.94], 500)  # mean 0.92, standard error 0.01155
NEAR = result("near", [0.91, 0.91, 0.91], 300)
NEARER = result("nearer", [0.915, 0.915, 0.915], 300)
FAR = result("far", [0.90, 0.90, 0.90], 100)


def test_the_champion_is_the_smallest_within_one_standard_error_of_the_best():
    assert champion([FAR, NEAR, BEST]) is NEAR


def test_of_two_as_small_the_better_one_is_champion():
    assert champion([NEAR, NEARER, BEST]) is NEARER


def test_a_circuit_just_outside_one_standard_error_is_not_champion():
    outside = result("outside", [0.9084, 0.9084, 0.9084], 1)
    inside = result("inside", [0.9085, 0.9085, 0.9085], 1)
    assert champion([BEST, outside]) is BEST
    assert champion([BEST, inside]) is inside


def test_with_a_single_seed_the_champion_is_the_best():
    assert champion([result("a", [0.8], 1), result("b", [0.81], 900)]).record.fingerprint == "b"


def test_ties_are_ranked_by_size_and_then_by_name_whatever_the_order():
    tied = [result(name, [0.9, 0.9], size) for name, size in (("c", 2), ("b", 1), ("a", 1))]
    for order in (tied, tied[::-1]):
        assert [found.record.fingerprint for found in ranked(order)] == ["a", "b", "c"]


def test_axes_are_the_settings_that_differ():
    trials = [
        Trial("students", name, StudentSpec.parse({"fit": {"lr": lr}}), {}, held=False)
        for name, lr in (("a", 0.1), ("b", 0.2))
    ]
    assert axes(trials) == {"a": {"fit.lr": 0.1}, "b": {"fit.lr": 0.2}}
    assert axes(trials[:1]) == {"a": {}}


def trial(name: str, spec: TrialSpec) -> Trial:
    return Trial(spec.family, name, spec, {})


MIXED = [
    trial("q", StudentSpec.parse({"fit": {"lr": 0.1}, "angles": "minmax"})),
    trial("r", StudentSpec.parse({"fit": {"lr": 0.2}})),
    trial("t", TanhSpec.parse({"fit": {"lr": 0.1}})),
    trial("l", LinearSpec()),
]


def test_axes_of_several_families_are_what_differs_where_it_is_there():
    assert axes(MIXED) == {
        "q": {"family": "quantum", "angles": "minmax", "fit.lr": 0.1},
        "r": {"family": "quantum", "angles": "raw", "fit.lr": 0.2},
        "t": {"family": "tanh", "fit.lr": 0.1},
        "l": {"family": "linear"},
    }
    assert axes(MIXED[1:3]) == {
        "r": {"family": "quantum", "fit.lr": 0.2},
        "t": {"family": "tanh", "fit.lr": 0.1},
    }
    # The same training of another family, and nothing else.
    alike = [MIXED[0], MIXED[2]]
    assert axes(alike) == {"q": {"family": "quantum"}, "t": {"family": "tanh"}}


def test_keys_are_those_of_all_in_the_order_in_which_they_come():
    assert keys(axes(MIXED).values()) == ["family", "angles", "fit.lr"]
    assert keys(axes(MIXED[::-1]).values()) == ["family", "fit.lr", "angles"]
    assert keys([]) == keys([{}]) == []


@pytest.mark.parametrize("trials", [MIXED, MIXED[:2], MIXED[:1], MIXED[2:], MIXED[::-1]])
def test_what_is_no_axis_is_common(trials):
    told = [flat(one.spec.model_dump(mode="json")) for one in trials]
    shared = common(trials)
    assert {*shared, *keys(axes(trials).values())} == set(keys(told))
    assert not set(shared) & set(keys(axes(trials).values()))
    for values in told:
        assert {key: str(value) for key, value in values.items() if key in shared}.items() <= (
            shared.items()
        )


def test_spread_is_over_seeds():
    assert BEST.over_seeds("val.accuracy").standard_error == pytest.approx(0.01155, abs=1e-5)


FIRST = [0.881, 0.893, 0.875, 0.902, 0.888]
SECOND = [0.879, 0.884, 0.880, 0.895, 0.879]


def test_the_paired_test_is_the_one_in_the_books():
    # Student's sleep data (1908), as R's t.test reports it.
    first = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
    second = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
    found = paired(result("a", first, 1), result("b", second, 1))
    assert found is not None
    assert found.p == pytest.approx(0.002833, abs=1e-6)
    assert found.difference.mean == pytest.approx(-1.58)
    assert found.difference.ci95 == pytest.approx((2.4598858 - 0.7001142) / 2, abs=1e-7)
    assert found.difference.n == 10


def test_a_detectable_difference_is_seen_four_times_in_five():
    found = paired(result("a", FIRST, 1), result("b", SECOND, 1))
    assert found is not None
    threshold = stats.t.ppf(0.975, 4)
    noncentrality = found.detectable / found.difference.standard_error
    assert stats.nct.sf(threshold, 4, noncentrality) == pytest.approx(0.8, abs=1e-6)


def test_only_seeds_that_both_have_are_paired():
    first = result("a", FIRST, 1, [0, 1, 2, 3, 4])
    second = result("b", SECOND, 1, [9, 4, 3, 2, 1])
    found = paired(first, second)
    assert found is not None
    expected = stats.ttest_rel(FIRST[1:], SECOND[:0:-1])
    assert found.difference.n == 4
    assert found.p == pytest.approx(expected.pvalue)


@pytest.mark.parametrize(
    ("first", "second"), [([0.9], [0.8]), ([0.9, 0.8], [0.8, 0.7]), ([0.9, 0.8], [0.9, 0.8])]
)
def test_without_spread_there_is_no_test(first, second):
    assert paired(result("a", first, 1), result("b", second, 1)) is None


def test_the_served_seed_is_the_best_by_validation():
    assert BEST.best_seed == 2
    assert NEAR.best_seed == 0
