"""What a search tries: its past told from the store, no point twice, an end where none is left."""

import math
from itertools import count

import pytest
from optuna.trial import TrialState

from jobs.store import Store
from orchestrator.grid.space import Search, point
from orchestrator.plan import History, Trial
from orchestrator.tune.proposals import Proposals, trial_at
from orchestrator.tune.sampler import Suggestions
from orchestrator.tune.searcher import TuneSearcher
from qdllm.circuits import openqasm
from qdllm.families.quantum import StudentSpec
from qdllm.families.tanh import TanhSpec

pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's and Optuna's own

RANGES = {
    "circuit.layers": {"low": 1, "high": 4},
    "fit.batch_size": {"low": 8, "high": 16, "step": 8},
}
POINTS = 8
MADE_FROM = {"features": "f" * 16, "soft_labels": "5" * 16}
BASE = Trial.of("students", StudentSpec(), MADE_FROM)


def trial_of(config: dict) -> Trial:
    return trial_at(BASE, config["point"])


def publish(store: Store, trial: Trial, value: float, kind: str = "students") -> None:
    """A trial's result; or what is known of one that was stopped in its third epoch."""
    summary = {"metrics": {"val.accuracy": [value, value]}}
    store.publish(
        kind,
        trial.fingerprint,
        tensors={},
        spec=trial.spec.model_dump(mode="json"),
        made_from=MADE_FROM,
        summary={"epoch": 3, "val.accuracy": value} if kind == "stopped" else summary,
        seconds=1.0,
    )


def asking(search: Search, store: Store, base: Trial = BASE) -> TuneSearcher:
    """What goes on with a search whose past is in the store."""
    past = History(store).tried(search, base, "asha")
    return TuneSearcher(Proposals(search, base, past, store))


def study(asked: TuneSearcher) -> list:
    return asked._proposals._suggestions._study.trials


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(str(tmp_path))


@pytest.mark.parametrize("sampler", ["tpe", "gp", "cma-es", "nsga-ii"])
@pytest.mark.parametrize("seed", range(3))
def test_every_point_is_tried_once_and_then_the_search_ends(store, sampler, seed):
    search = Search.parse({"space": RANGES, "sampler": sampler, "seed": seed})
    asked, seen = asking(search, store), []
    for number in map(str, count()):
        config = asked.suggest(number)
        if config == "FINISHED":
            break
        trial = trial_of(config)
        seen.append(trial.fingerprint)
        publish(store, trial, 1 / trial.spec.circuit.layers)
        asked.on_trial_complete(number, {})
    assert len(seen) == len(set(seen)) == POINTS
    assert asking(search, store).suggest("0") == "FINISHED"
    assert not [one for one in study(asked) if one.state == TrialState.RUNNING]


def test_values_that_do_not_go_together_are_passed_by(store, tmp_path):
    """A layer of six qubits, and a circuit of four; each goes with the base."""
    (tmp_path / "six.qasm").write_text(
        "OPENQASM 3.0;\ninput float[64] a;\nqubit[6] q;\nrx(a) q[5];\n"
    )
    layer = openqasm.read(str(tmp_path / "six.qasm"))
    search = Search(space={"circuit.ansatz": ["published", layer], "circuit.qubits": [4, 6]})
    base = Trial.of("students", StudentSpec.parse({"circuit": {"qubits": 6}}), MADE_FROM)
    asked, seen = Proposals(search, base, [], store), []
    while (found := asked.next(str(len(seen)))) is not None:
        seen.append((found["circuit.ansatz"], found["circuit.qubits"]))
        asked.ended(str(len(seen) - 1), {"failed": "not trained here"})
    assert sorted(seen) == sorted([("published", 4), ("published", 6), (layer, 6)])


def test_a_search_that_goes_on_knows_all_that_came_before(store):
    search = Search.parse({"space": RANGES})
    values = {}
    for layers in (1, 2, 3):
        trial = trial_of({"point": {"circuit.layers": layers, "fit.batch_size": 8}})
        publish(store, trial, layers / 10, "stopped" if layers == 3 else "students")
        values[layers] = layers / 10
    asked = asking(search, store)
    told = {one.params["circuit.layers"]: one for one in study(asked)}
    assert {layers: told[layers].values for layers in (1, 2)} == {1: [0.1], 2: [0.2]}
    assert told[3].state == TrialState.PRUNED
    assert told[3].intermediate_values == {3: 0.3}
    new = {trial_of(asked.suggest(str(number))).fingerprint for number in range(POINTS - 3)}
    assert len(new) == POINTS - 3
    assert not new & (store.fingerprints("students") | store.fingerprints("stopped"))
    assert asked.suggest("one more") == "FINISHED"


def test_a_stopped_trial_that_was_finished_later_is_a_result(store):
    search = Search.parse({"space": RANGES})
    trial = trial_of({"point": {"circuit.layers": 1, "fit.batch_size": 8}})
    publish(store, trial, 0.3, "stopped")
    publish(store, trial, 0.9)
    (known,) = study(asking(search, store))
    assert known.values == [0.9]
    assert History(store).in_space(search, BASE, "stopped") == []


def test_a_search_around_another_family_has_a_past_of_its_own(store):
    search = Search.parse({"space": RANGES})
    heads = Trial.of("tanh", TanhSpec(), MADE_FROM)
    for layers, base, kind in (
        (1, BASE, "students"),
        (2, BASE, "stopped"),
        (3, heads, "tanh"),
        (4, heads, "stopped"),
    ):
        trial = trial_at(base, {"circuit.layers": layers, "fit.batch_size": 8})
        publish(store, trial, layers / 10, kind)
    for base, known in ((BASE, {1, 2}), (heads, {3, 4})):
        asked = asking(search, store, base)
        assert {one.params["circuit.layers"] for one in study(asked)} == known
        new = [trial_at(base, asked.suggest(str(n))["point"]) for n in range(POINTS - 2)]
        assert {type(trial.spec) for trial in new} == {type(base.spec)}
        assert len({trial.fingerprint for trial in new}) == POINTS - 2
        assert asked.suggest("one more") == "FINISHED"


def test_points_at_which_trials_fail_or_stop_are_told_so_and_not_tried_again(store):
    search = Search.parse({"space": RANGES})
    asked = asking(search, store)
    last = {"epoch": 2, "val.accuracy": 0.4}
    endings = [({"failed": "it diverged"}, False), (None, True), (last, False)]
    tries = [trial_of(asked.suggest(str(number))).fingerprint for number in range(len(endings))]
    for number, (result, error) in enumerate(endings):
        asked.on_trial_complete(str(number), result, error)
    states = [one.state for one in study(asked)]
    assert states.count(TrialState.PRUNED) == 1
    assert set(states) == {TrialState.PRUNED, TrialState.FAIL}
    later = [trial_of(asked.suggest(f"later {n}")).fingerprint for n in range(POINTS - 3)]
    assert not set(tries) & set(later)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_never_reaches_the_study(value):
    suggestions = Suggestions(Search.parse({"space": RANGES}))
    number, suggested = suggestions.ask()
    suggestions.tell(number, [value])
    suggestions.know(suggested, [value])
    suggestions.know_stopped(suggested, 2, value)
    (told,) = suggestions._study.trials
    assert told.state == TrialState.FAIL
    assert told.values is None


def test_it_does_not_begin_again_with_the_same_points():
    search = Search.parse({"space": {"fit.lr": {"low": 0.001, "high": 0.1}}})
    first, second = (Suggestions(search, pauses).ask()[1] for pauses in (0, 1))
    assert first != second


def test_coordinates_are_those_that_were_suggested(store):
    search = Search.parse({"space": RANGES})
    config = asking(search, store).suggest("0")
    assert point(search, trial_of(config).spec) == config["point"]
