"""Grids over families: what each takes of a trial's settings, and what none of them does."""

from collections import Counter

import pytest

from orchestrator import grid
from orchestrator.grid.space import at, inside, point
from qdllm import families
from qdllm.errors import ConfigError
from qdllm.families.linear import LinearSpec
from qdllm.families.quantum import StudentSpec
from qdllm.families.tanh import TanhSpec
from qdllm.specs import EncoderSpec, FitSpec


def made(text, folder, *settings):
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return grid.specs(grid.override(grid.load(str(path)), settings))


def refused(text, folder, *settings):
    with pytest.raises(ConfigError) as caught:
        made(text, folder, *settings)
    return str(caught.value)


def test_an_axis_of_families_gives_each_of_them(tmp_path):
    assert made("axes: {family: [quantum, tanh]}", tmp_path) == [StudentSpec(), TanhSpec()]


def test_a_grid_that_names_no_family_has_quantum_students(tmp_path):
    assert made("base: {}", tmp_path) == [StudentSpec()]
    assert made("base: {family: quantum}", tmp_path) == [StudentSpec()]


def test_a_setting_that_a_family_lacks_is_none_of_its_and_trials_that_come_out_alike_are_one(
    tmp_path,
):
    text = "axes: {family: [quantum, tanh, linear], fit.lr: [0.1, 0.2], angles: [raw, minmax]}"
    specs = made(text, tmp_path, "circuit.qubits=4")
    assert [type(spec) for spec in specs] == [*[StudentSpec] * 4, *[TanhSpec] * 2, LinearSpec]
    assert [spec.fit for spec in specs[4:6]] == [FitSpec(lr=0.1), FitSpec(lr=0.2)]
    assert {spec.circuit.qubits for spec in specs[:6]} == {4}


@pytest.mark.parametrize("where", ["one_at_a_time", "axes"])
def test_labels_and_factors_reach_those_that_have_their_settings(where, tmp_path):
    text = f"base: {{family: linear}}\n{where}: {{how: {{a: {{encoder.pooling: first}}}}}}"
    assert made(text, tmp_path)[-1] == LinearSpec(encoder=EncoderSpec(pooling="first"))


def test_seeds_are_none_of_a_family_in_which_nothing_is_drawn(tmp_path):
    students, probe = made("axes: {family: [quantum, linear]}\nseeds: 2", tmp_path)
    assert students.seeds == (0, 1)
    assert probe == LinearSpec()
    assert made("base: {family: linear}\nseeds: 2", tmp_path) == [LinearSpec()]


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("base: {family: tanh}\naxes:\n  angles: [raw, minmax]", 3, "'angles' is no setting of"),
        ("axes:\n  family: [tanh]\n  angles: [raw, minmax]", 3, "'angles' is no setting of"),
        ("base: {family: tanh}\none_at_a_time:\n  angles: [minmax]", 3, "'angles' is no setting"),
        (
            "axes:\n  family: [linear]\n  size:\n    small:\n      circuit.layers: 1",
            5,
            "'circuit.layers' is no setting of family linear",
        ),
        (
            "axes:\n  family: [linear, tanh]\n  angles: [minmax]",
            3,
            "'angles' is no setting of family linear, tanh",
        ),
    ],
)
def test_an_axis_that_no_trial_takes_is_refused_with_its_line(text, line, message, tmp_path):
    told = refused(text, tmp_path)
    assert told.startswith(f"{tmp_path / 'mine.yaml'}:{line}: {message}")
    assert len(told.splitlines()) == 1


@pytest.mark.parametrize("setting", ["angles=minmax", "axes.angles=[raw, minmax]"])
def test_a_set_that_no_trial_takes_is_refused(setting, tmp_path):
    told = refused("base: {family: tanh}", tmp_path, setting)
    assert told == f"--set {setting}: 'angles' is no setting of family tanh"


def test_a_base_may_hold_what_only_other_families_have(tmp_path):
    text = "base: {angles: minmax, fit.lr: 0.1}\naxes: {family: [quantum, linear]}"
    assert made(text, tmp_path) == [StudentSpec(angles="minmax", fit=FitSpec(lr=0.1)), LinearSpec()]
    assert made(text, tmp_path, "family=linear") == [LinearSpec()]


UNKNOWN = {
    "an axis": ("axes:\n  family:\n  - quantum\n  - tahn", 4, "'tahn'; did you mean 'tanh'?"),
    "a base": ("base:\n  family: qantum", 2, "'qantum'; did you mean 'quantum'?"),
    "a label": ("axes:\n  how:\n    a:\n      family: liner", 4, "'liner'; did you mean 'linear'?"),
    "a number": ("base: {}\naxes: {family: [1]}", 2, "1. There are: "),
    "nothing": ("base: {family: null}", 1, "None. There are: "),
}


def test_several_in_a_base_are_told_how_to_be_an_axis(tmp_path):
    told = refused("base: {family: [quantum, tanh]}", tmp_path)
    assert told == (
        f"{tmp_path / 'mine.yaml'}:1: family is one value, but ['quantum', 'tanh'] was given; to "
        """compare several, make them an axis: --set axes.family='["quantum", "tanh"]'"""
    )


@pytest.mark.parametrize("case", UNKNOWN)
def test_an_unknown_family_is_told_with_its_line_and_the_nearest(case, tmp_path):
    text, line, message = UNKNOWN[case]
    told = refused(text, tmp_path)
    assert told.startswith(f"{tmp_path / 'mine.yaml'}:{line}: unknown family {message}")
    assert all(name in told.partition("There are: ")[2] for name in ("linear", "quantum", "tanh"))


def test_an_unknown_family_on_the_command_line_is_told(tmp_path):
    told = refused("base: {}", tmp_path, "family=tahn")
    assert told.startswith("--set family=tahn: unknown family 'tahn'; did you mean 'tanh'?")


def test_a_champions_families_are_known_ones(tmp_path):
    text = "base: {}\nchampion:\n  families: [quantm]"
    told = refused(text, tmp_path)
    assert told.startswith(f"{tmp_path / 'mine.yaml'}:3: champion.families: ")
    assert "unknown family 'quantm'; did you mean 'quantum'? There are: " in told
    told = refused("base: {}", tmp_path, "champion.families=[quantm]")
    assert told.startswith("--set champion.families=[quantm]: champion.families: ")
    assert "list or group of at least 1" in refused("champion: {families: []}", tmp_path)
    assert "did you mean 'families'?" in refused("champion: {family: [tanh]}", tmp_path)


def test_a_champions_families_are_those_of_trials(tmp_path):
    text = "axes: {family: [quantum, linear]}\nchampion:\n  families: [tanh]"
    told = "no trial is of family tanh; the trials are of: quantum, linear"
    assert refused(text, tmp_path) == f"{tmp_path / 'mine.yaml'}:3: {told}"
    told = refused("base: {}", tmp_path, "champion.families=[tanh, linear]")
    assert told.startswith("--set champion.families=[tanh, linear]: no trial is of family tanh or")
    assert len(made(text, tmp_path, "champion.families=[tanh, linear]")) == 2


@pytest.mark.parametrize(
    ("written", "present", "among"),
    [
        (None, ["quantum", "tanh"], {"quantum"}),
        (None, ["tanh", "linear"], {"tanh", "linear"}),
        (("tanh",), ["quantum", "tanh"], {"tanh"}),
        (("quantum", "tanh"), ["quantum"], {"quantum", "tanh"}),
    ],
)
def test_a_champion_is_a_quantum_student_unless_a_grid_says_otherwise(written, present, among):
    assert grid.Champion(families=written).among(present) == among


@pytest.mark.parametrize("gpu", [1, 0.25])
def test_a_gpu_for_trials_is_refused_with_the_reason(gpu, tmp_path):
    told = refused(f"base: {{}}\nresources:\n  gpu: {gpu}", tmp_path)
    assert told.startswith(f"{tmp_path / 'mine.yaml'}:3: resources.gpu: ")
    assert "trials run on CPU cores and would keep a GPU idle, so leave it out" in told
    told = refused("base: {}", tmp_path, f"resources.gpu={gpu}")
    assert told.startswith(f"--set resources.gpu={gpu}: resources.gpu: ")
    assert made("resources: {gpu: 0}", tmp_path) == [StudentSpec()]


SEARCH = "search: {space: {fit.lr: {low: 0.001, high: 0.1}, circuit.layers: [1, 2]}}"


def test_a_search_goes_around_a_base_of_its_family(tmp_path):
    (base,) = made(f"base: {{family: tanh, fit.epochs: 3}}\n{SEARCH}", tmp_path)
    assert base == TanhSpec(fit=FitSpec(epochs=3))
    search = grid.load(str(tmp_path / "mine.yaml")).search
    coordinates = {"fit.lr": 0.05, "circuit.layers": 1}
    spec = at(base, coordinates)
    assert type(spec) is TanhSpec
    assert (spec.fit, spec.circuit.layers) == (FitSpec(epochs=3, lr=0.05), 1)
    assert point(search, spec) == coordinates
    assert inside(search, spec)
    assert not inside(search, at(base, coordinates | {"fit.lr": 0.2}))


def test_an_axis_of_families_gives_a_search_for_each(tmp_path):
    specs = made(f"axes: {{family: [quantum, tanh]}}\n{SEARCH}", tmp_path)
    assert specs == [StudentSpec(), TanhSpec()]


@pytest.mark.parametrize("families", ["tanh", "quantum, tanh"])
def test_a_search_varies_what_each_of_its_bases_has(families, tmp_path):
    text = f"axes: {{family: [{families}]}}\nsearch:\n  space:\n    angles: [raw, minmax]"
    told = refused(text, tmp_path)
    assert told == f"{tmp_path / 'mine.yaml'}:4: 'angles' is no setting of family tanh"


@pytest.mark.parametrize(
    "space",
    ["terms.pairs: [skip, last]", "terms.states: {low: 0, high: 1}", "body.layers: [[0], all]"],
)
def test_a_search_cannot_vary_what_its_trials_are_made_from(space, tmp_path):
    """PKD's pairs and layers say which states of its teacher it reads."""
    told = refused(f"base: {{family: pkd}}\nsearch:\n  space:\n    {space}", tmp_path)
    key = space.partition(":")[0]
    assert told.startswith(f"{tmp_path / 'mine.yaml'}:4: {key!r} changes what trials are made from")
    assert "move it to axes" in told


def test_a_search_may_vary_how_they_are_trained(tmp_path):
    made("base: {family: pkd}\nsearch: {space: {terms.alpha: {low: 0.1, high: 1}}}", tmp_path)


def test_a_search_cannot_vary_the_family(tmp_path):
    told = refused("search: {space: {family: [quantum, tanh]}}", tmp_path)
    assert "'family' is not a student's own" in told
    assert "move it to axes, which give one search for each value" in told


RATES = ["axes.fit.lr=[3e-3, 1e-2]", "axes.tuning.lr=[1e-4, 3e-4]", "axes.training.lr=[1e-3, 3e-3]"]


@pytest.mark.parametrize(("rates", "each"), [([], 1), (RATES, 2)])
def test_rivals_meet_on_equal_terms(rates, each):
    """As many settings for each family, on the same texts, with the same seeds and teacher."""
    specs = grid.specs(grid.override(grid.load("rivals"), ["seeds=5", *rates]))
    tried = Counter(spec.family for spec in specs)
    assert tried.pop("linear") == 1, "it has no rate"
    assert tried == dict.fromkeys(families.families().keys() - {"linear"}, each)
    assert len({spec.task for spec in specs}) == 1
    assert {spec.seeds for spec in specs if spec.family != "linear"} == {(0, 1, 2, 3, 4)}
    assert len({spec.teacher for spec in specs if hasattr(spec, "teacher")}) == 1
    read = {(spec.encoder.model, spec.encoder.max_length) for spec in specs}
    assert len(read) == 1, "as many tokens of each text"
