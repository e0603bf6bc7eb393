"""The table at any width of the terminal."""

import pytest
from rich.console import Console

from jobs.store import DataFile, Record
from orchestrator.plan import Trial
from orchestrator.report import trials_table
from orchestrator.results import Result, champion, ranked
from qdllm.specs import SCHEMA, StudentSpec


def record(name: str, summary: dict) -> Record:
    return Record(
        schema_version=SCHEMA,
        kind="students",
        fingerprint=name,
        spec={},
        made_from={"features": "f", "soft_labels": "s"},
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
    )
]


def rendered(width: int) -> list[str]:
    results = [
        result(layers, lr, 0.5 + 0.02 * layers) for layers in (1, 11) for lr in (0.003, 0.06)
    ]
    console = Console(width=width, file=None, record=True)
    with console.capture() as captured:
        order = ranked(results)
        console.print(trials_table(order, champion(results), PROBES, "a title", width >= 110))
    return captured.get().splitlines()


@pytest.mark.parametrize("width", [80, 110, 130])
def test_every_cell_is_whole(width):
    lines = rendered(width)
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    assert "…" not in text
    assert "regression" in text
    best = next(line for line in lines if line.split()[:1] == ["1"])
    for cell in ("★", "11", "0.003", "8,792", "0.7220 ± 0.0020"):
        assert cell in best
    head = next(line for line in lines if "0.8050" in line)
    assert "0.06" in head
    assert "0.7000" in text
    assert ("agreement" in text) == (width >= 110)


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
        console.print(trials_table(ranked(results), results[0], [], "a title", wide=True))
    assert "teacher.lr" in captured.get()
    assert "fit.lr" in captured.get()
