"""Families beside one another: what each line says, reckoned from the records again."""

import re
from io import StringIO

import pytest
from rich.console import Console
from small_sweep import SmallSweep, made_up, sweep

from orchestrator.plan.ranking import paired
from orchestrator.report import evaluations, page, rivals
from orchestrator.report.rivals import HEAD
from qdllm import families
from qdllm.specs import TrialSpec

AXES = {"family": ("quantum", "tanh"), "fit.lr": (0.01, 0.1)}


@pytest.fixture(scope="module")
def mixed(tmp_path_factory) -> SmallSweep:
    return sweep(tmp_path_factory.mktemp("mixed"), AXES, left_out=0)


def cells(small: SmallSweep) -> dict[str, dict[str, str]]:
    """Each family's cells by heading."""
    return {
        line.cells[0]: dict(zip(HEAD, line.cells, strict=True))
        for line in rivals.lines(small.found)
    }


def test_each_family_has_the_line_of_its_best_trial_in_validation(mixed):
    told, found = cells(mixed), mixed.found
    assert told.keys() == {families.family(name).label for name in ("quantum", "tanh", "linear")}
    best = next(one for one in found.order if one.trial.spec.family == "tanh")
    line, seeds = told["classical head"], len(best.trial.spec.seeds)
    at = best.over_seeds("test.accuracy")
    assert line["test accuracy"] == f"{at.mean:.4f} ± {at.ci95:.4f}"
    assert line["trained"] == f"{best.parameters:,}"
    seconds = best.record.summary["seconds_per_epoch"] / seeds
    assert line["T_kd, s/epoch"] == f"{seconds:.3g}"
    assert line["accuracy/T_kd"] == f"{at.mean / seconds:.2e}"
    assert line["accuracy/parameter"] == f"{at.mean / best.parameters:.2e}"


def test_what_no_teacher_taught_is_compared_with_that_of_the_others(mixed):
    """By its best trial; here reckoned by hand from a logistic regression's weights."""
    store, dataset, (probe,) = mixed.store, mixed.dataset, mixed.store.fingerprints("linear")
    parameters = store.load("linear", probe)[1]["parameters"][0]
    made_from = store.record("linear", probe).made_from
    features_NH = store.load("features", made_from["features"])[1]["test"]
    (teacher,) = store.fingerprints("soft-labels")
    taught_N = store.load("soft-labels", teacher)[1]["test"].argmax(1)
    table_CP = parameters.reshape(len(dataset.classes), -1)
    said_N = (features_NH @ table_CP[:, :-1].T + table_CP[:, -1]).argmax(1)
    line = cells(mixed)["logistic regression"]
    assert line["agreement"] == f"{(said_N == taught_N).mean():.4f}"
    best = next(one for one in mixed.found.order if one.trial.spec.family == "tanh")
    assert cells(mixed)["classical head"]["agreement"].startswith(
        f"{best.over_seeds('test.agreement').mean:.4f} ±"
    )


def test_of_several_teachers_none_is_that_of_the_others(tmp_path):
    axes = {"family": ("linear", "tanh"), "teacher.epochs": (1, 2)}
    several = made_up(tmp_path / "two", axes, lambda spec: 0.8)
    assert evaluations.agreements(several.found.families) == []
    one = made_up(tmp_path / "one", {"family": ("linear", "tanh")}, lambda spec: 0.8)
    (job,) = evaluations.agreements(one.found.families)
    assert job.spec.family == "linear"
    assert cells(one)["logistic regression"]["agreement"] == ""


def test_the_encoder_counts_for_those_that_need_it(mixed):
    told, found = cells(mixed), mixed.found
    (features,) = (one for one in found.sources if one.kind == "features")
    best = found.order[0]
    label = families.of(best.trial.spec).label
    # Records of earlier versions do not tell how large their encoder was, or how fast.
    assert told[label]["at inference"] == told[label]["µs/text"] == "—"
    features.summary.update(parameters=22_565_376, encoding_us=5000.0)
    (line,) = (line for line in rivals.lines(found) if line.cells[0] == label)
    told = dict(zip(HEAD, line.cells, strict=True))
    assert told["at inference"] == f"{22_565_376 + best.parameters:,}"
    assert told["µs/text"] == f"{best.record.summary['inference_us'] + 5000:,.0f}"


def test_a_sweep_of_one_family_has_no_such_table(tmp_path):
    alone = made_up(tmp_path, {"fit.lr": (0.01, 0.1)}, lambda spec: 0.8)
    assert rivals.lines(alone.found) == []
    assert rivals.table(alone.found, wide=True) is None


def accuracy(spec: TrialSpec) -> float:
    return 0.7 if spec.family == "pkd" else 0.8


def test_the_papers_accuracy_stands_beside_on_its_tasks_with_the_arithmetic(tmp_path):
    axes = {"family": ("quantum", "pkd", "hitin")}
    small = made_up(tmp_path, axes, accuracy)
    assert {cells(small)[label]["paper's accuracy"] for label in ("PKD", "HiTIN")} == {""}
    small.record.summary["task"] = "emotion"
    told = cells(small)
    assert told["PKD"]["paper's accuracy"] == "0.7760"
    assert told["quantum student"]["paper's accuracy"] == "0.8012"
    assert told["HiTIN"]["paper's accuracy"] == ""
    axes = {"family": ("quantum", "minillm"), "teacher.model": ("bloomz-1b1",)}
    taught = made_up(tmp_path / "taught", axes, accuracy)
    taught.record.summary["task"] = "emotion"
    told = cells(taught)
    assert told["MiniLLM"]["paper's accuracy"] == "0.8110"
    assert told["quantum student"]["paper's accuracy"] == "0.7802"
    stream = StringIO()
    Console(file=stream, width=250).print(rivals.table(small.found, wide=True))
    printed = " ".join(stream.getvalue().split())
    sum_of = re.search(r"\((0\.\d+) \+ (0\.\d+)\) / 2 = (0\.\d+), printed (0\.\d+)", printed)
    precision, recall, mean, f1 = map(float, sum_of.groups())
    assert round((precision + recall) / 2, 4) == mean < f1
    assert "HiTIN: one trial, 3 seeds; flat labels leave no hierarchy" in printed


def test_what_falls_away_under_another_teacher_is_said():
    lacks = families.family("tinybert").lacks
    spec = families.family("tinybert").spec
    assert lacks(spec()) == ()
    other = spec.parse({"teacher": {"model": "bloomz-1b1"}})
    assert lacks(other) == ("attention is gone", "embeddings and states pooled and standardised")


def test_the_page_has_the_same_table(mixed):
    text = page.render(mixed.found, [])
    assert "<h2>Families</h2>" in text
    for line in rivals.lines(mixed.found):
        for cell in line.cells:
            assert cell in text


@pytest.mark.parametrize(("higher", "verdict"), [(0.05, "passes"), (-0.05, "does not pass")])
def test_a_rival_passes_its_control_or_is_said_not_to(higher, verdict, tmp_path):
    def height(spec: TrialSpec) -> float:
        return 0.8 + (higher if spec.family == "pkd" else 0.0)

    small = made_up(tmp_path, {"family": ("hard", "pkd")}, height)
    by_family = {one.trial.spec.family: one for one in small.found.order}
    # Every seed differs by the same, which leaves nothing to test by.
    assert "cannot be told by these seeds from its control" in rivals._against(
        by_family["pkd"], by_family["hard"]
    )
    by_family["pkd"].record.summary["metrics"]["test.accuracy"][0] += 0.001
    told = rivals._against(by_family["pkd"], by_family["hard"])
    found = paired(by_family["pkd"], by_family["hard"], "test.accuracy")
    assert told == (
        f"{verdict} its control, body on hard labels ({higher + 0.001 / 3:+.4f} "
        f"± {found.difference.ci95:.4f}, p = {found.p:.2g})"
    )
    notes = {line.cells[0]: line.note for line in rivals.lines(small.found)}
    assert "control" not in notes["body on hard labels"]


def test_the_control_has_the_same_body_where_there_is_one(tmp_path):
    """Though another one is better in validation."""

    def height(spec: TrialSpec) -> float:
        best = {"pkd": (0, 1), "hard": (2,)}[spec.family]
        return 0.9 if spec.body.layers == best else 0.8

    axes = {"family": ("hard", "pkd"), "body.layers": ((0, 1), (2,))}
    small = made_up(tmp_path, axes, height)
    (note,) = (line.note for line in rivals.lines(small.found) if line.cells[0] == "PKD")
    assert "its control, body on hard labels (+0.1000" in note


def test_a_body_of_another_shape_is_no_control(tmp_path):
    """Of TinyBERT `hard` is one where both have the same body."""
    small = made_up(tmp_path / "other", {"family": ("hard", "tinybert")}, accuracy)
    (note,) = (line.note for line in rivals.lines(small.found) if line.cells[0] == "TinyBERT")
    assert "without a control: body on hard labels is another body (+0.0000)" in note
    same = families.family("tinybert").spec().body.model_dump()
    axes = {"family": ("hard", "tinybert"), "shape": {"same": {"body": same}}}
    small = made_up(tmp_path / "same", axes, accuracy)
    (note,) = (line.note for line in rivals.lines(small.found) if line.cells[0] == "TinyBERT")
    assert "its control, body on hard labels" in note
