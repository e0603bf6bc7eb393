from dataclasses import replace
from statistics import fmean, stdev

import numpy as np
import pytest
from scipy.stats import t, ttest_rel

from jobs.kinds.sweeps import SWEEPS
from jobs.store import Store
from orchestrator.grid import Grid, by_task, specs
from orchestrator.plan import History, plan
from orchestrator.report import splits, sweeps
from qdllm import families
from qdllm.texts import data

SPLITS, SEEDS = 4, 3
AXES = {"task.seed": list(range(SPLITS)), "family": ["quantum", "tanh"], "circuit.layers": [1, 2]}


def accuracy(split: int, family: str, layers: int) -> np.ndarray:
    """One a seed: a split shifts all that is trained on it, and a seed shifts its own little."""
    noise = np.random.default_rng([split, len(family), layers])
    shift = np.random.default_rng(split).normal(0, 0.05)
    best = 0.02 * layers + 0.01 * (family == "quantum")
    return 0.7 + shift + best + noise.normal(0, 0.002, SEEDS)


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """The store, and the sweep of each split, oldest first."""
    store = Store(str(tmp_path_factory.mktemp("splits") / "store"))
    definition = Grid(name="over", axes=AXES, base={"seeds": tuple(range(SEEDS))})
    names = []
    for task, members in by_task(specs(definition)).items():
        dataset = data.load(task)
        made = plan(members, dataset, store)
        names.append(sweeps.publish_sweep(store, definition, made, dataset))
        for job in made.sweep.asked:
            values = accuracy(task.seed, job.spec.family, job.spec.circuit.layers)
            epochs = families.of(job.spec).epochs(job.spec)
            store.publish(
                job.kind,
                job.fingerprint,
                tensors={"val.accuracy": np.tile(values[:, None], (1, epochs))},
                spec=job.spec.model_dump(mode="json"),
                made_from=job.made_from,
                summary={
                    "metrics": {"val.accuracy": values.tolist(), "test.accuracy": values.tolist()},
                    "parameters": 100 * job.spec.circuit.layers,
                    "seconds_per_epoch": 1.0,
                    "inference_us": 1.0,
                },
                seconds=1.0,
            )
    return store, [store.record(SWEEPS.name, name) for name in names]


@pytest.fixture(scope="module")
def begun(swept):
    return splits.begun(History(swept[0]), swept[1][-1])


@pytest.fixture(scope="module")
def found(begun):
    return splits.over_splits(begun)


def test_every_setting_is_gathered_from_all_splits_best_first(found):
    told = [(one.settings["family"], one.settings["circuit.layers"]) for one in found]
    assert told == [("quantum", 2), ("tanh", 2), ("quantum", 1), ("tanh", 1)]
    for one, (family, layers) in zip(found, told, strict=True):
        expected = [accuracy(split, family, layers).tolist() for split in range(SPLITS)]
        assert [values["test.accuracy"] for values in one.measured] == expected


def test_what_splits_vary_and_what_seeds_vary_are_told_apart(found):
    values_KS = np.stack([accuracy(split, "quantum", 2) for split in range(SPLITS)])
    means = values_KS.mean(1).tolist()
    over = found[0].over_splits("test.accuracy")
    assert over.mean == pytest.approx(fmean(means))
    half = t.ppf(0.975, SPLITS - 1) * stdev(means) / SPLITS**0.5
    assert over.ci95 == pytest.approx(half)
    # As an analysis of variance does: the residuals of one factor, the split.
    freedom = SPLITS * (SEEDS - 1)
    residual = ((values_KS - values_KS.mean(1, keepdims=True)) ** 2).sum() / freedom
    inner = t.ppf(0.975, freedom) * (residual / values_KS.size) ** 0.5
    assert found[0].over_seeds("test.accuracy") == pytest.approx(inner)
    assert inner < half / 10


def test_families_are_compared_split_by_split(found):
    pairs = [
        (accuracy(split, "quantum", 2).mean(), accuracy(split, "tanh", 2).mean())
        for split in range(SPLITS)
    ]
    compared = splits.compared(found[0], found[1])
    assert compared.difference.n == SPLITS
    assert compared.difference.mean == pytest.approx(np.mean([one - two for one, two in pairs]))
    assert compared.p == pytest.approx(ttest_rel(*zip(*pairs, strict=True)).pvalue)


def test_a_person_is_told_of_both_intervals_and_of_the_difference(swept, found):
    store, records = swept
    table, line = splits.told(History(store), records[0])
    assert [column.header for column in table.columns][-4:] == [
        "validation",
        "test",
        "± splits",
        "± seeds",
    ]
    cells = [list(column.cells) for column in table.columns]
    over = found[0].over_splits("test.accuracy")
    assert cells[-3][0] == f"{over.mean:.4f}"
    assert cells[-2][0] == f"{over.ci95:.4f}"
    assert cells[-1][0] == f"{found[0].over_seeds('test.accuracy'):.4f}"
    assert line.startswith("quantum student − classical head")
    assert f"paired over {SPLITS} splits" in line


def test_a_split_that_has_only_begun_hides_no_other(begun):
    *whole, last = begun
    names = {one.trial.fingerprint: "" for one in last.order}
    nothing = replace(last, order=[], references=[], missing=names)
    assert [len(one.measured) for one in splits.over_splits([*whole, nothing])] == [SPLITS - 1] * 4
    assert splits._lacking(nothing) == f"split {SPLITS - 1} lacks 4 trials, and is left out"
    first, *others = last.order
    partly = replace(last, order=others, missing={first.trial.fingerprint: ""})
    assert len(splits.over_splits([*whole, partly])) == 3
    assert "lacks 1 trial, which the table leaves out of all splits" in splits._lacking(partly)
    assert splits._lacking(replace(partly, stopped=frozenset(partly.missing))) == ""


def test_one_split_alone_tells_nothing_of_others(swept):
    store, records = swept
    alone = records[0].model_copy(update={"spec": records[0].spec | {"scheduler": "asha"}})
    assert splits.told(History(store), alone) == []
