"""Grids: what a mistake is told, with its line or its --set."""

import re

import pytest

from orchestrator import grid
from qdllm.errors import ConfigError

BUILT_IN = {file.stem for file in grid.FOLDER.glob("*.yaml")}


def made(text, folder):
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return grid.specs(grid.load(str(path)))


def refused(call, *arguments):
    with pytest.raises(ConfigError) as caught:
        call(*arguments)
    return str(caught.value)


SETTINGS = {
    "fit.epoch=3": "unknown key 'fit.epoch'; did you mean 'epochs'? There are: batch_size, epochs",
    "layers=3": "unknown key 'layers'. There are: angles, body, circuit",
    "circuit.ansatz=publisched": "unknown circuit.ansatz 'publisched'; did you mean 'published'?",
    "fit.epochs=0": "fit.epochs must be at least 1, but 0 was given",
    "fit.epochs=2.0": "fit.epochs must be a whole number, written without point and exponent",
    "fit.epochs.x=0": "unknown key 'fit.epochs.x': 'fit.epochs' is one setting, not a group",
    "fit.lr=yes": "fit.lr must be a number, but True was given",
    "fit.lr='0.1'": "fit.lr must be a number, but '0.1' was given",
    "fit.lr=.inf": "fit.lr must be a finite number",
    "fit=3": "'fit' is a group of settings; name one of them, such as fit.epochs",
    "seeds=[]": "seeds must be a list or group of at least 1, but [] was given",
    "seeds=0": "as their number or as a list such as [0, 1, 2], but 0 was given",
    "seeds=yes": "seeds: a trial has 1 to 1,000, given as their number or as a list",
    "seeds=five": "but 'five' was given",
    "circuit.noise=[baihua]": "make them an axis: --set axes.circuit.noise='[\"baihua\"]'",
    "encoder.hidden_layers=3": "must be a list, but 3 was given; or give 'all'",
    "encoder.hidden_layers=[a]": "layers.0 must be a whole number, but 'a' was given",
    "encoder.pooling=mena": "did you mean 'mean'? There are: mean, max, first; or give a list",
    "seeds=[-1]": "seeds.0 must be at least 0",
    "seeds=[1, 1]": "each value may stand once",
    "encoder.hidden_layers=foo": "unknown encoder.hidden_layers 'foo'. There are: all",
    "circuit.layers=[]": "axes.circuit.layers is empty; give it at least one value",
    "fit.lr=[0.1, 0.1]": "axes.fit.lr names a value twice; each may stand once",
    "axes.loss={a: {loss.alpha: 0}, b: {fit.epochs: 1}}": "both move 'loss.alpha'",
    "task.split=[0.5, 0.5, 0.5]": "three positive numbers that sum to 1",
    "angles={": "the value is not YAML",
    "angles={a: 1, a: 2}": "'a' stands in line 1 already",
    "teacher_floor=2": "teacher_floor must be at most 1",
    "teacher_workers=0": "teacher_workers must be at least 1",
    "teacher_workers=yes": "teacher_workers must be a whole number",
    "scheduler=ahsa": "unknown scheduler 'ahsa'; did you mean 'asha'? There are: none, asha, med",
    "resources.cpu=0": "resources.cpu must be greater than 0",
    "resources.gpus=1": "unknown key 'resources.gpus'; did you mean 'gpu'? There are: cpu, gpu",
    "search.trials=3": "search.space is missing",
    "search.trails=3": "unknown key 'search.trails'; did you mean 'trials'? There are: objectives",
    "name=a/b": "name: 'a/b' was given; it names what a sweep writes, so it may hold letters",
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_setting_that_cannot_be_used_is_named_with_the_reason(setting):
    def apply():
        return grid.specs(grid.override(grid.load("ablation"), ["fit.epochs=3", setting]))

    for line in refused(apply).splitlines():
        assert line.startswith(f"--set {setting}: ")
    assert SETTINGS[setting] in refused(apply)


def test_a_setting_without_a_value_is_told_the_form():
    message = refused(grid.override, grid.load("ablation"), ["fit.epochs"])
    assert message == "--set 'fit.epochs' has no '='; write key=value, such as fit.epochs=20"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("loss=[CE, alll]", "unknown label 'alll'; did you mean 'all'? There are: CE, KL, JS, all"),
        ("loss.alpha=0.5", "every point of axis 'loss' sets 'loss.alpha', so this would change"),
        ("base.loss.alpha=0.5", "choose points with --set loss=LABEL. There are: CE, KL, JS, all"),
    ],
)
def test_an_axis_with_labels_takes_labels(setting, message):
    refusal = refused(grid.override, grid.load("losses"), [setting])
    assert refusal.startswith(f"--set {setting}: ")
    assert message in refusal


def test_an_unknown_grid_names_the_nearest_and_all():
    message = refused(grid.load, "ablatoin")
    assert message.startswith("unknown grid 'ablatoin'; did you mean 'ablation'? ")
    assert all(name in message for name in BUILT_IN)


FILES = {
    "an axis": ("axes:\n  fit.lrr: [1]", 2, "unknown key 'fit.lrr'; did you mean 'lr'?"),
    "a key of its own": ("base: {}\naxis: {}", 2, "unknown key 'axis'; did you mean 'axes'?"),
    "a value": ("axes:\n  fit.lr:\n  - 0.1\n  - -1", 4, "fit.lr must be greater than 0"),
    "a nested key": (
        "base:\n  circuit:\n    qubits: 4\n    layer: 2",
        4,
        "unknown key 'circuit.layer'; did you mean 'layers'? There are: ansatz, encoding, file",
    ),
    "a dotted key": ("base:\n  circuit.layer: 2", 2, "unknown key 'circuit.layer'"),
    "a nested value": ("base:\n  fit:\n    lr: yes", 3, "but True was given"),
    "an element": (
        "base:\n  encoder:\n    hidden_layers: [1,\n      x]",
        3,
        "encoder.hidden_layers.1 must be a whole number",
    ),
    "a group": ("axes:\n  loss: [{alpha: 1}]", 2, "'loss' is a group of settings; name one"),
    "a label's key": (
        "axes:\n  loss:\n    CE:\n      loss.alhpa: 0",
        4,
        "unknown key 'loss.alhpa'; did you mean 'alpha'?",
    ),
    "a label's value": (
        "axes:\n  loss:\n    CE: {loss.alpha: 0}\n    KL:\n      fit: {lr: 1}\n      loss.alpha: 2",
        6,
        "loss.alpha must be at most 1",
    ),
    "a label without settings": ("axes:\n  loss: {CE: 1}", 2, "must be a list of values, or lab"),
    "a scalar axis": ("axes:\n  fit.lr: 0.1", 2, "must be a list of values, or labels with the s"),
    "an empty axis": ("axes:\n  fit.lr: []", 2, "axes.fit.lr is empty; give it at least one"),
    "no axis": ("axes:\n  fit.lr:", 2, "must be a list of values"),
    "a factor": ("one_at_a_time:\n  fit.lr: [0]", 2, "fit.lr must be greater than 0"),
    "a factor's key": ("one_at_a_time:\n  fit.lrr: [0]", 2, "unknown key 'fit.lrr'"),
    "a value twice": ("axes:\n  loss.alpha:\n  - 1\n  - 1.0", 4, "axes.loss.alpha names a value"),
    "a factor's value twice": (
        "one_at_a_time:\n  fit.epochs: [3,\n    3]",
        3,
        "one_at_a_time.fit.epochs names a value twice",
    ),
    "a key twice": ("base:\n  fit:\n    lr: 1\n    lr: 2", 4, "'lr' stands in line 3 already"),
    "a key nested and dotted": (
        "base:\n  fit: {lr: 1}\n  fit.lr: 2",
        1,
        "'fit.lr' is set twice; keep one of them",
    ),
    "an axis and a factor": (
        "axes:\n  fit.lr: [1]\none_at_a_time:\n  fit.lr: [2]",
        4,
        "one_at_a_time.fit.lr and axes.fit.lr both move 'fit.lr'; leave it to one of them",
    ),
    "two axes": (
        "axes:\n  fit.lr: [1]\n  speed: {slow: {fit.lr: 0.1}}",
        3,
        "axes.speed and axes.fit.lr both move 'fit.lr'",
    ),
    "an axis and a search": (
        "axes:\n  fit.lr: [1]\nsearch:\n  space:\n    fit.lr: {low: 1, high: 2}",
        5,
        "search.space.fit.lr and axes.fit.lr both move 'fit.lr'",
    ),
    "factors and a search": (
        "search: {space: {fit.lr: [1]}}\none_at_a_time: {fit.epochs: [2]}",
        2,
        "a grid with a search has no factors; use axes",
    ),
    "seeds": ("seeds: [0, 0]", 1, "each value may stand once"),
    "seeds in two places": ("base: {seeds: [1]}\nseeds: 2", 2, "'seeds' stands in base too"),
    "no mapping": ("base:\n- 1", 1, "base must be a group of settings"),
    "a floor": ("base: {}\nteacher_floor: 2", 2, "teacher_floor must be at most"),
    "a resource": ("resources:\n  gpu: -1", 2, "resources.gpu must be at least"),
    "a scheduler": ("\nscheduler: hyperband", 2, "unknown scheduler 'hyperband'. There are: none"),
    "a search's key": ("search:\n  spaces: {}", 2, "'search.spaces'; did you mean 'space'?"),
    "not YAML": ("base: {}\naxes: [", 2, "expected the node content"),
    "a tag": ("base: {}\naxes: !!python/name:os.system", 2, "could not determine a constructor"),
    "bytes": ("name: !!binary gARI", 1, "could not determine a constructor"),
    "a set": ("base: {}\nseeds: !!set {1, 2}", 2, "could not determine a constructor"),
    "no date": ("base: {}\nname: !!timestamp x", 2, "could not determine a constructor"),
    "no number": ("base: {}\nseeds: !!int ''", 2, "'' cannot be read as int"),
    "nothing but a prefix": ("base: {}\nseeds: 0x_", 2, "'0x_' cannot be read as int"),
    "no number for a computer": ("name: 1" + ":00" * 200 + ".5", 1, "cannot be read as float"),
    "no boolean": ("search: {}\nseeds: !!bool maybe", 2, "'maybe' cannot be read as bool"),
    "no text": ('base: {}\nname: "\\ud800"', 2, "'\\ud800' cannot be read as str"),
    "a list as a key": ("base:\n  ? [1]\n  : 2", 2, "a key must be a word, not a list or a mapp"),
    "deep lists": ("- " * 100_000, 1, "more than 20 lists and mappings lie in each other here"),
    "deep mappings": ("base: " + "{a: " * 30 + "1" + "}" * 30, 1, "lie in each other here; a grid"),
    "deep aliases": (
        "base:\n  a: &a " + "[" * 15 + "]" * 15 + "\n  b: " + "[" * 15 + "*a" + "]" * 15,
        2,
        "more than 20 lists and mappings",
    ),
    "itself": ("base:\n  task: &a\n    name: *a", 2, "this value holds itself"),
    "an unknown anchor": ("base:\n  fit: *f", 2, "found undefined alias"),
}


@pytest.mark.parametrize("case", FILES)
def test_a_mistake_in_a_file_is_told_with_its_line(case, tmp_path):
    text, line, message = FILES[case]
    refusal = refused(made, text, tmp_path)
    assert f"{tmp_path / 'mine.yaml'}:{line}: " in refusal
    assert message in refusal


def test_every_mistake_is_told_at_once_and_once(tmp_path):
    text = "axes:\n  fit.lr: [0.1, -1]\n  circuit.layers: [1, 2, 0]\n  fit.epochs: [1, 2]"
    lines = refused(made, text, tmp_path).splitlines()
    assert [re.sub(r".*yaml:(\d).*, but", r"\1", line) for line in lines] == [
        "3 0 was given",
        "2 -1 was given",
    ]


LAUGHS = "a0: &a0 [0]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10)
)
"""A few hundred bytes that mean a few hundred million values."""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"- 1", "must hold a mapping with keys such as base"),
        (b"", "must hold a mapping with keys such as base"),
        (b"name: \xff", "is not UTF-8 text"),
        (b"a: \x07", "mine.yaml: unacceptable character"),
        (b"base: {}\n---\nbase: {}", "expected a single document"),
        (LAUGHS.encode(), "mine.yaml: more than 100,000 values, with its aliases written out"),
    ],
)
def test_a_file_that_is_no_grid_is_named(content, message, tmp_path):
    (tmp_path / "mine.yaml").write_bytes(content)
    refusal = refused(grid.load, str(tmp_path / "mine.yaml"))
    assert str(tmp_path / "mine.yaml") in refusal
    assert message in refusal
