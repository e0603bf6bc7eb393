"""The table at any width of the terminal."""

from collections.abc import Sequence

import pytest
from rich.console import Console

from jobs.store import DataFile, Record
from orchestrator.plan import Trial
from orchestrator.plan.ranking import Result, champion, ranked
from orchestrator.report.findings import Findings
from orchestrator.report.tables import champion_line, cut_lines, label, spoken, told, trials_table
from qdllm.families.linear import LinearSpec
from qdllm.families.quantum import StudentSpec
from qdllm.families.tanh import TanhSpec
from qdllm.spec import SCHEMA
from qdllm.specs import TrialSpec

MADE_FROM = {"features": "f", "soft_labels": "s"}


def record(
    name: str, summary: dict, kind: str = "students", spec: TrialSpec | None = None
) -> Record:
    return Record(
        schema_version=SCHEMA,
        kind=kind,
        fingerprint=name,
        spec=spec.model_dump(mode="json") if spec else {},
        made_from=MADE_FROM,
        summary=summary,
        data=DataFile(name="x", sha256="x", bytes=0),
        created=0.0,
        seconds=0.0,
        versions={},
    )


def result(layers: int, lr: float, accuracy: float) -> Result:
    spec = StudentSpec.parse(
        {"circuit": {"layers": layers}, "fit": {"lr": lr}, "loss": {"alpha": lr + 0.5}}
    )
    values = [accuracy + 0.001 * seed for seed in range(5)]
    metrics = dict.fromkeys(("val.accuracy", "test.accuracy", "test.agreement"), values)
    summary = {"metrics": metrics, "parameters": 8000 + 72 * layers, "seconds_per_epoch": 0.25}
    made = record(f"{layers}-{lr}", summary)
    return Result(Trial("students", made.fingerprint, spec, made.made_from, held=True), made)


def found(order: Sequence[Result], chosen: Result, references: Sequence[Record] = ()) -> Findings:
    settings: dict = {one.trial.fingerprint: {} for one in order}
    lists: dict = {key: [] for key in ("sources", "baselines", "evaluations")}
    nothing: dict = {"missing": {}, "labels": {}, "curves": {}, **lists}
    return Findings(
        sweep=record("sweep", {}, "sweeps"),
        settings=settings,
        order=list(order),
        champion=chosen,
        references=list(references),
        simulated=None,
        logits_SNC=None,
        stopped=frozenset(),
        **nothing,
    )


def reference(spec: TrialSpec, validation: list[float], test: list[float], size: int) -> Record:
    metrics = {"val.accuracy": validation, "test.accuracy": test}
    summary = {"metrics": metrics, "parameters": size, "seconds_per_epoch": 0.1}
    return record(spec.family, summary, spec.family, spec)


REFERENCES = [
    reference(LinearSpec(), [0.7], [0.71], 3076),
    reference(
        TanhSpec.parse({"loss": {"alpha": 0.9}, "fit": {"lr": 0.06}, "seeds": [0, 1]}),
        [0.8, 0.81],
        [0.8, 0.82],
        8000,
    ),
    reference(
        TanhSpec.parse({"loss": {"alpha": 0.9}, "fit": {"lr": 0.003}, "seeds": [0, 1]}),
        [0.6, 0.61],
        [0.9, 0.92],
        8000,
    ),
]
PROBES = [
    record(
        "p",
        {
            "logistic regression": {
                "val.accuracy": 0.7,
                "test.accuracy": 0.71,
                "parameters": 3076,
                "C": 0.1,
            },
            "classical head": {
                "val.accuracy": [0.8, 0.81],
                "test.accuracy": [0.8, 0.82],
                "parameters": 8000,
                "width": 13,
                "loss": {"alpha": 0.9},
                "fit": {"lr": 0.06},
            },
        },
        "probes",
    )
]
"""The same as version 0.1 wrote it."""


def rendered(width: int, references: Sequence[Record]) -> list[str]:
    results = [
        result(layers, lr, 0.5 + 0.02 * layers) for layers in (1, 11) for lr in (0.003, 0.06)
    ]
    console = Console(width=width, file=None, record=True)
    with console.capture() as captured:
        order = ranked(results)
        told = found(order, champion(results), references)
        console.print(trials_table(told, "a title", width >= 110))
    return captured.get().splitlines()


@pytest.mark.parametrize("references", [REFERENCES, PROBES])
@pytest.mark.parametrize("width", [80, 110, 130])
def test_every_cell_is_whole(width, references):
    lines = rendered(width, references)
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    assert "…" not in text
    assert "regression" in text
    best = next(line for line in lines if line.split()[:1] == ["1"])
    for cell in ("★", "11", "0.003", "8,792", "0.7220 ± 0.0020"):
        assert cell in best
    head = next(line for line in lines if "0.8050" in line)
    assert "0.06" in head
    assert "8,000" in head
    assert "0.8100 ± 0.1271" in head
    assert "0.7000" in text
    assert text.count("8,000") == 1  # the best by validation of the name
    assert ("agreement" in text) == (width >= 110)


CUT = {
    "readers": ["teacher", "encoder"],
    "model": "minilm",
    "max_length": 128,
    "texts": 300,
    "of": 1000,
    "lost": 0.42,
    "reckoned": True,
    "most": 512,
}


def test_the_table_says_what_was_cut_off_of_many_texts():
    results = [result(1, 0.003, 0.5), result(2, 0.003, 0.6)]
    for texts, said in ((300, True), (50, False)):
        findings = found(ranked(results), results[1])
        findings.sweep.summary["cuts"] = [CUT | {"texts": texts}]
        caption = trials_table(findings, "a title", True).caption
        assert isinstance(caption, str)
        assert ("texts are longer" in caption) == said
    assert cut_lines([CUT]) == [
        "about 300 of 1,000 texts are longer than the 128 tokens that teacher and encoder (minilm) "
        "read: 42% of them is cut off; --set teacher.max_length=256 --set encoder.max_length=256 "
        "reads more (up to 512)"
    ]
    assert cut_lines([CUT | {"max_length": 512}])[0].endswith("; the model takes no more")


def test_axes_whose_last_words_collide_keep_their_paths():
    trials = [
        StudentSpec.parse({"teacher": {"lr": a}, "fit": {"lr": b}})
        for a, b in ((0.1, 0.3), (0.2, 0.4))
    ]
    results = [
        Result(Trial("students", str(spec.fit.lr), spec, {}, held=True), found.record)
        for spec, found in zip(trials, (result(1, 0.3, 0.5), result(2, 0.4, 0.6)), strict=True)
    ]
    console = Console(width=130)
    with console.capture() as captured:
        console.print(trials_table(found(ranked(results), results[0]), "a title", wide=True))
    assert "teacher.lr" in captured.get()
    assert "fit.lr" in captured.get()


def with_accuracies(layers: int, accuracies: list[float]) -> Result:
    made = result(layers, 0.01, 0.5)
    metrics = dict.fromkeys(("val.accuracy", "test.accuracy"), accuracies)
    return Result(made.trial, record(f"{layers}", made.record.summary | {"metrics": metrics}))


def test_champion_and_best_are_compared_seed_by_seed():
    best = with_accuracies(11, [0.80, 0.82, 0.84, 0.81, 0.83])
    smaller = with_accuracies(1, [0.79, 0.82, 0.84, 0.80, 0.84])
    line = champion_line(smaller, best)
    assert "8,072 parameters" in line
    assert "(0.0020 behind it in validation)" in line
    assert "best − champion, paired over 5 seeds: +0.0020 ± 0.0104, p = 0.62" in line
    assert "with 5 seeds it sees a difference of 0.0141 four times in five" in line
    assert champion_line(best, best) == "champion: the best by validation, 8,792 parameters"


def test_a_certain_difference_is_not_printed_as_zero():
    best = with_accuracies(11, [0.90, 0.911, 0.92, 0.93, 0.94])
    smaller = with_accuracies(1, [0.10, 0.11, 0.12, 0.13, 0.14])
    assert "p < 0.001" in champion_line(smaller, best)


def test_where_seeds_leave_no_spread_the_line_says_so():
    best, smaller = with_accuracies(11, [0.9] * 5), with_accuracies(1, [0.8] * 5)
    assert "no test between the two" in champion_line(smaller, best)


def test_settings_are_told_in_words():
    settings = {
        "loss.alpha": 0.0,
        "teacher.lr": 1e-4,
        "teacher.model": "hub/some-model",
        "encoder.hidden_layers": [4, 6],
        "fit.batch_size": 8,
        "angles": "raw",
    }
    assert told(settings) == (
        "guidance weight α 0, teacher's lr 0.0001, teacher some-model, "
        "encoder's hidden layers 4, 6, batch size 8, angles raw"
    )
    assert spoken("circuit.qubits") == "qubits"
    assert label(True) == "True"
