"""What a sweep found as data: against its records, in every format, and by the command."""

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from small_sweep import SmallSweep, made_up, sweep

from orchestrator.report import command, frame, frames
from qdllm.errors import ConfigError
from qdllm.intervals import interval

KEYS = ["fingerprint", "seed", "epoch"]


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("small")


@pytest.fixture(scope="module")
def small(home) -> SmallSweep:
    return sweep(home)


def of(small: SmallSweep, home: Path, rows: str) -> pd.DataFrame:
    return frame(small.record.fingerprint, rows, home=home)


def test_a_row_for_each_trial_says_what_its_record_says(small, home):
    found, table = small.found, of(small, home, "trials")
    assert table["fingerprint"].is_unique
    assert list(table["rank"].dropna()) == list(range(1, 1 + len(found.order)))
    assert (table["role"] == "reference").sum() == len(small.references)
    (champion,) = table.index[table["champion"]]
    assert table.at[champion, "fingerprint"] == found.champion.trial.fingerprint
    rows = table.set_index("fingerprint")
    for one in found.order:
        row, summary = rows.loc[one.trial.fingerprint], one.record.summary
        over_seeds = interval(summary["metrics"]["test.accuracy"])
        assert (row["test.accuracy"], row["test.accuracy.ci95"]) == (
            over_seeds.mean,
            over_seeds.ci95,
        )
        assert (row["n"], row["parameters"]) == (3, summary["parameters"])
        assert row["circuit.layers"] == one.trial.spec.circuit.layers
        assert row["task.split"] == json.dumps(list(one.trial.spec.task.split))
        assert row["soft_labels"] == one.trial.made_from["soft_labels"]
        assert row["created"].timestamp() == pytest.approx(one.record.created, abs=1e-3)


def test_a_trial_without_a_result_is_a_row_that_says_so(small, home):
    table = of(small, home, "trials")
    (lacking,) = table.index[table["missing"].notna()]
    assert table.at[lacking, "fingerprint"] == small.trials[-1].fingerprint
    assert table.at[lacking, "circuit.layers"] == small.trials[-1].spec.circuit.layers
    assert pd.isna(table.at[lacking, "test.accuracy"])


def test_a_row_for_each_seed_has_its_own_measures(small, home):
    table = of(small, home, "seeds")
    for one in small.found.order:
        rows = table[table["fingerprint"] == one.trial.fingerprint]
        assert list(rows["seed"]) == list(one.trial.spec.seeds)
        for metric, values in one.record.summary["metrics"].items():
            assert list(rows[metric]) == values
    assert len(table) == sum(len(job.spec.seeds) for job in (*small.references, *small.trials[:-1]))


def test_a_row_for_each_epoch_is_the_stored_curve(small, home):
    table = of(small, home, "curves")
    assert not table.duplicated(KEYS).any()
    for one in small.found.order:
        _, tensors = small.store.load(one.trial.kind, one.trial.fingerprint)
        rows = table[table["fingerprint"] == one.trial.fingerprint]
        for curve in set(tensors) - {"parameters"}:
            curve_SE = rows.pivot_table(curve, index="seed", columns="epoch").to_numpy()
            assert (curve_SE == tensors[curve]).all()
        assert list(rows["epoch"].unique()) == [1, 2, 3]


def test_lists_are_texts_whether_or_not_a_trial_has_ended(tmp_path):
    """Parquet has no column of both."""
    axes = {"encoder.hidden_layers": ([-1], [3, 4])}
    made = made_up(tmp_path, axes, lambda spec: 0.8)
    last = made.found.order[-1]
    unfinished = replace(
        made.found, order=made.found.order[:-1], missing={last.trial.fingerprint: "it diverged"}
    )
    written, *_ = frames.write(unfinished, made.store, tmp_path / "data", "parquet")
    assert set(pd.read_parquet(written)["encoder.hidden_layers"].dropna()) == {"[-1]", "[3, 4]"}


@pytest.mark.parametrize(
    ("format", "read"),
    [("csv", pd.read_csv), ("json", pd.read_json), ("parquet", pd.read_parquet)],
)
def test_every_format_holds_the_same(format, read, small, home, capsys):
    given = [small.record.fingerprint, "--home", str(home), "--format", format]
    assert command.main(given) == 0
    paths = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert [path.name for path in paths] == [
        f"{rows}.{format}" for rows in ("trials", "seeds", "curves")
    ]
    for path in paths:
        written, expected = read(path), of(small, home, path.stem)
        assert list(written.columns) == list(expected.columns)
        assert written["fingerprint"].tolist() == expected["fingerprint"].tolist()
        # JSON and CSV have one kind of nothing, and pandas writes JSON with ten decimals.
        for name in expected.select_dtypes("float"):
            pd.testing.assert_series_equal(
                written[name].astype(float), expected[name], rtol=1e-9, atol=1e-9
            )


def test_a_sweep_that_is_not_there_is_named(small, home, tmp_path):
    with pytest.raises(ConfigError, match="unknown sweep 'other'; give a name or a fingerprint"):
        frame("other", home=home)
    with pytest.raises(ConfigError, match="there is no store in"):
        frame("other", home=tmp_path)
