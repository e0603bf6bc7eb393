"""Texts in, splits out: folders, repeats, splits, digests, and every bad input."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loading import labelled, refusal

from qdllm.specs import TaskSpec
from qdllm.texts.data import load

TEXTS = {
    "apples": [f"an apple of kind {n}" for n in range(20)],
    "pears": [f"a pear of kind {n}" for n in range(30)],
}


def write_classes(folder: Path, texts=TEXTS, newline: str = "\n") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, lines in texts.items():
        (folder / f"{name}.txt").write_bytes(newline.join([*lines, ""]).encode())
    return folder


def load_classes(folder: Path, texts=TEXTS, **settings):
    return load(TaskSpec(name="fruit", data=str(write_classes(folder, texts)), **settings))


# Folders


def test_one_file_per_class(tmp_path):
    dataset = load_classes(tmp_path / "fruit")
    assert dataset.classes == ("apples", "pears")
    assert labelled(dataset) == {(text, name) for name, lines in TEXTS.items() for text in lines}
    assert dataset.labels_N.dtype == np.int64
    assert dataset.describe() == (
        f"fruit: 50 texts in 2 classes (apples 20, pears 30) from {tmp_path / 'fruit'}; "
        "split 30 / 10 / 10"
    )


def test_line_ends_marks_and_hidden_files_change_nothing(tmp_path):
    plain = load_classes(tmp_path / "plain")
    write_classes(tmp_path / "dos", newline="\r\n")
    marked = tmp_path / "dos" / "apples.txt"
    marked.write_bytes(b"\xef\xbb\xbf" + marked.read_bytes())
    (tmp_path / "dos" / "._apples.txt").write_bytes(b"\x00\xff")
    assert load(TaskSpec(data=str(tmp_path / "dos"))).digest == plain.digest


@pytest.mark.parametrize("inside", ["", "senti"])
def test_published_layout(tmp_path, inside):
    texts = {"train_pos": TEXTS["apples"], "train_neg": TEXTS["pears"]}
    write_classes(tmp_path / inside, texts)
    dataset = load(TaskSpec(name="emotion", data=str(tmp_path)))
    assert dataset.classes == ("negative", "positive")
    assert labelled(dataset) == {
        *((text, "positive") for text in TEXTS["apples"]),
        *((text, "negative") for text in TEXTS["pears"]),
    }


def test_published_class_order_is_the_authors(tmp_path):
    names = ["world", "sport", "sci", "business"]
    texts = {f"train_{name}": [f"{name} {n}" for n in range(5)] for name in names}
    write_classes(tmp_path / "topic", texts)
    dataset = load(TaskSpec(name="thematic", data=str(tmp_path)))
    assert dataset.classes == ("business", "sci", "sport", "world")


def test_a_path_as_the_task_takes_its_name_from_there(tmp_path):
    folder = write_classes(tmp_path / "orchard")
    assert load(TaskSpec(name=str(folder))).name == "orchard"
    assert load(TaskSpec(data=str(folder))).name == "orchard"
    assert load(TaskSpec(name="mine", data=str(folder))).name == "mine"


# Bad input


def test_missing_texts_name_the_three_ways():
    message = refusal(TaskSpec(name="emotion"))
    for way in ("--data DIR", "--data published", "--task sample-emotion"):
        assert way in message


def test_unknown_names_get_the_nearest(tmp_path):
    assert "unknown task 'sample-thematc'; did you mean 'sample-thematic'?" in refusal(
        TaskSpec(name="sample-thematc")
    )
    assert "has no task 'hidng'; did you mean 'hiding'?" in refusal(
        TaskSpec(name="hidng", data="published")
    )
    (tmp_path / "stega").mkdir()
    message = refusal(TaskSpec(name="hidng", data=str(tmp_path)))
    assert "it holds stega." in message
    assert "did you mean 'hiding'?" in message


def test_missing_folders_and_files_are_named(tmp_path):
    assert "there is no file or folder 'nowhere'" in refusal(TaskSpec(data="nowhere"))
    assert "unknown task 'no.csv'" in refusal(TaskSpec(name="no.csv"))
    assert "File name too long" in refusal(TaskSpec(data="x" * 5000))
    write_classes(tmp_path / "stega", {"cover": ["a"]})
    message = refusal(TaskSpec(name="hiding", data=str(tmp_path)))
    assert f"needs stego.txt in {tmp_path / 'stega'}" in message
    assert f"{tmp_path / 'stega'} holds cover.txt" in message
    message = refusal(TaskSpec(name="emotion", data=str(tmp_path)))
    assert "needs train_neg.txt, train_pos.txt in" in message
    assert f"{tmp_path} holds stega" in message


def test_what_is_no_ordinary_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "t.csv")
    assert "it is neither a file nor a folder" in refusal(TaskSpec(data=str(tmp_path / "t.csv")))
    dataset = load_classes(tmp_path)
    assert dataset.layout.endswith("2 files; t.csv left out")


def test_class_files_that_hold_no_texts_are_refused(tmp_path):
    write_classes(tmp_path, {"apples": ["a"], "pears": ["  ", ""]})
    assert f"{tmp_path / 'pears.txt'} holds no text" in refusal(TaskSpec(data=str(tmp_path)))
    (tmp_path / "pears.txt").write_bytes(b"fine\nna\xefve\n")
    assert f"{tmp_path / 'pears.txt'}, line 2: byte 0xef is not UTF-8" in refusal(
        TaskSpec(data=str(tmp_path))
    )
    (tmp_path / "pears.txt").unlink()
    message = refusal(TaskSpec(data=str(tmp_path)))
    assert "at least two *.txt files" in message
    assert "it holds apples.txt" in message
    (tmp_path / "pears.txt").mkdir()
    assert f"cannot read {tmp_path / 'pears.txt'}" in refusal(TaskSpec(data=str(tmp_path)))


def test_too_few_texts_and_classes_are_refused(tmp_path):
    (tmp_path / "one.csv").write_text("text,label\na,x\nb,x\n")
    message = refusal(TaskSpec(data=str(tmp_path / "one.csv")))
    assert "all texts are of one class (x)" in message
    write_classes(tmp_path / "few", {"a": list("abcde"), "b": list("fghi")})
    message = refusal(TaskSpec(data=str(tmp_path / "few")))
    assert "9 texts are left in 2 classes (a, b)" in message
    assert "at least 10 are needed" in message
    write_classes(tmp_path / "rare", {"a": list("abcdefghijk"), "b": ["z"]})
    assert "class 'b' has 1 texts, too few for each split" in refusal(
        TaskSpec(data=str(tmp_path / "rare"))
    )


def test_a_name_that_cannot_name_results_is_refused(tmp_path):
    message = refusal(TaskSpec(name="a/b", data=str(write_classes(tmp_path / "x"))))
    assert "'a/b'" in message
    assert "--task NAME" in message


# Repeats


def test_copies_keep_the_first_and_contradictions_keep_none(tmp_path):
    repeated = ["twice  over ", " twice over", "caf\u00e9", "cafe\u0301", "", "both"]
    texts = {
        "apples": [*TEXTS["apples"], *repeated],
        "pears": [*TEXTS["pears"], "both ", "both"],
    }
    dataset = load_classes(tmp_path, texts)
    assert (dataset.copies, dataset.contradictions, dataset.empty) == (2, 3, 1)
    assert len(dataset.texts) == 52
    assert {"twice  over", "caf\u00e9"} <= set(dataset.texts)
    assert "both" not in dataset.texts
    assert "; 2 copies and 3 contradictory texts and 1 empty text removed; " in dataset.describe()


def test_every_row_is_kept_or_counted(tmp_path):
    rows = [(f"text {n}", "ab"[n % 2]) for n in range(40)]
    rows += [("text 1", "b"), (" text  3\u200b", "b"), ("text 2", "b"), ("", "a"), ("\u200b", "b")]
    rows += [("lost", ""), ("lost", "None"), ("text 7", "null"), ("", "")]
    path = tmp_path / "t.csv"
    path.write_text("text,label\n" + "".join(f'"{text}",{label}\n' for text, label in rows))
    dataset = load(TaskSpec(data=str(path)))
    assert dataset.read == len(rows)
    found = (dataset.copies, dataset.contradictions, dataset.empty, dataset.unlabelled)
    assert found == (2, 2, 3, 3)
    assert len(dataset.texts) + sum(found) == dataset.read
    assert (
        "(49 rows); 2 copies and 2 contradictory texts and 3 empty texts and 3 texts without a "
        "label removed; " in dataset.describe()
    )


def test_a_source_of_contradictions_alone_is_refused_as_such(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("text,label\n" + "".join(f"text {n},a\ntext {n},b\n" for n in range(40)))
    message = refusal(TaskSpec(data=str(path)))
    assert "all 80 rows with a label are of texts that stand in two classes or more" in message


def test_white_space_makes_no_other_column(tmp_path):
    path = tmp_path / "t.csv"
    rows = "".join(f"text {n} , {'ab'[n % 2]}\n" for n in range(40))
    path.write_text(f"text , label\n{rows}")
    assert load(TaskSpec(data=str(path))).classes == ("a", "b")
    path.write_text(f"text , text\n{rows}")
    assert "has 2 columns 'text', the numbers 1 and 2" in refusal(TaskSpec(data=str(path)))


def test_a_source_without_labels_is_refused(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("text,label\n" + "".join(f"text {n},\n" for n in range(40)))
    assert "there is no text with a label; name the columns" in refusal(TaskSpec(data=str(path)))


# Splits


def test_a_column_of_splits_needs_columns(tmp_path):
    message = refusal(TaskSpec(data=str(write_classes(tmp_path)), split="fold"))
    assert "task.split=fold names a column, but" in message
    assert "names a column, but the built-in grammar has none" in refusal(TaskSpec(split="fold"))


def test_every_class_is_cut_on_its_own(tmp_path):
    dataset = load_classes(tmp_path)
    counts = [
        np.bincount(split.labels_N).tolist()
        for split in (dataset.train, dataset.validation, dataset.test)
    ]
    assert counts == [[12, 18], [4, 6], [4, 6]]
    assert dataset.sizes == (30, 10, 10)


@settings(max_examples=30, deadline=None)
@given(
    sizes=st.lists(st.integers(10, 60), min_size=2, max_size=5),
    split=st.sampled_from(
        [(0.6, 0.2, 0.2), (0.5, 0.25, 0.25), (0.8, 0.1, 0.1), (0.34, 0.33, 0.33)]
    ),
    seed=st.integers(0, 2**32),
)
def test_splits_partition_the_texts_in_proportion(tmp_path_factory, sizes, split, seed):
    texts = {f"c{c}": [f"class {c} text {n}" for n in range(size)] for c, size in enumerate(sizes)}
    dataset = load_classes(tmp_path_factory.mktemp("s"), texts, split=split, seed=seed)
    assert len(set(dataset.texts)) == len(dataset.texts) == sum(sizes)
    assert labelled(dataset) == {(text, name) for name, lines in texts.items() for text in lines}
    for part, fraction in zip(
        (dataset.train, dataset.validation, dataset.test), split, strict=True
    ):
        counts = np.bincount(part.labels_N, minlength=len(sizes))
        assert np.all(np.abs(counts - fraction * np.array(sizes)) <= 1)


def test_the_seed_decides_the_split_and_nothing_else_does(tmp_path):
    first, again, other = (load_classes(tmp_path, seed=seed) for seed in (0, 0, 1))
    assert first.texts == again.texts
    assert first.rows == again.rows != other.rows
    assert first.digest == other.digest
    np.testing.assert_array_equal(first.labels_N, again.labels_N)
    assert np.any(np.diff(first.train.labels_N) < 0), "classes are mixed, not one after another"


# Digests


def test_digests_are_pinned(tmp_path):
    dataset = load_classes(tmp_path)
    assert dataset.digest == "1d12729134286a131d9f363562260a09635aa55177573137dafd79fd2788a0ab"
    assert dataset.rows == "bf94baf83c85907efee9ec8732445bb109c70308be8f53d8e270c3255cfdc4fb"


def test_the_digest_tells_texts_labels_classes_and_order_apart(tmp_path):
    apples, pears = TEXTS["apples"], TEXTS["pears"]
    variants = [
        TEXTS,
        {"apples": [*apples[:-1], "another"], "pears": pears},
        {"apples": apples[:-1], "pears": [apples[-1], *pears]},
        {"apples": apples, "plums": pears},
        {"apples": apples[::-1], "pears": pears},
        {"apples": [*apples[:-2], " ".join(apples[-2:])], "pears": pears},
    ]
    digests = [load_classes(tmp_path / str(n), v).digest for n, v in enumerate(variants)]
    assert len(set(digests)) == len(variants)


def test_loading_imports_nothing_heavy():
    code = (
        "import sys; from qdllm.texts.data import load; from qdllm.specs import TaskSpec\n"
        "load(TaskSpec()); heavy = {'torch', 'ray', 'pandas', 'pyarrow', 'transformers'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.skipif("QDLLM_DATA" not in os.environ, reason="QDLLM_DATA names no published folder")
@pytest.mark.parametrize(("task", "classes"), [("emotion", 2), ("hiding", 2), ("thematic", 4)])
def test_the_published_texts(task, classes):
    dataset = load(TaskSpec(name=task, data=os.environ["QDLLM_DATA"]))
    assert len(dataset.classes) == classes
    shares = np.bincount(dataset.labels_N) / len(dataset.texts)
    assert np.all(np.abs(shares * classes - 1) < 0.02)
    collapsed = {" ".join(text.split()) for text in dataset.texts}
    assert len(collapsed) == len(dataset.texts)
