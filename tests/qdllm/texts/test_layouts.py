"""Folders as people have them: what each is taken for, what is left out, and what is refused."""

import json

import pyarrow
import pyarrow.parquet
import pytest
from corpora import WORDS, class_folders, of_class, pairs, separated, write
from loading import labelled, refusal

from qdllm.specs import TaskSpec
from qdllm.texts.data import load
from qdllm.texts.layouts import left_out

TRAIN, TEST = pairs(20), pairs(6, " again")


def texts_of(split):
    return set(split.texts)


def load_folder(folder, **settings):
    return load(TaskSpec(data=str(folder), **settings))


def parquet(path, rows, names=()):
    path.parent.mkdir(parents=True, exist_ok=True)
    labels = [list(WORDS).index(label) if names else label for _, label in rows]
    table = pyarrow.table({"text": [text for text, _ in rows], "label": labels})
    if names:
        feature = {"names": list(names), "_type": "ClassLabel"}
        told = {"info": {"features": {"label": feature}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(told)})
    pyarrow.parquet.write_table(table, path)


# Splits that a source has


def test_tables_named_like_splits_stay_what_they_are(tmp_path):
    for name, rows in (("train", TRAIN), ("test", TEST)):
        write(tmp_path / f"{name}.csv", separated(",", rows))
    write(tmp_path / "README.md", "words")
    dataset = load_folder(tmp_path)
    assert texts_of(dataset.test) == {text for text, _ in TEST}
    assert texts_of(dataset.train) | texts_of(dataset.validation) == {text for text, _ in TRAIN}
    assert len(dataset.validation.texts) == 15, "a quarter of train, as 2 stands to 6"
    assert dataset.layout == (
        "tables: train.csv, test.csv (fields separated by commas); README.md left out"
    )


def test_own_splits_enter_the_digest(tmp_path):
    for name, rows in (("train", TRAIN), ("test", TEST)):
        write(tmp_path / "a" / f"{name}.csv", separated(",", rows))
    write(tmp_path / "b.csv", separated(",", TRAIN + TEST))
    apart, together = load_folder(tmp_path / "a"), load_folder(tmp_path / "b.csv")
    assert set(apart.texts) == set(together.texts)
    assert apart.digest != together.digest


def test_a_copy_stays_in_the_split_that_is_nearest_to_the_test(tmp_path):
    write(tmp_path / "train.csv", separated(",", [*TRAIN, *TEST[:4]]))
    write(tmp_path / "test.csv", separated(",", [*TEST, *TEST]))
    dataset = load_folder(tmp_path)
    assert dataset.copies == len(TEST) + 4
    assert texts_of(dataset.test) == {text for text, _ in TEST}
    assert texts_of(dataset.test).isdisjoint(texts_of(dataset.train))


def test_all_three_splits_are_kept_whole(tmp_path):
    rows = {"train": TRAIN, "dev": pairs(5, " then"), "test": TEST}
    for name, of_split in rows.items():
        write(tmp_path / f"{name}.tsv", separated("\t", of_split))
    dataset = load_folder(tmp_path)
    assert dataset.sizes == (60, 15, 18)
    assert texts_of(dataset.validation) == {text for text, _ in rows["dev"]}


def test_a_test_without_labels_is_left_out_and_that_is_told(tmp_path):
    write(tmp_path / "train.csv", separated(",", TRAIN))
    write(tmp_path / "test.csv", separated(",", [(text, "7") for text, _ in TEST], "text,id"))
    dataset = load_folder(tmp_path)
    assert dataset.sizes == (36, 12, 12)
    assert dataset.notes == ("test.csv is left out, for it has no column 'label'",)
    hidden = [(text, -1) for text, _ in TEST]
    parquet(tmp_path / "hub" / "train.parquet", TRAIN, WORDS)
    table = {"text": [text for text, _ in hidden], "label": [label for _, label in hidden]}
    told = pyarrow.parquet.read_schema(tmp_path / "hub" / "train.parquet").metadata
    withheld = pyarrow.table(table).replace_schema_metadata(told)
    pyarrow.parquet.write_table(withheld, tmp_path / "hub" / "test.parquet")
    dataset = load_folder(tmp_path / "hub")
    assert (dataset.sizes, dataset.unlabelled) == ((36, 12, 12), len(TEST))


def test_a_column_says_the_splits_and_what_it_lacks_is_cut_from_train(tmp_path):
    rows = [(text, label, "train") for text, label in TRAIN]
    rows += [(text, label, "TEST") for text, label in TEST]
    path = write(tmp_path / "t.csv", separated(",", rows, "text,label,split"))
    dataset = load(TaskSpec(data=str(path), split="split"))
    assert texts_of(dataset.test) == {text for text, _ in TEST}
    assert dataset.sizes == (45, 15, 18)
    unread = load(TaskSpec(data=str(path)))
    assert unread.notes == ("column 'split' is not read; --set task.split=split takes its splits",)
    write(path, separated(",", [*rows, ("odd", "money", "holdout")], "text,label,split"))
    assert "line 80: the split is 'holdout', but it must be one of train, training" in refusal(
        TaskSpec(data=str(path), split="split")
    )
    write(path, separated(",", [*rows, ("odd", "money", "")], "text,label,split"))
    assert "line 80: column 'split' does not say which split" in refusal(
        TaskSpec(data=str(path), split="split")
    )


def test_a_class_that_only_the_test_has_is_refused(tmp_path):
    write(tmp_path / "train.csv", separated(",", TRAIN))
    write(tmp_path / "test.csv", separated(",", [*TEST, ("what", "else")]))
    assert "class 'else' has 0 texts in train, too few" in refusal(TaskSpec(data=str(tmp_path)))


# Hugging Face's folders


def test_shards_of_the_hub_are_joined_and_their_numbers_named(tmp_path):
    folder = tmp_path / "hf" / "default"
    parquet(folder / "train-00000-of-00002.parquet", TRAIN[:30], WORDS)
    parquet(folder / "train-00001-of-00002.parquet", TRAIN[30:], WORDS)
    parquet(folder / "test-00000-of-00001.parquet", TEST, WORDS)
    dataset = load_folder(tmp_path / "hf")
    assert dataset.classes == tuple(WORDS), "in the order of their numbers"
    assert labelled(dataset) == {*TRAIN, *TEST}
    assert dataset.layout == "tables: 2 parts of train, test-00000-of-00001.parquet (Parquet)"
    parquet(folder / "validation-00000-of-00001.parquet", pairs(5, " then"), ["a", "b", "c"])
    assert "names the classes a, b, c, but the files before it money, sport, tech" in refusal(
        TaskSpec(data=str(folder))
    )


def test_what_datasets_saves_to_a_disk_is_read(tmp_path):
    for split, rows in (("train", TRAIN), ("test", TEST)):
        folder = tmp_path / split
        folder.mkdir()
        table = pyarrow.table({"text": [t for t, _ in rows], "label": [name for _, name in rows]})
        with pyarrow.ipc.new_stream(folder / "data-00000-of-00001.arrow", table.schema) as stream:
            stream.write_table(table)
        write(folder / "state.json", "{}")
        write(folder / "dataset_info.json", "{}")
    write(tmp_path / "dataset_dict.json", "{}")
    dataset = load_folder(tmp_path)
    assert texts_of(dataset.test) == {text for text, _ in TEST}
    assert dataset.layout.startswith("tables: in train/ and test/ (Arrow); ")


def test_several_sets_in_one_folder_are_refused(tmp_path):
    for name in ("cola", "sst2"):
        parquet(tmp_path / name / "train.parquet", TRAIN)
    message = refusal(TaskSpec(data=str(tmp_path)))
    assert "it holds cola, sst2." in message


# Files for classes, and folders


def test_imdb(tmp_path):
    class_folders(tmp_path / "train", 10)
    class_folders(tmp_path / "test", 6, " again")
    for name in ("pos", "neg", "unsup"):
        write(tmp_path / "train" / f"urls_{name}.txt", "http://example.org\n" * 9)
    write(tmp_path / "train" / "unsup" / "1_0.txt", "nobody knows")
    write(tmp_path / "README", "words")
    dataset = load_folder(tmp_path)
    assert labelled(dataset) == {*pairs(10), *pairs(6, " again")}
    assert len(dataset.test.texts) == 18
    assert dataset.layout == (
        "IMDB layout: 3 classes in train/ and test/; urls_*.txt, unsup/ and README left out"
    )
    alone = load_folder(tmp_path / "train")
    assert labelled(alone) == set(pairs(10))


def test_newsgroups(tmp_path):
    for number, (text, label) in enumerate(pairs(8)):
        write(tmp_path / f"rec.{label}" / str(1000 + number), f"Subject: x\n\n{text}\n")
    dataset = load_folder(tmp_path)
    assert dataset.classes == ("rec.money", "rec.sport", "rec.tech")
    assert all(text.startswith("Subject: x\n\n") for text in dataset.texts)
    assert dataset.layout == "20 Newsgroups layout: 3 classes, a file for each text"


def test_what_is_not_read_in_a_folder_of_a_class_is_told(tmp_path):
    class_folders(tmp_path, 10)
    for name in ("a.html", "b.html", "readme.txt"):
        write(tmp_path / "money" / name, "x")
    left = load_folder(tmp_path).layout
    assert "money/a.html" in left or "money*.html" in left
    assert "money/readme.txt" in left or "money*.txt" in left


def test_two_folders_for_one_class_are_refused(tmp_path):
    class_folders(tmp_path, 10)
    write(tmp_path / "mon\u200bey" / "1.txt", "x")
    assert "holds two folders for one class: " in refusal(TaskSpec(data=str(tmp_path)))


def test_classes_that_a_source_names_otherwise_or_not_at_all(tmp_path):
    """Half stars, of which 1.0 is the label 1; and rows with a class that no card names."""
    stars = [("0.5", "1.0", "1.5")[row % 3] for row in range(60)]
    rows = [(f"text {row}", star) for row, star in enumerate(stars)]
    table = pyarrow.table({"text": [text for text, _ in rows], "label": stars})
    for names, classes in (
        (("0.5", "1.0", "1.5"), ("0.5", "1", "1.5")),
        (("1.5", "other"), ("1.5", "0.5", "1")),
    ):
        feature = {"names": list(names), "_type": "ClassLabel"}
        told = {"huggingface": json.dumps({"info": {"features": {"label": feature}}})}
        pyarrow.parquet.write_table(table.replace_schema_metadata(told), tmp_path / "t.parquet")
        assert load(TaskSpec(data=str(tmp_path / "t.parquet"))).classes == classes


def test_newsgroups_by_date(tmp_path):
    class_folders(tmp_path / "20news-bydate-train", 10)
    class_folders(tmp_path / "20news-bydate-test", 6, " again")
    dataset = load_folder(tmp_path)
    assert len(dataset.test.texts) == 18


def test_urls_labels_readmes_and_splits_are_never_classes(tmp_path):
    for name in ("urls_pos", "urls_neg", "README", "labels", "classes"):
        write(tmp_path / f"{name}.txt", "x\n" * 20)
    assert "needs at least two *.txt files" in refusal(TaskSpec(data=str(tmp_path)))
    for label, texts in of_class(TRAIN):
        write(tmp_path / f"{label}.txt", "\n".join(texts))
    dataset = load_folder(tmp_path)
    assert dataset.classes == tuple(WORDS)
    assert dataset.layout == (
        "class files: one text on each line of 3 files; "
        "README.txt, classes.txt, labels.txt and urls_*.txt left out"
    )
    write(tmp_path / "train.txt", "x\n" * 20)
    assert "holds train.txt, named like a split, beside files named like classes" in refusal(
        TaskSpec(data=str(tmp_path))
    )


def test_files_for_a_class_and_a_split(tmp_path):
    for split, rows in (("train", TRAIN), ("test", TEST)):
        for label, texts in of_class(rows):
            write(tmp_path / "a" / f"{split}_{label}.txt", "\n".join(texts))
            write(tmp_path / "b" / split / f"{label}.txt", "\n".join(texts))
            write(tmp_path / "c" / label / f"{split}.txt", "\n".join(texts))
    found = [load_folder(tmp_path / name) for name in "abc"]
    for dataset in found:
        assert dataset.classes == tuple(WORDS)
        assert texts_of(dataset.test) == {text for text, _ in TEST}


def test_files_that_may_be_tables_or_classes_are_refused(tmp_path):
    for name in ("amazon", "imdb"):
        write(tmp_path / f"{name}.txt", separated("\t", TRAIN, ""))
    message = refusal(TaskSpec(data=str(tmp_path)))
    assert "amazon.txt, imdb.txt: each line of each has a tab, so they may be tables, or" in message
    write(tmp_path / "imdb.txt", "".join(f"line {n} without\n" for n in range(9)))
    assert load_folder(tmp_path).classes == ("amazon", "imdb")


def test_fasttext_files_are_splits(tmp_path):
    for split, rows in (("train", TRAIN), ("valid", TEST)):
        write(
            tmp_path / f"{split}.txt", "".join(f"__label__{name} {text}\n" for text, name in rows)
        )
    dataset = load_folder(tmp_path)
    assert labelled(dataset) == {*TRAIN, *TEST}
    assert texts_of(dataset.validation) == {text for text, _ in TEST}
    assert dataset.layout == "tables: train.txt, valid.txt (fastText's lines)"
    (tmp_path / "valid.txt").write_text("plain text\nmore of it\n")
    assert "valid.txt holds lines, but what label each has is not said" in refusal(
        TaskSpec(data=str(tmp_path))
    )


def test_two_readings_are_refused(tmp_path):
    class_folders(tmp_path, 6)
    write(tmp_path / "texts.csv", separated(",", TRAIN))
    message = refusal(TaskSpec(data=str(tmp_path)))
    assert "can be read as table: texts.csv or as 20 Newsgroups layout: 3 classes" in message
    assert "point --data to one of them" in message


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("a.csv", "b.csv"), "holds several tables: a.csv, b.csv. Point --data to one of them"),
        (("train.csv", "train.parquet"), "holds several tables for train: train.csv, train.parq"),
        (("train.csv", "more.csv"), "holds more.csv beside train.csv, which are named like spli"),
        (("train_test.csv",), "train_test.csv names several splits (train, test)"),
        (("dev.csv", "test.csv"), "holds dev.csv, test.csv, but no table to train on"),
    ],
)
def test_tables_that_leave_a_question_open_are_refused(tmp_path, names, told):
    for name in names:
        write(tmp_path / name, separated(",", TRAIN))
    assert told in refusal(TaskSpec(data=str(tmp_path)))


def test_parts_of_one_table_are_joined(tmp_path):
    for number in range(3):
        write(tmp_path / f"part-{number}.csv", separated(",", TRAIN[number::3]))
    dataset = load_folder(tmp_path)
    assert labelled(dataset) == set(TRAIN)
    assert dataset.layout == "table: 3 parts of it (fields separated by commas)"


def test_an_empty_folder_says_so(tmp_path):
    assert f"{tmp_path} is empty" in refusal(TaskSpec(data=str(tmp_path)))


def test_the_published_folder_is_no_folder_of_classes(tmp_path):
    for name in ("senti/train_neg", "senti/train_pos"):
        write(tmp_path / f"{name}.txt", "a\nb\n")
    message = refusal(TaskSpec(data=str(tmp_path)))
    assert "use --task with one of: emotion, hiding, thematic" in message


def test_names_that_begin_and_end_alike_are_told_as_one():
    names = ["urls_a.txt", "urls_b.txt", "unsup/", "README"]
    assert left_out(names) == "urls_*.txt, unsup/ and README left out"
    assert left_out([]) == ""
