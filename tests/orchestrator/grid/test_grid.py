"""Grids: what they come to, settings on top of them, and the page that describes them."""

import re
import shlex
from itertools import product

import pytest
from checkout import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator import grid
from orchestrator.sweep import main, parser
from qdllm.circuits.spec import CircuitSpec
from qdllm.errors import ConfigError
from qdllm.families.quantum import StudentSpec
from qdllm.specs import FitSpec, LossSpec
from qdllm.texts import corpus

DOCS = (ROOT / "docs" / "grids.md").read_text(encoding="utf-8")
BUILT_IN = {file.stem for file in grid.FOLDER.glob("*.yaml")}


def write(folder, text, name="mine.yaml"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def made(text, folder):
    return grid.specs(grid.load(write(folder, text)))


def refused(call, *arguments):
    with pytest.raises(ConfigError) as caught:
        call(*arguments)
    return str(caught.value)


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


def test_ablation_takes_up_what_quickstart_computed():
    quick, whole = (set(grid.specs(grid.load(name))) for name in ("quickstart", "ablation"))
    assert len(quick) == 4
    assert quick < whole


def test_losses_are_the_rows_of_table_7():
    specs = grid.specs(grid.load("losses"))
    terms = [(spec.loss.alpha, spec.loss.teacher_terms) for spec in specs]
    assert terms == [(0, "kl+js"), (1, "kl"), (1, "js"), (0.9, "kl+js")]
    assert len({spec.model_copy(update={"loss": LossSpec()}) for spec in specs}) == 1


def test_teachers_are_minilm_and_the_columns_of_table_8():
    teachers = {spec.teacher.model: spec.teacher for spec in grid.specs(grid.load("teachers"))}
    assert [*teachers] == [
        "minilm",
        "bloomz-1b1",
        "bloomz-3b",
        "opt-6.7b",
        "llama2-7b",
        "llama3-8b",
    ]
    pickled = [name for name, teacher in teachers.items() if teacher.weights == "torch"]
    assert pickled == ["opt-6.7b"], "the only one that the hub has as pickles alone"


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_every_built_in_grid_says_what_it_is_for_and_can_be_planned(name, tmp_path, capfd):
    assert len(grid.load(name).description) > 20
    assert main(["--grid", name, "--dry-run", "--home", str(tmp_path)]) == 0
    assert "trials" in capfd.readouterr().out


def test_the_built_in_grids_are_these():
    built_in = ["ablation", "best", "losses", "quickstart", "rivals", "search", "teachers"]
    assert sorted(BUILT_IN) == built_in


EXAMPLES = re.findall(r"```yaml\n(.*?)```", DOCS, flags=re.DOTALL)


def test_the_docs_have_an_example_of_every_key():
    assert {key for key in grid.Grid.model_fields if f"\n{key}:" in "\n".join(["", *EXAMPLES])} == (
        set(grid.Grid.model_fields)
    )


@pytest.mark.parametrize(
    ("text", "trials"), list(zip(EXAMPLES, (6, 6, 6, 1, 2, 12, 10, 8, 2), strict=True))
)
def test_every_example_in_the_docs_is_a_grid(text, trials, tmp_path):
    assert len(made(text, tmp_path)) == trials


COMMANDS = re.findall(r"python -m orchestrator\.sweep (--grid .*)", DOCS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_in_the_docs_is_understood(command):
    options = parser().parse_args(shlex.split(command))
    assert grid.specs(grid.override(grid.load(options.grid), options.set))


def test_the_docs_show_an_error_as_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = "base:\n  fit: {lr: 0.1}\n# 3\n# 4\n# 5\naxes:\n  circuit.layer: [1]\n"
    write(tmp_path, text, "my_grid.yaml")
    assert refused(lambda: grid.specs(grid.load("my_grid.yaml"))) in DOCS


AXES = st.fixed_dictionaries(
    {},
    optional={
        "circuit.layers": st.lists(st.integers(1, 20), min_size=1, max_size=4, unique=True),
        "loss.alpha": st.lists(st.floats(0, 1), min_size=1, max_size=3, unique=True),
        "fit.lr": st.lists(st.floats(1e-6, 1), min_size=1, max_size=3, unique=True),
        "seeds": st.lists(st.integers(1, 3), min_size=1, max_size=2, unique=True),
    },
)


def naive(layers=2, alpha=0.9, lr=0.06, seeds=5):
    return StudentSpec(
        circuit=CircuitSpec(layers=layers),
        loss=LossSpec(alpha=alpha),
        fit=FitSpec(lr=lr),
        seeds=tuple(range(seeds)),
    )


@settings(deadline=None)
@given(AXES)
def test_a_product_is_what_nested_loops_would_make(axes):
    specs = grid.specs(grid.Grid.parse({"name": "random", "axes": axes}))
    words = [key.rpartition(".")[2] for key in axes]
    expected = [
        naive(**dict(zip(words, values, strict=True))) for values in product(*axes.values())
    ]
    assert specs == expected


@settings(deadline=None)
@given(AXES)
def test_a_star_is_the_base_and_each_factor_alone(factors):
    specs = grid.specs(grid.Grid.parse({"name": "random", "one_at_a_time": factors}))
    expected = [naive()]
    for key, values in factors.items():
        expected += [naive(**{key.rpartition(".")[2]: value}) for value in values]
    assert specs == list(dict.fromkeys(expected))


def test_factors_beside_axes_move_at_every_point_of_them(tmp_path):
    specs = made(
        "axes: {circuit.layers: [1, 2]}\none_at_a_time: {fit.lr: [0.06, 0.1], fit.epochs: [3]}",
        tmp_path,
    )
    assert [(s.circuit.layers, s.fit.lr, s.fit.epochs) for s in specs] == [
        *((1, 0.06, 10), (1, 0.1, 10), (1, 0.06, 3)),
        *((2, 0.06, 10), (2, 0.1, 10), (2, 0.06, 3)),
    ]


def test_dotted_and_nested_keys_are_the_same(tmp_path):
    nested = made("base: {fit: {lr: 0.1, epochs: 3}, angles: minmax}", tmp_path)
    dotted = made("base: {fit.lr: 1e-1, fit.epochs: 3, angles: minmax}", tmp_path)
    assert nested == dotted == [StudentSpec(fit=FitSpec(lr=0.1, epochs=3), angles="minmax")]


def test_a_file_is_called_after_itself_and_anchors_are_yaml(tmp_path):
    path = write(
        tmp_path, "base: {fit: &fit {lr: 0.1}}\naxes: {x: {a: {fit: {<<: *fit, epochs: 1}}}}"
    )
    loaded = grid.load(path)
    assert loaded.name == "mine"
    assert grid.specs(loaded) == [StudentSpec(fit=FitSpec(lr=0.1, epochs=1))]


def test_settings_go_where_they_belong():
    changed = grid.override(
        grid.load("ablation"),
        ["fit.epochs=3", "circuit.layers=[2, 3]", "fit.lr=0.5", "axes.loss.temperature=[1, 4]"],
    )
    specs = grid.specs(changed)
    assert len(specs) == 2 * 4 * 2
    assert {spec.fit.epochs for spec in specs} == {3}
    assert {spec.circuit.layers for spec in specs} == {2, 3}
    assert {spec.fit.lr for spec in specs} == {0.5}
    assert {spec.loss.temperature for spec in specs} == {1, 4}


def test_settings_reach_the_grids_own_keys():
    changed = grid.override(
        grid.load("search"),
        [
            "search.trials=7",
            "search.sampler=nsga-ii",
            "search.space.circuit.qubits={low: 4, high: 8}",
            "search.objectives.val.f1.mean=maximize",
            "teacher_floor=0.8",
            "seeds=2",
            "resources.cpu=0.5",
            "teacher_workers=2",
        ],
    )
    assert (changed.search.trials, changed.search.sampler) == (7, "nsga-ii")
    assert changed.search.dimensions["circuit.qubits"].high == 8
    assert list(changed.search.objectives) == ["val.accuracy.mean", "parameters", "val.f1.mean"]
    assert (changed.teacher_floor, changed.teacher_workers) == (0.8, 2)
    assert (changed.resources.cpu, changed.resources.gpu) == (0.5, 0)
    assert grid.specs(changed)[0].seeds == (0, 1)


def test_a_setting_of_seeds_wins_over_those_of_the_base(tmp_path):
    loaded = grid.load(write(tmp_path, "base: {seeds: [4, 5]}"))
    assert grid.specs(loaded)[0].seeds == (4, 5)
    assert grid.specs(grid.override(loaded, ["seeds=[7]"]))[0].seeds == (7,)


def test_a_single_value_takes_a_setting_out_of_the_search():
    search = grid.load("search")
    fixed = grid.override(search, ["angles=minmax", "fit.batch_size=[8, 16]"])
    assert search.search.space.keys() - fixed.search.space.keys() == {"angles"}
    assert fixed.search.dimensions["fit.batch_size"].values == (8, 16)
    assert [spec.angles for spec in grid.specs(fixed)] == ["minmax"]


def test_labels_are_chosen_by_name():
    losses = grid.load("losses")
    assert grid.specs(grid.override(losses, ["loss=JS"])) == grid.specs(losses)[2:3]
    assert len(grid.specs(grid.override(losses, ["loss=[CE, all]"]))) == 2
    assert len(grid.specs(grid.override(losses, ["loss={x: {loss.alpha: 0.3}}"]))) == 1


def test_flags_replace_tasks_and_teachers_of_the_grid(tmp_path):
    loaded = grid.load(
        write(tmp_path, "axes: {task.name: [sample-emotion, sample-hiding], fit.lr: [0.1, 0.2]}")
    )
    specs = grid.specs(grid.on(loaded, "thematic", "published", "opt-6.7b"))
    assert len(specs) == 2
    assert {(s.task.name, s.task.data, s.teacher.model) for s in specs} == {
        ("thematic", "published", "opt-6.7b")
    }
    assert grid.specs(grid.on(loaded, None, None, None)) == grid.specs(loaded)
    (alone,) = grid.specs(grid.on(grid.load("teachers"), None, None, "bloomz-1b1"))
    assert alone.teacher.model == "bloomz-1b1", "an axis of teachers gives way"


def test_paths_are_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "texts.csv").touch()
    (tmp_path / "model").mkdir()
    (tmp_path / "minilm").mkdir()
    one = grid.override(grid.load("quickstart"), ["task.name=texts.csv", "teacher.model=./model"])
    assert {(s.task.name, s.teacher.model, s.encoder.model) for s in grid.specs(one)} == {
        (str(tmp_path / "texts.csv"), str(tmp_path / "model"), "minilm")
    }
    two = grid.override(grid.load("quickstart"), ["task.name=texts.csv", "task.data=folder"])
    assert {(s.task.name, s.task.data) for s in grid.specs(two)} == {
        ("texts.csv", str(tmp_path / "folder"))
    }
    message = refused(
        lambda: made("axes:\n  task.data: [texts.csv, ./texts.csv, published]", tmp_path)
    )
    assert message.endswith("mine.yaml:2: axes.task.data names a value twice; each may stand once")


def test_trials_are_grouped_by_task(tmp_path):
    specs = made(
        f"axes: {{fit.lr: [0.1, 0.2], task.name: [{', '.join(corpus.CLASSES)}]}}", tmp_path
    )
    tasks = grid.by_task(specs)
    assert [task.name for task in tasks] == list(corpus.CLASSES)
    for task, members in tasks.items():
        assert members == [spec for spec in specs if spec.task == task]
        assert [spec.fit.lr for spec in members] == [0.1, 0.2]


def test_a_grid_survives_being_stored():
    for name in BUILT_IN:
        loaded = grid.load(name)
        again = grid.Grid.parse(loaded.model_dump(mode="json"))
        assert grid.difference(loaded, again) == []
        assert grid.specs(again) == grid.specs(loaded)


def test_the_difference_of_two_grids_can_be_read():
    old = grid.load("ablation")
    new = grid.override(old, ["fit.lr=[0.1]", "fit.epochs=3", "teacher_floor=0.9", "seeds=2"])
    assert set(grid.difference(old, new)) == {
        "base.fit.epochs: not set → 3",
        "axes.fit.lr: [0.003, 0.01, 0.06] → [0.1]",
        "seeds: not set → 2",
        "teacher_floor: not set → 0.9",
    }
