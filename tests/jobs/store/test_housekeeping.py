"""`python -m jobs.store`: what it lists, finds damaged and deletes, and what it leaves alone."""

import os
import subprocess
import sys
import time

import numpy as np
import obstore
import pytest
from checkout import ROOT
from conftest import BUCKET, ask
from stored import flip

from jobs.store import Store, inventory
from jobs.store.housekeeping import main
from jobs.store.record import Record

RESULTS = {
    ("features", "f1"): ({"task": "t", "model": "m"}, {"width": 384, "texts": 500}),
    ("features", "f2"): ({"task": "t"}, {"width": 768, "texts": 500}),
    ("adapters", "a1"): ({"task": "t"}, {"parameters": 1234}),
    ("adapters", "a2"): ({"task": "t"}, {"parameters": 1234}),
    ("soft-labels", "s1"): ({"adapter": "a1"}, {"accuracy": {"validation": 0.95, "test": 0.9}}),
    ("soft-labels", "s2"): ({"adapter": "a2"}, {"accuracy": {"validation": 0.85, "test": 0.8}}),
    ("students", "b1"): (
        {"features": "f1", "soft_labels": "s1"},
        {"metrics": {"val.accuracy": [0.8, 0.9], "test.accuracy": [0.7, 0.8]}},
    ),
    ("probes", "p1"): (
        {"features": "f1", "soft_labels": "s1"},
        {"logistic regression": {"val.accuracy": 0.8292}},
    ),
    ("probes", "p2"): ({"features": "f1", "soft_labels": "s2"}, {}),
    ("evaluations", "e1"): ({"student": "b1"}, {"metrics": {"test.accuracy": [0.75]}}),
    ("evaluations", "e2"): ({"student": "b9"}, {}),
    ("measurements", "m1"): ({"student": "b1", "calibration": "digest"}, {}),
    ("measurements", "m2"): ({"student": "b9", "calibration": "digest"}, {}),
    ("sweeps", "c1"): ({}, {"trials": ["b1", "b2"], "grid": "ablation", "nested": {}}),
}
SPECS = {
    "features": {"model": "minilm"},
    "soft-labels": {"model": "minilm"},
    "adapters": {"model": "minilm", "rank": 64},
    "students": {"circuit": {"layers": 4}, "loss": {"alpha": 0.9}, "fit": {"lr": 0.01}},
    "evaluations": {"backend": "mindquantum"},
}
STRAY = "0123456789abcdef.safetensors"
UNUSED = {
    ("features", "f2"),
    ("adapters", "a2"),
    ("soft-labels", "s2"),
    ("probes", "p2"),
    ("evaluations", "e2"),
    ("measurements", "m2"),
}


def publish(store: Store, kind: str, like: str, **change) -> Record:
    made_from, summary = RESULTS[kind, like]
    return store.publish(
        kind,
        change.get("name", like),
        tensors={"numbers": np.arange(100.0)},
        spec=SPECS.get(kind, {}),
        made_from=change.get("made_from", made_from),
        summary=summary,
        seconds=12.5,
    )


@pytest.fixture
def filled(store: Store) -> Store:
    """A store with a result of each kind, and some that nothing uses."""
    for kind, name in RESULTS:
        publish(store, kind, name)
    return store


def run(capsys, store: Store, *arguments: str, status: int = 0) -> str:
    """What the command prints, on both streams."""
    assert main([*arguments, "--store", store.uri]) == status
    printed = capsys.readouterr()
    assert (printed.err != "") == (status == 2)
    return printed.out + printed.err


def results(store: Store) -> set[tuple[str, str]]:
    return set(inventory.inventory(store).results)


def damage(backend, key: tuple[str, str], record: bool = False) -> None:
    """Flip a bit of a result's data, or of its record."""
    for entry in obstore.list(backend, "/".join(key)).collect():
        if entry["path"].endswith("record.json") == record:
            data = bytes(obstore.get(backend, entry["path"]).bytes())
            obstore.put(backend, entry["path"], flip(data, 50))


def test_ls_tells_what_each_result_is(filled, capsys):
    printed = run(capsys, filled, "ls")
    lines = {tuple(line.split()[:2]): line for line in printed.splitlines() if "12.5 s" in line}
    assert set(lines) == set(RESULTS)
    for key, told in {
        ("features", "f1"): "minilm, width 384, texts 500",
        ("adapters", "a1"): "minilm, rank 64, parameters 1,234",
        ("soft-labels", "s1"): "minilm, validation 0.95",
        ("students", "b1"): "layers 4, alpha 0.9, lr 0.01, validation 0.85",
        ("probes", "p1"): "linear 0.8292",
        ("evaluations", "e1"): "mindquantum, test 0.75",
        ("sweeps", "c1"): "trials 2, grid ablation",
    }.items():
        assert lines[key].rstrip().endswith(told)
    assert f"{len(RESULTS)} results, " in printed
    assert list(lines) == list(RESULTS), "the newest last"


def test_ls_of_a_kind_names_the_nearest(filled, capsys):
    printed = run(capsys, filled, "ls", "--kind", "students")
    assert "b1" in printed
    assert "f1" not in printed
    assert "did you mean 'students'" in run(capsys, filled, "ls", "--kind", "student", status=2)


def test_ls_of_a_store_with_damage_lists_the_rest(filled, backend, capsys):
    damage(backend, ("features", "f2"), record=True)
    printed = run(capsys, filled, "ls")
    assert f"{len(RESULTS)} results" in printed
    assert "cannot be read: see verify" in printed


def test_show_names_what_a_result_is_made_from_and_what_of_it(filled, capsys):
    printed = run(capsys, filled, "show", "b")
    assert printed.startswith("students/b1\n")
    assert '"layers": 4' in printed
    made_from, used_by = printed.split("made from")[1].split("used by")
    assert "features: features/f1  minilm, width 384, texts 500" in made_from
    assert "soft_labels: soft-labels/s1" in made_from
    assert used_by.strip().startswith("evaluations/e1  mindquantum")
    assert "task: t" in run(capsys, filled, "show", "features/f1")


def test_show_wants_one_result(filled, capsys):
    told = run(capsys, filled, "show", "f", status=2)
    assert "'f' begins 2 results: features/f1, features/f2; give more of it" in told
    assert "no fingerprint begins with 'x'" in run(capsys, filled, "show", "x", status=2)


def test_verify_of_a_whole_store(filled, capsys):
    assert run(capsys, filled, "verify") == f"{len(RESULTS)} whole, 0 damaged\n"


def test_verify_tells_what_is_damaged_and_removes_it(filled, backend, capsys):
    bad = {("features", "f1"), ("students", "b1")}
    damage(backend, ("features", "f1"))
    damage(backend, ("students", "b1"), record=True)
    printed = run(capsys, filled, "verify", status=1).splitlines()
    assert printed[0] == "features/f1: its data file does not match its digest"
    assert printed[1].startswith("students/b1: its record ")
    assert printed[2] == f"{len(RESULTS) - 2} whole, 2 damaged"
    assert results(filled) == set(RESULTS), "nothing was asked to go"
    run(capsys, filled, "verify", "--remove")
    assert results(filled) == set(RESULTS) - bad
    assert run(capsys, filled, "verify") == f"{len(RESULTS) - 2} whole, 0 damaged\n"
    publish(filled, "features", "f1")
    assert filled.load("features", "f1")[1]["numbers"][99] == 99


def test_verify_removes_no_result_of_another_version(filled, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        patch.setattr("jobs.store.results.SCHEMA", 99)
        publish(filled, "features", "f1", name="f3")
    printed = run(capsys, filled, "verify", "--remove")
    assert "features/f3 was written by another version" in printed
    assert f"{len(RESULTS)} whole, 0 damaged, 1 of another version" in printed
    assert ("features", "f3") in results(filled)


def test_verify_removes_nothing_that_it_cannot_reach(tmp_path, s3, monkeypatch, capsys):
    store = Store(f"s3://{BUCKET}/{tmp_path.name}")
    publish(store, "features", "f1")
    files = store.files()
    monkeypatch.setattr(Store, "files", lambda self: files)
    assert ask("POST", f"{s3}/moto-api/reset-auth", b"0") == 200
    try:
        assert main(["verify", "--remove", "--store", store.uri]) == 1
    finally:
        assert ask("POST", f"{s3}/moto-api/reset-auth", b"inf") == 200
    assert "cannot read" in capsys.readouterr().err
    store.load("features", "f1")


def test_verify_removes_nothing_but_what_the_store_has_named(filled, backend, capsys):
    own = {"features/f1/notes.txt", "features/f1/mine.safetensors", "features/f1/a/record.json"}
    damage(backend, ("features", "f1"))
    for path in (*own, "notes/2024/record.json"):
        obstore.put(backend, path, b"{}")
    printed = run(capsys, filled, "verify", "--remove", status=1)
    assert "notes/2024: left, for it lies behind a link, or is of a kind unknown here" in printed
    left = {file.path for file in filled.files()}
    assert {path for path in left if path.startswith(("features/f1", "notes"))} == {
        *own,
        "notes/2024/record.json",
    }


@pytest.fixture
def linked(tmp_path) -> tuple[Store, set]:
    """A store with links to damaged results and checkpoints of another, and what lies there."""
    store, other = Store(str(tmp_path / "store")), Store(str(tmp_path / "other"))
    for kind, name in (("features", "f1"), ("soft-labels", "s1"), ("students", "b1")):
        publish(other, kind, name)
    publish(store, "soft-labels", "s2")
    publish(store, "features", "f2")
    record = next((tmp_path / "other/features/f1").glob("*.safetensors"))
    record.write_bytes(b"")
    (tmp_path / "other/checkpoints/s2").mkdir(parents=True)
    (tmp_path / "other/checkpoints/s2/a.json").write_text("{}")
    (tmp_path / "store/features/f1").symlink_to(tmp_path / "other/features/f1")
    (tmp_path / "store/features/f2/aside").symlink_to(tmp_path / "other")
    for name in ("students", "checkpoints"):
        (tmp_path / "store" / name).symlink_to(tmp_path / "other" / name)
    return store, {path for path in (tmp_path / "other").rglob("*") if path.is_file()}


def test_what_lies_behind_a_link_is_read_and_never_deleted(linked, monkeypatch, capsys):
    store, theirs = linked
    assert store.fingerprints("features") == {"f1", "f2"}
    held = {("features", "f1"), ("features", "f2"), ("soft-labels", "s2"), ("students", "b1")}
    assert results(store) == held
    assert "features/f1: left" in run(capsys, store, "verify", "--remove", status=1)
    monkeypatch.setattr(inventory, "GRACE", -60.0)
    run(capsys, store, "gc")
    store.clear("checkpoints/s2")
    assert all(path.exists() for path in theirs)


def test_a_folder_with_loops_pipes_and_strange_names_is_a_store(tmp_path, capsys):
    store = Store(str(tmp_path))
    publish(store, "features", "f1")
    before = store.files()
    (tmp_path / "features/f1/loop").symlink_to(tmp_path)
    (tmp_path / "features/loop").symlink_to(tmp_path / "features")
    (tmp_path / "itself").symlink_to(tmp_path / "itself")
    os.mkfifo(tmp_path / "features/f1/pipe")
    (tmp_path / "features/a\nb").mkdir()
    (tmp_path / "features/a\nb/record.json").write_text("{}")
    (tmp_path / "features" / os.fsdecode(b"\xff")).mkdir()
    for command in ("ls", "verify", "gc"):
        assert "\nb" not in run(capsys, store, command)
    assert [file for file in store.files() if not file.linked and "\n" not in file.path] == before
    assert results(store) == {("features", "f1")}


def test_gc_takes_data_that_no_record_names_when_it_is_old(filled, backend, monkeypatch, capsys):
    kept = (
        f"of-tomorrow/x/{STRAY}",
        "features/f9/mine.safetensors",
        "features/f1/notes.txt",
        "doctor/mine/a.txt",
    )
    checked = f"doctor/{'a' * 16}/driver"
    for path in (f"features/f9/{STRAY}", f"students/b1/{STRAY}", checked, *kept):
        obstore.put(backend, path, b"12345")
    before = run(capsys, filled, "gc")
    assert before == "removed 0 bytes\n", "their writers may be at work"
    monkeypatch.setattr(inventory, "GRACE", -60.0)
    told = run(capsys, filled, "gc", "--dry-run")
    assert told == run(capsys, filled, "gc").replace("removed", "would remove")
    assert set(told.splitlines()) == {
        f"features/f9/{STRAY}  5 bytes  no record names it",
        f"students/b1/{STRAY}  5 bytes  no record names it",
        f"{checked}  5 bytes  a check of nodes has left it",
        "would remove 15 bytes",
    }
    left = {file.path for file in filled.files()}
    assert left >= set(kept), "of a kind that is not known, or with names of others"
    assert len(left) == 2 * len(RESULTS) + len(kept)
    assert run(capsys, filled, "verify") == f"{len(RESULTS)} whole, 0 damaged\n"


def test_gc_leaves_a_folder_whose_record_it_cannot_read(filled, backend, monkeypatch, capsys):
    damage(backend, ("features", "f1"), record=True)
    monkeypatch.setattr(inventory, "GRACE", -60.0)
    assert run(capsys, filled, "gc") == "removed 0 bytes\n"


def test_gc_takes_the_checkpoints_of_published_teachers(filled, backend, capsys):
    for path in ("checkpoints/s1/a/b.pt", "checkpoints/s1/c.json", "checkpoints/s8/a/b.pt"):
        obstore.put(backend, path, b"123")
    assert f"{len(RESULTS)} results, " in run(capsys, filled, "ls")
    printed = run(capsys, filled, "gc")
    assert printed.splitlines()[0] == "checkpoints/s1  6 bytes  its soft labels are published"
    left = {file.path for file in filled.files() if file.path.startswith("checkpoints")}
    assert left == {"checkpoints/s8/a/b.pt"}
    assert results(filled) == set(RESULTS)


def test_gc_takes_an_earlier_versions_checkpoints_once_they_are_old(filled, capsys, monkeypatch):
    """Nothing reads them any more. What this version keeps of a teacher in training stays."""
    parts = {"tensors": {}, "spec": {}, "made_from": {}, "summary": {}, "seconds": 1.0}
    filled.replace("checkpoints", "s8", **parts)
    for path in ("s9/checkpoint_2026/engine/b.pt", "s9/checkpoint_2026/a.safetensors"):
        filled.put(f"checkpoints/{path}", "123")
    assert run(capsys, filled, "gc") == "removed 0 bytes\n"
    monkeypatch.setattr("jobs.store.housekeeping.time.time", lambda: time.time_ns() / 1e9 + 4000)
    printed = run(capsys, filled, "gc")
    assert (
        printed.splitlines()[0] == "checkpoints/s9  6 bytes  of an earlier version, not read here"
    )
    assert results(filled) == {*RESULTS, ("checkpoints", "s8")}


def test_gc_keep_used_keeps_what_a_student_is_made_from(filled, capsys):
    printed = run(capsys, filled, "gc", "--keep-used", "--dry-run")
    assert results(filled) == set(RESULTS)
    assert {line.split()[0] for line in printed.splitlines()[:-1]} == {
        "/".join(key) for key in UNUSED
    }
    run(capsys, filled, "gc", "--keep-used")
    assert results(filled) == set(RESULTS) - UNUSED
    assert len(filled.files()) == 2 * (len(RESULTS) - len(UNUSED))
    assert run(capsys, filled, "gc", "--keep-used") == "removed 0 bytes\n"


def test_gc_keep_used_keeps_what_a_result_of_an_unknown_kind_is_made_from(filled, capsys):
    publish(filled, "sweeps", "c1", name="c2", made_from={"soft_labels": "s2"})
    run(capsys, filled, "gc", "--keep-used")
    assert results(filled) >= {("soft-labels", "s2"), ("adapters", "a2"), ("probes", "p2")}
    assert ("features", "f2") not in results(filled)


def test_gc_keep_used_deletes_nothing_while_a_record_cannot_be_read(filled, backend, capsys):
    damage(backend, ("students", "b1"), record=True)
    assert main(["gc", "--keep-used", "--store", filled.uri]) == 1
    assert "verify --remove" in capsys.readouterr().err
    assert results(filled) == set(RESULTS)


def test_the_command_itself(tmp_path):
    store = Store(str(tmp_path / ".qdllm" / "store"))
    publish(store, "features", "f1")
    command = [sys.executable, "-m", "jobs.store"]
    for arguments in (["ls"], ["show", "f1"], ["verify"], ["gc"]):
        environment = {"PYTHONPATH": str(ROOT), "PATH": ""}
        done = subprocess.run(
            [*command, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ls", "--store", "nowhere"], "there is no store in"),
        (["ls", "--store", "ftp://x"], "unknown store address"),
        (["verify"], "there is no store in"),
    ],
)
def test_a_store_that_is_not_there_is_one_message_and_is_not_made(
    arguments, message, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
