"""Grids: their product, settings on top, and what a mistake is told."""

import pytest

from orchestrator import grid
from qdllm.errors import ConfigError


def write(folder, text):
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_ablation_is_layers_by_alpha_by_learning_rate():
    specs = grid.specs(grid.load("ablation"))
    assert len(specs) == 60
    assert {spec.circuit.layers for spec in specs} == {1, 2, 4, 8, 11}
    assert {spec.loss.alpha for spec in specs} == {0, 0.5, 0.9, 1}
    assert {spec.fit.lr for spec in specs} == {0.003, 0.01, 0.06}
    assert {(spec.circuit.ansatz, spec.circuit.qubits, spec.angles) for spec in specs} == {
        ("published", 11, "raw")
    }
    assert {spec.seeds for spec in specs} == {(0, 1, 2, 3, 4)}


def test_settings_change_the_base_and_replace_axes():
    changed = grid.override(
        grid.load("ablation"), ["fit.epochs=3", "circuit.layers=[2, 3]", "fit.lr=0.5"]
    )
    specs = grid.specs(changed)
    assert len(specs) == 2 * 4
    assert {spec.fit.epochs for spec in specs} == {3}
    assert {spec.circuit.layers for spec in specs} == {2, 3}
    assert {spec.fit.lr for spec in specs} == {0.5}


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("fit.epoch=3", "unknown key 'fit.epoch'; did you mean 'epochs'?"),
        ("circuit.ansatz=publisched", "'publisched'; did you mean 'published'?"),
        ("fit.epochs", "has no '='"),
        ("fit.epochs=0", "fit.epochs: Input should be greater than or equal to 1"),
        ("fit.epochs.x=0", "fit.epochs: Input should be a valid integer"),
        ("seeds=[]", "seeds: "),
        ("seeds=[-1]", "seeds.0: Input should be greater than or equal to 0"),
        ("encoder.hidden_layers=foo", "unknown encoder.hidden_layers 'foo'. There are: all"),
        ("circuit.layers=[]", "an axis of grid 'ablation' is empty"),
        ("seeds=[1, 1]", "each value may stand once"),
        ("fit.lr=[0.1, 0.1]", "names a value twice"),
        ("task.split=[0.5, 0.5, 0.5]", "three positive numbers that sum to 1"),
        ("angles={", "the value is not YAML"),
    ],
)
def test_a_setting_that_cannot_be_used_is_told_why(setting, message):
    with pytest.raises(ConfigError) as caught:
        grid.specs(grid.override(grid.load("ablation"), [setting]))
    assert message in str(caught.value)


def test_an_unknown_grid_names_the_nearest_and_all():
    with pytest.raises(ConfigError, match="unknown grid 'ablatoin'; did you mean 'ablation'"):
        grid.load("ablatoin")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("axes: {fit.lrr: [1]}", "unknown key 'fit.lrr'; did you mean 'lr'?"),
        ("axis: {}", "unknown key 'axis'; did you mean 'axes'?"),
        ("- 1", "must hold a mapping"),
        ("a: [", "is not a YAML file"),
        ("teacher_floor: 2", "teacher_floor: Input should be less than or equal to 1"),
        ("axes: {task.name: [a, b]}", "a grid has one task"),
    ],
)
def test_a_grid_file_that_cannot_be_used_is_named_with_the_reason(tmp_path, text, message):
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        grid.load(path)
    assert path in str(caught.value)
    assert message in str(caught.value)


def test_a_users_own_grid_file_is_a_grid(tmp_path):
    path = write(tmp_path, "base: {fit: {epochs: 2}}\naxes: {circuit.layers: [1, 3]}\n")
    loaded = grid.load(path)
    assert loaded.name == "mine"
    assert [spec.circuit.layers for spec in grid.specs(loaded)] == [1, 3]
