"""Formats as people have them: separators, headers, quotes, encodings, JSON's shapes, columns."""

import csv
import gzip
import json
import struct

import pyarrow
import pyarrow.parquet
import pytest
from corpora import pairs, separated, write
from loading import labelled, refusal

from qdllm.specs import TaskSpec
from qdllm.texts.data import load

PAIRS = pairs(12)
RECORDS = [{"text": text, "label": label} for text, label in PAIRS]
REFERENCE = separated(",", PAIRS)


def loaded(path, **settings):
    return load(TaskSpec(data=str(path), **settings))


def refused(path, **settings):
    return refusal(TaskSpec(data=str(path), **settings))


@pytest.fixture(scope="module")
def digest(tmp_path_factory):
    """What every way of writing the same texts comes to."""
    return loaded(write(tmp_path_factory.mktemp("a") / "a.csv", REFERENCE)).digest


# Files


@pytest.mark.parametrize(
    "suffix", [".csv", ".json", ".jsonl", ".ndjson", ".parquet", ".arrow", ".feather", ".txt"]
)
@pytest.mark.parametrize("packed", ["", ".gz", ".zst"])
def test_every_format_is_read_packed_or_not(tmp_path, digest, suffix, packed):
    path = tmp_path / f"texts{suffix}"
    columns = {"text": [text for text, _ in PAIRS], "label": [label for _, label in PAIRS]}
    if suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.table(columns), path)
    elif suffix in (".arrow", ".feather"):
        table = pyarrow.table(columns)
        with pyarrow.ipc.new_file(path, table.schema) as file:
            file.write_table(table)
    elif suffix == ".json":
        path.write_text(json.dumps(RECORDS, indent=1))
    elif suffix == ".txt":
        path.write_text("".join(f"__label__{label} {text}\n" for text, label in PAIRS))
    else:
        lines = REFERENCE if suffix == ".csv" else "\n".join(map(json.dumps, RECORDS))
        path.write_text(lines)
    content = path.read_bytes()
    if packed == ".gz":
        path = write(tmp_path / f"texts{suffix}.gz", gzip.compress(content))
    elif packed:
        path = tmp_path / f"texts{suffix}.zst"
        with pyarrow.CompressedOutputStream(str(path), "zstd") as stream:
            stream.write(content)
    dataset = loaded(path)
    assert (dataset.digest, dataset.name) == (digest, "texts")


@pytest.mark.parametrize("suffix", [".csv.gz", ".csv.zst", ".parquet.gz"])
def test_a_file_that_cannot_be_unpacked_is_named(tmp_path, suffix):
    path = write(tmp_path / f"t{suffix}", gzip.compress(REFERENCE.encode() * 9)[:-30])
    kind = path.suffix
    assert f"{path} cannot be unpacked: it is no whole {kind} file" in refused(path)


ENCODINGS = ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_what_shows_its_encoding_is_read_by_itself(tmp_path, digest, encoding):
    assert loaded(write(tmp_path / "a.csv", REFERENCE.encode(encoding))).digest == digest


@pytest.mark.parametrize(
    ("encoding", "word"),
    [
        ("cp1252", "café, £5 off"),
        ("cp1252", "£5 off"),
        ("cp1251", "курс рубля упал на два процента"),
        ("shift_jis", "株価が下がった"),
        ("gb18030", "股票价格下跌百分之二，今天的天气很好"),
    ],
)
def test_another_encoding_is_offered_by_name_and_read_by_a_setting(tmp_path, encoding, word):
    rows = [(f"{word.replace(',', '')} {text}", label) for text, label in PAIRS]
    path = write(tmp_path / "t.csv", separated(",", rows).encode(encoding))
    message = refused(path)
    assert f"{path}, line 2: byte 0x" in message
    assert f"is not UTF-8; it looks like {encoding}: --set task.encoding={encoding}" in message
    assert labelled(loaded(path, encoding=encoding)) == set(rows)


def test_one_broken_line_is_no_other_encoding(tmp_path):
    path = write(
        tmp_path / "t.csv", REFERENCE.encode() + "café,money\n".encode() + b"caf\xe9,money\n"
    )
    assert "line 39: byte 0xe9 is not UTF-8, though the lines before it are" in refused(path)


def test_bytes_that_a_chosen_encoding_lacks_are_named(tmp_path):
    path = write(tmp_path / "t.csv", REFERENCE.encode() + b"what\x81,money\n")
    assert "line 38: byte 0x81 is not cp1252" in refused(path, encoding="cp1252")


# Separated fields


@pytest.mark.parametrize("mark", ";|\t")
def test_the_separator_is_seen(tmp_path, digest, mark):
    assert loaded(write(tmp_path / "t.csv", separated(mark, PAIRS))).digest == digest


def test_commas_in_texts_do_not_hide_another_separator(tmp_path):
    rows = [(f"well, {text}, then", label) for text, label in PAIRS]
    assert labelled(loaded(write(tmp_path / "t.csv", separated(";", rows)))) == set(rows)


def test_what_excel_says_of_the_separator_is_no_record(tmp_path, digest):
    lines = separated(";", PAIRS)
    dataset = loaded(write(tmp_path / "t.csv", f"sep=;\r\n{lines}"))
    assert (dataset.digest, dataset.read) == (digest, len(PAIRS))
    message = refused(write(tmp_path / "t.csv", f"sep=;\n{lines}a;b;c\n"))
    assert f"line {len(PAIRS) + 3}: 3 fields" in message


def test_a_separator_that_cannot_be_told_is_asked_for(tmp_path):
    rows = [(f"well, {text}", label) for text, label in PAIRS]
    path = write(tmp_path / "t.csv", separated(";", rows, ""))
    columns = {"text_column": 1, "label_column": 2}
    message = refused(path, **columns)
    assert (
        "may be separated by commas or semicolons; say which with --set task.separator=" in message
    )
    assert labelled(loaded(path, separator="semicolon", **columns)) == set(rows)


def test_fields_may_be_long(tmp_path):
    rows = [*PAIRS, ("word " * 60_000, "money")]
    dataset = loaded(write(tmp_path / "t.csv", separated(",", rows)))
    assert max(map(len, dataset.texts)) == 299_999


def test_columns_by_number_need_no_header(tmp_path):
    rows = [(label, str(n), text) for n, (text, label) in enumerate(PAIRS)]
    path = write(tmp_path / "t.csv", separated(",", rows, ""))
    message = refused(path)
    assert "has no column 'text': its first line looks like a record, not like a header" in message
    assert (
        "--set task.text_column=3 --set task.label_column=1; the first line has 1 'money'"
        in message
    )
    dataset = loaded(path, text_column=3, label_column=1)
    assert labelled(dataset) == set(PAIRS)
    assert dataset.layout == "fields separated by commas, without a header"
    write(path, separated(",", rows, "kind,number,body"))
    dataset = loaded(path, text_column=3, label_column=1)
    assert labelled(dataset) == set(PAIRS), "a header is none of the records"
    assert dataset.layout == "fields separated by commas"
    assert "has 3 columns, so --set task.text_column=4 names none" in refused(
        path, text_column=4, label_column=1
    )


@pytest.mark.parametrize("suffix", [".csv", ".json"])
def test_a_column_of_splits_by_number(tmp_path, suffix):
    rows = [[text, label, ("train", "test")[n % 4 == 0]] for n, (text, label) in enumerate(PAIRS)]
    path = tmp_path / f"t{suffix}"
    write(path, separated(",", rows, "") if suffix == ".csv" else json.dumps(rows))
    dataset = loaded(path, text_column=1, label_column=2, split=3)
    assert set(dataset.test.texts) == {text for text, _, split in rows if split == "test"}


def test_arrays_of_arrays_hold_anything_and_are_refused(tmp_path):
    path = write(tmp_path / "t.json", json.dumps([["b", "y"], ["c", "y"], ["a", ["x"]]]))
    assert "line 1: the label is ['x'], but it must be a string" in refused(
        path, text_column=1, label_column=2
    )


def test_a_first_label_that_comes_again_late_is_no_header(tmp_path):
    rows = [*PAIRS[:1], *[(f"text {n}", "other") for n in range(600)], *PAIRS[1:]]
    path = write(tmp_path / "t.csv", separated(",", rows, ""))
    assert len(loaded(path, text_column=1, label_column=2).texts) == len(rows)


def test_several_text_columns_are_joined(tmp_path):
    rows = [(f"Title {n}", text if n % 2 else "", label) for n, (text, label) in enumerate(PAIRS)]
    path = write(tmp_path / "t.csv", separated(",", rows, "title,body,label"))
    dataset = loaded(path, text_column=("title", "body"))
    assert labelled(dataset) == {(f"{title} {body}".strip(), label) for title, body, label in rows}


def test_columns_without_a_name_are_counted(tmp_path):
    path = write(tmp_path / "t.csv", separated(",", [(*row, "", "") for row in PAIRS], "v1,v2,,"))
    assert "has no column 'text'. There are: v1, v2, and 2 without a name. Name one" in refused(
        path
    )
    assert labelled(loaded(path, text_column="v1", label_column="v2")) == set(PAIRS)


def test_another_case_of_a_column_is_meant(tmp_path):
    path = write(tmp_path / "t.csv", separated(",", PAIRS, "TEXT,Label"))
    assert "has no column 'text'; did you mean 'TEXT'? There are: TEXT, Label. Name" in refused(
        path
    )


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_column_that_is_there_twice_is_refused(tmp_path, suffix):
    path = tmp_path / f"t{suffix}"
    if suffix == ".csv":
        write(path, separated(",", [(*row, "x") for row in PAIRS], "text,label,text"))
    else:
        columns = [[row[at] for row in PAIRS] for at in (0, 1, 0)]
        names = ["text", "label", "text"]
        table = pyarrow.Table.from_arrays(list(map(pyarrow.array, columns)), names)
        pyarrow.parquet.write_table(table, path)
    assert "has 2 columns 'text', the numbers 1 and 3; rename one" in refused(path)
    assert labelled(loaded(path, text_column=1, label_column=2)) == set(PAIRS)


def test_a_bad_byte_of_an_encoding_of_seven_bits_is_told(tmp_path):
    lines = separated(",", PAIRS).encode("iso2022_jp") + b"\x1b$B\x21,sport\n"
    message = refused(write(tmp_path / "t.csv", lines), encoding="iso2022_jp")
    assert "is not iso2022_jp" in message


# Quotes


def test_stray_quotes_in_tabs_are_letters(tmp_path):
    rows = list(PAIRS)
    rows[5] = (f'"{rows[5][0]}', rows[5][1])
    rows[9] = (f'{rows[9][0]}"', rows[9][1])
    rows[20] = (f'"{rows[20][0]}" they say', rows[20][1])
    dataset = loaded(write(tmp_path / "t.tsv", separated("\t", rows)))
    assert labelled(dataset) == set(rows)
    assert dataset.layout == "fields separated by tabs, where quotes are letters like others"


def test_quoted_fields_in_tabs_are_fields(tmp_path):
    path = tmp_path / "t.tsv"
    rows = [(f'he said\n"{text}"\tand left', label) for text, label in PAIRS]
    with path.open("w", newline="") as stream:
        csv.writer(stream, delimiter="\t").writerows([("text", "label"), *rows])
    assert labelled(loaded(path)) == set(rows)


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("apart", [1, 10])
def test_records_that_a_quote_swallows_are_an_error_with_its_line(tmp_path, order, apart):
    rows = [list(row) for row in PAIRS]
    rows[5][0] = f'"{rows[5][0]}'
    rows[5 + apart][0] = f'{rows[5 + apart][0]}"'
    header = "text,label" if order == 1 else "label,text"
    path = write(tmp_path / "t.csv", separated(",", [tuple(row[::order]) for row in rows], header))
    message = refused(path)
    assert (
        f"{path}, line 7: a quote opens here, and makes one record of {apart + 1} lines" in message
    )


def test_texts_of_several_lines_are_no_swallowed_records(tmp_path):
    rows = [(f"Dear all, money\nwell, {text}\nyours, x", label) for text, label in PAIRS]
    path = tmp_path / "t.csv"
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([("text", "label"), *rows])
    assert labelled(loaded(path)) == set(rows)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (
            '"open,money',
            "line 38: unexpected end of data: the quote that opens here does not close",
        ),
        ('"a" b,money', "line 38: ',' expected after '\"'"),
        ("one,two,three", "line 38: 3 fields, but the header has 2 (fields separated by commas)"),
    ],
)
def test_lines_out_of_place_are_named(tmp_path, line, told):
    assert told in refused(write(tmp_path / "t.csv", f"{REFERENCE}{line}\n"))


# Lines that begin with their labels


def test_trec_lines_have_two_labels(tmp_path):
    lines = [f"{label.upper()}:{label[:3]}{n % 2} {text}" for n, (text, label) in enumerate(PAIRS)]
    path = write(tmp_path / "train_5500.label", "\n".join(lines))
    dataset = loaded(path)
    assert dataset.classes == ("MONEY", "SPORT", "TECH")
    assert {text for text, _ in labelled(dataset)} == {text for text, _ in PAIRS}
    assert loaded(path, label_column="sub").classes[:2] == ("MONEY:mon0", "MONEY:mon1")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("no label here", "line 37: it has no __label__"),
        ("__label__a __label__b text", "line 37: it has two labels, __label__a and __label__b"),
    ],
)
def test_fasttext_lines_have_one_label(tmp_path, line, told):
    lines = [f"__label__{label} {text}" for text, label in PAIRS]
    assert told in refused(write(tmp_path / "t.txt", "\n".join([*lines, line])))


def test_a_text_file_alone_is_no_class(tmp_path):
    path = write(tmp_path / "pos.txt", "one text\nanother text\n")
    message = refused(path)
    assert "what label each has is not said" in message
    assert "For a file for each class, give their folder with --data" in message


def test_a_text_file_with_tabs_is_a_table(tmp_path):
    path = write(tmp_path / "SMSSpamCollection", separated("\t", [row[::-1] for row in PAIRS], ""))
    assert labelled(loaded(path, text_column=2, label_column=1)) == set(PAIRS)


# JSON

SHAPES = {
    "an array": RECORDS,
    "data": {"version": 3, "data": RECORDS},
    "arrays": [["text", "label"], *map(list, PAIRS)],
    "columns": {name: [record[name] for record in RECORDS] for name in ("text", "label")},
    "pandas' columns": {
        name: {str(n): record[name] for n, record in enumerate(RECORDS)}
        for name in ("text", "label")
    },
    "pandas' index": {str(n): record for n, record in enumerate(RECORDS)},
    "pandas' split": {
        "columns": ["text", "label"],
        "index": list(range(len(PAIRS))),
        "data": [list(pair) for pair in PAIRS],
    },
}


@pytest.mark.parametrize("shape", SHAPES)
def test_json_in_the_shapes_that_exports_have(tmp_path, digest, shape):
    path = write(tmp_path / "t.json", json.dumps(SHAPES[shape], indent=1))
    assert loaded(path).digest == digest


def test_an_array_in_a_file_of_lines_is_one(tmp_path, digest):
    assert loaded(write(tmp_path / "t.jsonl", json.dumps(RECORDS))).digest == digest
    lines = "\n".join(map(json.dumps, RECORDS))
    assert loaded(write(tmp_path / "t.json", lines)).digest == digest


def test_splits_in_one_json_file(tmp_path):
    test = pairs(4, " again")
    whole = {"train": RECORDS, "test": [{"text": text, "label": label} for text, label in test]}
    dataset = loaded(write(tmp_path / "t.json", json.dumps(whole)))
    assert set(dataset.test.texts) == {text for text, _ in test}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"a": RECORDS, "b": RECORDS}, "one JSON object with the keys a, b; where its records are"),
        (
            [*RECORDS, 5],
            'line 37: a record must be a JSON object such as {"text": …}, but this is 5',
        ),
        ([{"txt": "a", "label": "b"}], "has no column 'text'; did you mean 'txt'?"),
    ],
)
def test_json_that_holds_something_else(tmp_path, content, told):
    path = tmp_path / "t.json"
    path.write_text(json.dumps(content).replace("}, ", "},\n"))
    assert told in refused(path)


def test_json_that_names_a_key_twice(tmp_path):
    lines = [json.dumps(record) for record in RECORDS]
    path = write(
        tmp_path / "t.jsonl", "\n".join([*lines, '{"text": "a", "text": "b", "label": 1}'])
    )
    assert "line 37: not JSON: a record names 'text' twice" in refused(path)


def test_json_that_breaks_off(tmp_path):
    path = write(tmp_path / "t.json", json.dumps(RECORDS, indent=1)[:-2])
    assert "the array of records must end here, or go on after a comma" in refused(path)


@pytest.mark.parametrize(("name", "told"), [("t.xlsx", "save it as CSV"), ("t.zip", "unpack it")])
def test_what_to_do_about_files_of_other_kinds(tmp_path, name, told):
    assert f"cannot read texts from {tmp_path / name}: {told}, for its name" in refused(
        write(tmp_path / name, b"PK")
    )


# Columns of Arrow


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("t.parquet", b"", "is not a Parquet file that can be read: it is empty"),
        (
            "t.parquet",
            b"text,label\n",
            "a Parquet file that can be read: it does not begin with PAR1",
        ),
        ("t.parquet", b"PAR1" * 9, "is not a Parquet file that can be read: it is damaged"),
        ("t.arrow", b"ARROW1" * 9, "is not an Arrow file that can be read: it is damaged"),
    ],
)
def test_what_is_no_table_of_columns_is_told_in_our_words(tmp_path, name, content, told):
    assert told in refused(write(tmp_path / name, content))


def test_arrow_that_points_beyond_itself_is_damaged(tmp_path):
    path = tmp_path / "t.arrow"
    columns = {"text": [text for text, _ in PAIRS], "label": [label for _, label in PAIRS]}
    table = pyarrow.table(columns)
    with pyarrow.ipc.new_stream(path, table.schema) as stream:
        stream.write_table(table)
    content = path.read_bytes()
    offsets = struct.pack("<2i", 0, len(PAIRS[0][0]))
    assert content.count(offsets) == 1
    path.write_bytes(content.replace(offsets, struct.pack("<2i", 0, 2**31 - 1)))
    assert "is not an Arrow file that can be read: it is damaged" in refused(path)


def test_a_number_without_a_name_is_refused(tmp_path):
    feature = {"info": {"features": {"label": {"names": ["a", "b"], "_type": "ClassLabel"}}}}
    table = pyarrow.table({"text": ["x", "y"], "label": [0, 2]})
    path = tmp_path / "t.parquet"
    told = table.replace_schema_metadata({"huggingface": json.dumps(feature)})
    pyarrow.parquet.write_table(told, path)
    assert "row 2: the label is 2, but the file names 2: a, b" in refused(path)


def test_memory_stays_near_the_size_of_the_table(tmp_path):
    import subprocess
    import sys

    path = tmp_path / "t.csv"
    with path.open("w") as stream:
        stream.write("text,label\n")
        for n in range(200_000):
            stream.write(f"text number {n} {'and more of it ' * 12},{'ab'[n % 2]}\n")
    code = (
        "import resource, sys\n"
        "from qdllm.texts.data import load\n"
        "from qdllm.specs import TaskSpec\n"
        "import qdllm.texts.formats.columnar, numpy\n"
        "load(TaskSpec()); before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "load(TaskSpec(data=sys.argv[1]))\n"
        "print(1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 4 * path.stat().st_size
