"""Search spaces: what they hold, what a point of one means, and what a mistake is told."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs import trial
from jobs.kinds import Job
from jobs.store import Store
from orchestrator import grid
from orchestrator.grid.measures import OBJECTIVES
from orchestrator.grid.space import Choices, Integers, Reals, Search, at, dimension, inside, point
from orchestrator.tracking.runs import summarised
from qdllm.errors import ConfigError
from qdllm.families.quantum import StudentSpec
from qdllm.texts.data import SPLITS

SPACE = {
    "circuit.ansatz": ["published", "textbook"],
    "circuit.layers": {"low": 1, "high": 11},
    "fit.batch_size": {"low": 8, "high": 64, "step": 8},
    "loss.alpha": {"low": 0, "high": 1, "step": 0.1},
    "loss.temperature": [1, 2.5],
    "fit.lr": {"low": 0.001, "high": 0.1, "log": True},
}
SEARCH = Search.parse({"space": SPACE})
BASE = StudentSpec.parse({"fit": {"epochs": 3}, "seeds": [0, 1]})
INSIDE = st.fixed_dictionaries(
    {
        "circuit.ansatz": st.sampled_from(["published", "textbook"]),
        "circuit.layers": st.integers(1, 11),
        "fit.batch_size": st.integers(1, 8).map(lambda n: 8 * n),
        "loss.alpha": st.integers(0, 10).map(lambda n: n * 0.1),
        "loss.temperature": st.sampled_from([1, 2.5]),
        "fit.lr": st.floats(0.001, 0.1),
    }
)


def contains(search: Search, base: StudentSpec, spec: StudentSpec) -> bool:
    """Whether a spec lies in the space around the base: what a search's past is."""
    return inside(search, spec) and at(base, point(search, spec)) == spec


def test_a_settings_type_decides_whether_its_range_is_in_whole_numbers():
    assert SEARCH.dimensions == {
        "circuit.ansatz": Choices(("published", "textbook")),
        "circuit.layers": Integers(low=1, high=11),
        "fit.batch_size": Integers(low=8, high=64, step=8),
        "loss.alpha": Reals(low=0, high=1, step=0.1),
        "loss.temperature": Choices((1, 2.5)),
        "fit.lr": Reals(low=0.001, high=0.1, log=True),
    }
    assert type(SEARCH.dimensions["circuit.layers"].high) is int
    assert type(SEARCH.dimensions["loss.alpha"].high) is float


@settings(deadline=None)
@given(INSIDE)
def test_a_point_is_a_spec_that_lies_in_the_space(coordinates):
    spec = at(BASE, coordinates)
    assert point(SEARCH, spec) == coordinates
    assert contains(SEARCH, BASE, spec)
    assert spec.fit.lr == coordinates["fit.lr"]
    assert (spec.fit.epochs, spec.seeds, spec.task) == (3, (0, 1), BASE.task)
    again = StudentSpec.parse(spec.model_dump(mode="json"))
    assert contains(SEARCH, BASE, again), "read back from a record"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("circuit.layers", 12),
        ("fit.batch_size", 12),
        ("fit.batch_size", 72),
        ("loss.alpha", 0.15),
        ("loss.temperature", 2),
        ("fit.lr", 0.2),
        ("fit.lr", 0.0009),
        ("fit.epochs", 4),
        ("seeds", [0]),
        ("angles", "minmax"),
        ("teacher.model", "other"),
        ("encoder.pooling", "first"),
        ("task.seed", 1),
    ],
)
def test_a_spec_that_differs_in_anything_else_lies_outside(key, value):
    inside = {"circuit.layers": 2, "fit.batch_size": 16, "loss.alpha": 0.5, "loss.temperature": 1}
    assert contains(SEARCH, BASE, at(BASE, inside))
    assert not contains(SEARCH, BASE, at(BASE, inside | {key: value}))


def test_a_value_that_a_spec_refuses_is_no_point():
    with pytest.raises(ConfigError, match=r"fit\.lr must be greater than 0"):
        at(BASE, {"fit.lr": -1.0})


@pytest.mark.parametrize(
    ("key", "plain", "message"),
    [
        ("circuit.layer", [1], "unknown key 'circuit.layer'; did you mean 'layers'?"),
        ("teacher.rank", [8, 64], "not a student's own, and a search varies only circuit, angles"),
        ("seeds", [[0], [1]], "'seeds' is not a student's own"),
        ("fit.lr", 0.1, "give choices as a list, or a range such as {low: 1, high: 8}, but 0.1"),
        ("fit.lr", [], "fit.lr: the list of choices is empty"),
        ("loss.alpha", [1, 1.0], "names a choice twice"),
        ("circuit.ansatz", {"low": 0, "high": 1}, "circuit.ansatz is not a number, so it has no"),
        ("fit.lr", {"lo": 0.1, "high": 1}, "unknown key 'lo'; did you mean 'low'?"),
        ("fit.lr", {"low": 0.1}, "fit.lr: high is missing"),
        ("fit.lr", {"low": True, "high": 2}, "low must be a number, but True"),
        ("fit.lr", {"low": 0.1, "high": "1"}, "high must be a number, but '1'"),
        ("fit.epochs", {"low": 1.5, "high": 2}, "low must be a whole number, written without"),
        ("fit.epochs", {"low": 1, "high": 9, "step": 0}, "step must be greater than 0"),
        ("fit.epochs", {"low": 1, "high": 9, "step": 3}, "steps of 3 from 1 do not end at 9"),
        ("loss.alpha", {"low": 0, "high": 1, "step": 0.3}, "steps of 0.3 from 0.0 do not end at"),
        ("fit.lr", {"low": 2, "high": 1}, "low must be below high, but 2.0 and 1.0 were given"),
        ("fit.lr", {"low": 1, "high": 1}, "low must be below high"),
        ("loss.alpha", {"low": 0, "high": 1, "log": True}, "log needs a low above 0, but 0.0"),
        ("fit.lr", {"low": 1, "high": 2, "log": True, "step": 1}, "log and step cannot both be"),
    ],
)
def test_a_dimension_that_cannot_be_used_is_told_why(key, plain, message):
    with pytest.raises(ConfigError) as caught:
        dimension(key, plain)
    assert message in str(caught.value)


FILES = {
    "a key": ("space:\n    fit.lrr: [1]", 3, "unknown key 'fit.lrr'; did you mean 'lr'?"),
    "a choice": (
        "space:\n    circuit.ansatz:\n    - published\n    - textbok",
        5,
        "unknown circuit.ansatz 'textbok'; did you mean 'textbook'?",
    ),
    "a choice's type": ("space:\n    fit.epochs: [2, yes]", 3, "fit.epochs must be a whole number"),
    "a low end": (
        "space:\n    fit.lr:\n      high: 1\n      low: 0",
        5,
        "fit.lr must be greater than 0, but 0.0 was given",
    ),
    "a high end": (
        "space:\n    circuit.qubits: {low: 4,\n      high: 30}",
        4,
        "circuit.qubits must be at most 20, but 30 was given",
    ),
    "a range": ("space:\n    fit.lr: {low: 1}", 3, "fit.lr: high is missing"),
    "no space": ("trials: 3", 1, "search.space is missing"),
    "an empty space": ("space: {}", 2, "search.space must be a list or group of at least 1"),
    "a sampler": (
        "space: {fit.lr: [1]}\n  sampler: cmaes",
        3,
        "unknown search.sampler 'cmaes'; did you mean 'cma-es'? There are: tpe, gp, cma-es, nsga",
    ),
    "trials": ("space: {fit.lr: [1]}\n  trials: 0", 3, "search.trials must be at least 1"),
    "a metric": (
        "space: {fit.lr: [1]}\n  objectives:\n    val.acc.mean: maximize",
        4,
        "unknown metric 'val.acc.mean'; did you mean 'val.accuracy.mean'? There are: train.loss",
    ),
    "a metric on the test split": (
        "space: {fit.lr: [1]}\n  objectives:\n    test.accuracy.mean: maximize",
        4,
        "looks at the test split, which takes no part in choosing; use one of: train.loss.mean",
    ),
    "a ratio on the test split": (
        "space: {fit.lr: [1]}\n  objectives: {accuracy_per_parameter: maximize}",
        3,
        "looks at the test split",
    ),
    "a direction": (
        "space: {fit.lr: [1]}\n  objectives: {val.f1.mean: max}",
        3,
        "unknown search.objectives.val.f1.mean 'max'",
    ),
    "no objective": (
        "space: {fit.lr: [1]}\n  objectives: {}",
        3,
        "search.objectives must be a list or group of at least 1",
    ),
    "cma-es with choices": (
        "space: {fit.lr: [1, 2], loss.alpha: {low: 0, high: 1}}\n  sampler: cma-es",
        3,
        "cma-es needs one objective and a space of two or more ranges, without choices",
    ),
    "cma-es with one range": (
        "space: {loss.alpha: {low: 0, high: 1}}\n  sampler: cma-es",
        3,
        "cma-es needs one objective",
    ),
    "cma-es with two objectives": (
        "space: {fit.lr: {low: 1, high: 2}, loss.alpha: {low: 0, high: 1}}\n  sampler: cma-es\n"
        "  objectives: {val.f1.mean: maximize, parameters: minimize}",
        3,
        "cma-es needs one objective",
    ),
    "a scheduler with two objectives": (
        "space: {fit.lr: [1]}\n  objectives: {val.f1.mean: maximize, parameters: minimize}\n"
        "scheduler: asha",
        3,
        "scheduler 'asha' stops trials by one objective that every epoch brings",
    ),
    "agreement where nobody teaches": (
        "space: {fit.lr: [1]}\n  objectives: {val.agreement.mean: maximize}\n"
        "base: {teacher.model: none, loss.alpha: 0}",
        3,
        "'val.agreement.mean' is what a teacher's own students have, and nobody teaches family "
        "quantum without a teacher; use another objective",
    ),
    "agreement of what learns from labels": (
        "space: {tuning.lr: [1]}\n  objectives: {val.agreement.mean: maximize}\n"
        "base: {family: hard}",
        3,
        "nobody teaches family hard; use another objective",
    ),
    "a scheduler without a curve": (
        "space: {fit.lr: [1]}\n  objectives: {parameters: minimize}\nscheduler: median",
        3,
        "scheduler 'median' stops trials by one objective that every epoch brings",
    ),
}


@pytest.mark.parametrize("case", FILES)
def test_a_mistake_in_a_search_is_told_with_its_line(case, tmp_path):
    text, line, message = FILES[case]
    path = tmp_path / "mine.yaml"
    path.write_text(f"search:\n  {text}", encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        grid.specs(grid.load(str(path)))
    assert f"{path}:{line}: " in str(caught.value)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "{space: {fit.lr: {low: 1, high: 2}, loss.alpha: {low: 0, high: 1}}, sampler: cma-es}",
        "{space: {fit.lr: [1, 2]}, sampler: gp, objectives: {val.loss.mean: minimize}}",
        "{space: {angles: [raw, minmax]}, sampler: nsga-ii, objectives: {val.f1.mean: maximize, "
        "parameters: minimize, inference_us: minimize}}",
    ],
)
def test_samplers_and_objectives_that_fit_are_taken(text, tmp_path):
    (tmp_path / "mine.yaml").write_text(f"search: {text}", encoding="utf-8")
    assert len(grid.specs(grid.load(str(tmp_path / "mine.yaml")))) == 1


def test_a_scheduler_may_stand_beside_a_search_with_one_objective():
    search = grid.override(
        grid.load("search"), ["search.objectives={val.loss.mean: minimize}", "scheduler=asha"]
    )
    assert len(grid.specs(search)) == 1


def test_axes_give_one_search_for_each_of_their_points():
    several = grid.override(
        grid.load("search"),
        ["axes.task.name=[sample-emotion, sample-hiding]", "axes.encoder.pooling=[mean, first]"],
    )
    bases = grid.specs(several)
    assert [(base.task.name, base.encoder.pooling) for base in bases] == [
        ("sample-emotion", "mean"),
        ("sample-emotion", "first"),
        ("sample-hiding", "mean"),
        ("sample-hiding", "first"),
    ]


def test_every_objective_is_a_metric_of_a_real_trial(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {}
    for split in SPLITS:
        arrays[f"{split}.features"] = rng.normal(size=(8, 3)).astype(np.float32)
        arrays[f"{split}.logits"] = rng.normal(size=(8, 2)).astype(np.float32)
        arrays[f"{split}.labels"] = np.arange(8) % 2
    spec = StudentSpec.parse({"circuit": {"qubits": 2}, "fit": {"epochs": 1}, "seeds": [0, 1]})
    record = trial.train(Job.of("students", spec, {}), arrays, Store(str(tmp_path)))
    assert set(OBJECTIVES) <= set(summarised(record))
