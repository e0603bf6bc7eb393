"""Tables of texts in every format, and what is said of the malformed ones."""

import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from loading import labelled, refusal

from qdllm.errors import ConfigError
from qdllm.specs import TaskSpec
from qdllm.texts.data import load

TEXTS = {
    "apples": [f"an apple, of kind {n}" for n in range(20)],
    "pears": [f"a pear of kind {n}" for n in range(30)],
}


def write_table(path: Path, records: list[dict]) -> Path:
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(records), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
    else:
        mark = "\t" if path.suffix == ".tsv" else ","
        quoted = [[f'"{value}"' for value in record.values()] for record in records]
        path.write_text("".join(f"{mark.join(row)}\n" for row in [list(records[0]), *quoted]))
    return path


RECORDS = [{"text": t, "label": name} for name, lines in TEXTS.items() for t in lines]
SUFFIXES = [".csv", ".tsv", ".jsonl", ".parquet"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_tables_give_what_folders_give(tmp_path, suffix):
    path = write_table(tmp_path / f"fruit{suffix}", RECORDS)
    for name, lines in TEXTS.items():
        (tmp_path / f"{name}.txt").write_text("\n".join(lines))
    assert load(TaskSpec(data=str(path))).digest == load(TaskSpec(data=str(tmp_path))).digest
    assert load(TaskSpec(name=str(path))).name == "fruit"


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_columns_by_name(tmp_path, suffix):
    records = [{"id": n, "body": f"text {n}", "kind": n % 2} for n in range(20)]
    path = write_table(tmp_path / f"t{suffix}", records)
    dataset = load(TaskSpec(data=str(path), text_column="body", label_column="kind"))
    assert dataset.classes == ("0", "1")
    assert labelled(dataset) == {(f"text {n}", str(n % 2)) for n in range(20)}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_missing_column_is_named_with_the_nearest(tmp_path, suffix):
    path = write_table(tmp_path / f"t{suffix}", [{"texts": "a", "label": "b"}])
    message = refusal(TaskSpec(data=str(path)))
    assert f"{path} has no column 'text'; did you mean 'texts'?" in message
    assert "There are: texts, label" in message
    assert "--set task.text_column=" in message
    message = refusal(TaskSpec(data=str(path), text_column="texts", label_column="lable"))
    assert "no column 'lable'; did you mean 'label'?" in message
    assert "--set task.label_column=" in message


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_empty_texts_and_missing_labels_are_counted(tmp_path, suffix):
    blank = [{"text": "  ", "label": "pears"}, {"text": "", "label": ""}]
    path = write_table(tmp_path / f"t{suffix}", [*RECORDS, *blank])
    dataset = load(TaskSpec(data=str(path)))
    assert (len(dataset.texts), dataset.empty) == (50, 2)
    assert "2 empty texts removed" in dataset.describe()
    missing = [{"text": "a plum", "label": " "}, {"text": "a fig", "label": "N/A"}]
    path = write_table(tmp_path / f"t{suffix}", [*RECORDS, *missing, *blank])
    dataset = load(TaskSpec(data=str(path)))
    assert (len(dataset.texts), dataset.empty, dataset.unlabelled) == (50, 2, 2)
    assert "(54 rows); 2 empty texts and 2 texts without a label removed; " in dataset.describe()
    assert "labels taken for missing ones: 'N/A' 1; a class of that name" in dataset.notes[-1]


def test_missing_numbers_are_missing_labels(tmp_path):
    records = [{"text": f"text {n}", "label": float(n % 2)} for n in range(20)]
    path = write_table(tmp_path / "t.parquet", records)
    assert load(TaskSpec(data=str(path))).classes == ("0", "1")
    path = write_table(tmp_path / "t.parquet", [*records, {"text": "x", "label": float("nan")}])
    assert load(TaskSpec(data=str(path))).unlabelled == 1


def test_numeric_labels_sort_by_value_and_others_as_text(tmp_path):
    for labels, order in [
        (["10", "9", "-1"], ("-1", "9", "10")),
        (["10", "9", "b"], ("10", "9", "b")),
    ]:
        records = [{"text": f"{label} {n}", "label": label} for label in labels for n in range(5)]
        path = write_table(tmp_path / "t.csv", records)
        assert load(TaskSpec(data=str(path))).classes == order


MALFORMED = {
    "fields.csv": (b"text,label\na,b\nno, good,b\n", "line 3: 3 fields, but the header has 2"),
    "quote.csv": (b'text,label\n"open,b\n', "line 2: unexpected end of data"),
    "header.csv": (b'"text', "line 1: unexpected end of data"),
    "one.csv": (b"text,label\nlonely\n", "line 2: 1 field, but the header has 2"),
    "empty.csv": (b"", "is empty"),
    "blank.csv": (b"\n\n", "is empty"),
    "header-alone.csv": (b"text,label\n", "holds no rows"),
    "packed.csv": (b"\x1f\x8b\x08\x00", "is no text: it is packed by gzip; let its name end in"),
    "book.csv": (b"PK\x03\x04\xff", "is no text: it is a ZIP archive, as workbooks are"),
    "bytes.csv": (b"text,label\nfine,b\ncaf\xe9,b\n", "line 3: byte 0xe9 is not UTF-8"),
    "not.jsonl": (b'{"text": "a", "label": 1}\n\n{oops}\n', "line 3: not JSON"),
    "list.jsonl": (b'["a", "b"]\n', "line 1: a JSON object such as"),
    "number.jsonl": (b'{"text": 5, "label": 1}\n', "line 1: the text is 5, but it must be"),
    "object.jsonl": (b'{"text": "a", "label": []}\n', "line 1: the label is [], but it must be"),
    "half.jsonl": (b'{"text": "\\ud800", "label": 1}\n', "line 1: \\ud800 is half of a character"),
    "deep.jsonl": (b"[" * 100_000, "line 1: not JSON: more lists and objects lie in each other"),
    "cut.jsonl": (b'{"text": "a', "line 1: not JSON: Unterminated string"),
    "not.parquet": (b"text,label\na,b\n", "is not a Parquet file that can be read"),
    "text.docx": (b"text", "must end in .csv, .tsv, .jsonl, .parquet"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_files_are_refused_with_the_place(tmp_path, name):
    content, expected = MALFORMED[name]
    path = tmp_path / name
    path.write_bytes(content)
    message = refusal(TaskSpec(data=str(path)))
    assert str(path) in message
    assert expected in message


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".json", ".ndjson", ".arrow", ".label", ".txt"])
@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(content=st.binary(max_size=200))
def test_no_bytes_give_a_traceback(tmp_path, suffix, content):
    record = b'{"text": "a", "label": 1}'
    good = {".parquet": b"PAR1", ".arrow": b"ARROW1", ".json": b"[%b," % record}
    good |= dict.fromkeys((".jsonl", ".ndjson"), record + b"\n") | {".label": b"ABC:d e\n"}
    (tmp_path / f"a{suffix}").write_bytes(good.get(suffix, b"text,label\n") + content)
    (tmp_path / "b.txt").write_text("b")
    path = tmp_path if suffix == ".txt" else tmp_path / f"a{suffix}"
    with pytest.raises(ConfigError):
        load(TaskSpec(data=str(path)))
