"""Sweeps whose records version 0.1 wrote are found, listed and reported as they were."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
from small_sweep import CLASSES, SmallSweep, sources, sweep

from jobs.kinds import Job
from jobs.kinds.features import FEATURES
from jobs.kinds.probes import PROBES
from jobs.kinds.sweeps import SWEEPS
from jobs.kinds.teachers import SOFT_LABELS
from jobs.kinds.trials import STOPPED
from jobs.kinds.words import NAME as WORDS_NAME
from jobs.store import Record, Store
from jobs.store.inventory import told
from orchestrator.grid.space import Search
from orchestrator.plan import History, Trial, plan
from orchestrator.plan.history import after_search
from orchestrator.report import findings, page, sweeps
from orchestrator.report.command import main
from orchestrator.report.findings import Findings

SPLITS = {"train": "train", "val": "validation", "test": "test"}
LOSS = {"alpha": 0.9, "temperature": 2.0, "teacher_terms": "kl+js", "form": "exact"}
FIT = {"epochs": 3, "batch_size": 16, "lr": 0.1}


def probes(validation: float) -> dict:
    """What version 0.1 summed up of the classical references."""
    return {
        "logistic regression": {
            "val.accuracy": 0.75,
            "test.accuracy": 0.7083,
            "parameters": 18,
            "C": 0.1,
        },
        "classical head": {
            "val.accuracy": [validation, validation + 0.02],
            "test.accuracy": [0.8, 0.82],
            "parameters": 57,
            "width": 6,
            "loss": LOSS,
            "fit": FIT,
        },
    }


def write_probes(store: Store, name: str, made_from: Mapping[str, str], validation: float) -> None:
    circuit = {"ansatz": "published", "qubits": 3, "layers": 2}
    store.publish(
        PROBES.name,
        name,
        tensors={"head.val.accuracy": np.zeros((1, 2)), "head.test.accuracy": np.zeros((1, 2))},
        spec={"circuit": circuit, "settings": [[LOSS, FIT]], "seeds": [0, 1]},
        made_from=made_from,
        summary=probes(validation),
        seconds=2.5,
    )


def asked(record: Record, made: Trial | None = None, **lists: list[str]) -> dict:
    """What a sweep's record said then."""
    left = {
        key: value
        for key, value in record.summary.items()
        if key not in ("sources", "references", "families")
    }
    if made:
        left["bases"] = [[made.fingerprint, made.made_from, plain(made.spec.model_dump())]]
    return left | lists


def plain(spec: Mapping) -> dict:
    """A spec as it was before there were families."""
    return {key: value for key, value in spec.items() if key != "family"}


def rewritten(small: SmallSweep, folder: Path, kinds: Iterable[str] = ()) -> Store:
    """The small sweep as version 0.1 left it; of new kinds, `kinds` are there too."""
    old = Store(str(folder / "store"))
    kept = (FEATURES.name, SOFT_LABELS.name, "students", "evaluations", SWEEPS.name, *kinds)
    for kind in kept:
        for name in small.store.fingerprints(kind):
            record, tensors = small.store.load(kind, name)
            summary = dict(record.summary)
            if kind == SOFT_LABELS.name:
                metrics = summary.pop("metrics")
                summary["accuracy"] = {
                    split: metrics[f"{short}.accuracy"] for short, split in SPLITS.items()
                }
            if kind == SWEEPS.name:
                lists = {
                    "features": [job.fingerprint for job in sources(small.plan, FEATURES.name)],
                    "teachers": [job.fingerprint for job in sources(small.plan, SOFT_LABELS.name)],
                    "probes": probes_of(small),
                }
                summary = asked(record, **lists)
            old.publish(
                kind,
                name,
                tensors=tensors,
                spec=record.spec if kind in kinds else plain(record.spec),
                made_from=record.made_from,
                summary=summary,
                seconds=record.seconds,
            )
    taught = sources(small.plan, SOFT_LABELS.name)
    for place, (name, teacher) in enumerate(zip(probes_of(small), taught, strict=True)):
        made_from = {**small.trials[0].made_from, "soft_labels": teacher.fingerprint}
        write_probes(old, name, made_from, 0.8 - 0.1 * place)
    return old


def probes_of(small: SmallSweep) -> list[str]:
    """The fingerprints of its probes, one for each teacher: aaaa…, bbbb…"""
    count = len(sources(small.plan, SOFT_LABELS.name))
    return [letter * 16 for letter in "abcdef"[:count]]


def copy(store: Store, other: Store, kind: str, name: str) -> None:
    record, tensors = store.load(kind, name)
    said = {"spec": record.spec, "made_from": record.made_from, "summary": record.summary}
    other.publish(kind, name, tensors=tensors, seconds=record.seconds, **said)


def key(one: Job | Record) -> tuple[str, str]:
    return one.kind, one.fingerprint


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> SmallSweep:
    return sweep(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def old(small, tmp_path_factory) -> Path:
    home = tmp_path_factory.mktemp("old")
    rewritten(small, home)
    return home


def read(store: Store, name: str = "small-prices") -> Findings:
    history = History(store)
    return findings.findings(history, sweeps.find(history, name))


@pytest.fixture(scope="module")
def found(old) -> Findings:
    return read(Store(str(old / "store")))


def test_its_trials_and_their_order_are_the_same(small, found):
    new = small.found
    assert found.sweep.fingerprint == small.plan.name
    assert "references" not in found.sweep.summary
    names = [one.trial.fingerprint for one in new.order]
    assert [one.trial.fingerprint for one in found.order] == names
    assert [one.trial.spec for one in found.order] == [one.trial.spec for one in new.order]
    assert found.champion.trial.fingerprint == new.champion.trial.fingerprint
    assert found.settings == new.settings
    assert found.missing == new.missing
    assert [one.fingerprint for one in found.sources] == [one.fingerprint for one in new.sources]
    assert [one.fingerprint for one in found.evaluations] == [
        one.fingerprint for one in new.evaluations
    ]


def test_its_references_are_those_that_it_had(found):
    assert [one.kind for one in found.references] == [PROBES.name]
    linear, head = found.beside
    said = probes(0.8)
    assert (linear.name, head.name) == ("logistic regression", "classical head")
    for one in (linear, head):
        assert one.parameters == said[one.name]["parameters"]
        assert one.metrics["val.accuracy"] == said[one.name]["val.accuracy"]
        assert one.metrics["test.accuracy"] == said[one.name]["test.accuracy"]
    assert (head.settings["loss.alpha"], head.settings["fit.lr"]) == (0.9, 0.1)


def test_the_command_tells_them(old, small, tmp_path, capfd):
    store = str(old / "store")
    assert main(["small-prices", "--home", str(tmp_path), "--store", store]) == 0
    printed = capfd.readouterr().out
    assert "7 trials of small-prices, by validation accuracy" in printed
    accuracy = small.found.teacher.summary["metrics"]
    validation, test = accuracy["val.accuracy"], accuracy["test.accuracy"]
    line = f"teacher minilm, LoRA rank 64: validation {validation:.4f}, test {test:.4f}"
    assert line in printed
    rows = {line.split("  ")[0].strip(): line.split() for line in printed.splitlines()}
    assert rows["logistic regression"][2:] == ["18", "0.7500", "0.7083"]
    head = ["0.9", "0.1", "57", "0.8100", "±", "0.1271", "0.8100", "±", "0.1271"]
    assert rows["classical head"][2:] == head
    assert "no expectation differs" in printed


def test_the_page_tells_them(found):
    rows = {row[0]: row[1:] for row in page.standing(found)}
    assert rows["logistic regression"] == ("0.7083", "0.7500", "18", "", "")
    assert rows["classical head"] == ("0.8100 ± 0.1271", "0.8100 ± 0.1271", "57", "", "")
    assert rows["teacher minilm, LoRA rank 64"][2] == "1,234 trained"
    costs = {row[0]: row[1:] for row in page._costs(found)}
    assert costs["classical references"][:3] == ("1", "0", "2.5 s")
    assert ("classical references", "a" * 16) in list(page._lineage(found))
    text = page.render(found, page.figures.pictures(found))
    for name in ("logistic regression", "classical head"):
        assert name in text


def test_a_list_of_results_tells_of_each(old, small):
    store = Store(str(old / "store"))
    (name,) = probes_of(small)
    assert told(store.record(PROBES.name, name)) == "linear 0.75, head 0.81"
    (teacher,) = sources(small.plan, SOFT_LABELS.name)
    validation = small.store.record(*key(teacher)).summary["metrics"]["val.accuracy"]
    assert told(store.record(*key(teacher))) == f"minilm, validation {validation:.4g}"


def test_new_references_of_an_old_sweep_take_the_place_of_the_old(small, tmp_path):
    """Whoever runs an old sweep again trains them; its record stays as it was."""
    kinds = {job.kind for job in small.references}
    assert len(kinds) == 2
    found = read(rewritten(small, tmp_path, kinds))
    assert [key(one) for one in found.references] == [key(job) for job in small.references]
    # Nobody counted words then.
    told = [one.metrics for one in small.found.beside if one.name != WORDS_NAME]
    assert [one.metrics for one in found.beside] == told


def test_so_do_those_of_a_sweep_of_which_a_scheduler_stopped_the_largest(small, tmp_path):
    """References are as large as the largest student that was asked for, trained or not."""
    store = rewritten(small, tmp_path, {job.kind for job in small.references})
    large = [job for job in small.trials if job.spec.circuit.layers == 2]
    history = History(store)
    record = sweeps.find(history, "small-prices")
    known, hidden = Store(str(tmp_path / "other")), {job.fingerprint for job in large}
    for kind in ("students", SWEEPS.name, *{job.kind for job in small.references}):
        for name in store.fingerprints(kind) - hidden:
            copy(store, known, kind, name)
    for job in large:
        known.publish(
            STOPPED.name,
            job.fingerprint,
            tensors={},
            spec=plain(job.spec.model_dump(mode="json")),
            made_from=job.made_from,
            summary={"reason": "stopped by asha after epoch 1", "epoch": 1},
            seconds=1.0,
        )
    found = findings.findings(History(known), record)
    assert {one.trial.spec.circuit.layers for one in found.order} == {1}
    assert [key(one) for one in found.references] == [key(job) for job in small.references]


def test_references_of_several_teachers_are_told_apart(tmp_path):
    (tmp_path / "new").mkdir()
    two = sweep(tmp_path / "new", axes={"teacher.epochs": (1, 2), "fit.lr": (0.1,)}, left_out=0)
    found = read(rewritten(two, tmp_path))
    heads = [one for one in found.beside if one.name == "classical head"]
    assert [one.settings["teacher.epochs"] for one in heads] == [1, 2]
    assert [fmean(one.metrics["val.accuracy"]) for one in heads] == pytest.approx([0.81, 0.71])
    names = {row[0] for row in page.standing(found)}
    for name in ("teacher minilm, LoRA rank 64", "logistic regression", "classical head"):
        assert {f"{name} (teacher's epochs {n})" for n in (1, 2)} <= names
    rows = page.tables.trials_table(found, "a title", wide=True)
    epochs = next(column for column in rows.columns if column.header == "epochs")
    assert list(epochs.cells)[-4:] == ["1", "1", "2", "2"]


def test_a_search_has_those_that_were_fitted_last_to_what_it_was_made_from(small, tmp_path):
    base, *_ = small.trials
    space = {key: list(values) for key, values in small.definition.axes.items()}
    update = {"axes": {}, "search": Search(space=space, trials=10)}
    definition = small.definition.model_copy(update=update)
    made = plan([base.spec], small.dataset, small.store, definition.search)
    new = Store(str(tmp_path / "new"))
    record = new.record(SWEEPS.name, sweeps.publish_sweep(new, definition, made, small.dataset))
    store = rewritten(small, tmp_path)
    searched = Store(str(tmp_path / "other"))
    for kind in ("students", FEATURES.name, SOFT_LABELS.name):
        for name in store.fingerprints(kind):
            copy(store, searched, kind, name)
    labels = {f"{split}.labels": np.zeros(len(CLASSES), int) for split in SPLITS.values()}
    lists = {"features": [], "teachers": [], "probes": []}
    searched.publish(
        SWEEPS.name,
        record.fingerprint,
        tensors=labels,
        spec=record.spec,
        made_from=record.made_from,
        summary=asked(record, made.sweep.bases[0], **lists),
        seconds=0.0,
    )
    assert read(searched).beside == []
    write_probes(searched, "c" * 16, {"features": "0" * 16, "soft_labels": "1" * 16}, 0.95)
    write_probes(searched, "e" * 16, base.made_from, 0.9)
    write_probes(searched, "d" * 16, base.made_from, 0.6)
    found = read(searched)
    assert len(found.order) == len(small.trials) - 1
    assert [one.fingerprint for one in found.references] == ["d" * 16]
    # Once its own are trained, as they are when it is run again, they are what is shown.
    for job in after_search(found.order):
        copied = small.store.record(job.kind, job.fingerprint)
        if copied:
            copy(small.store, searched, *key(job))
    assert PROBES.name not in {one.kind for one in read(searched).references}
    assert {one.name for one in read(searched).beside} == {"logistic regression", "classical head"}
