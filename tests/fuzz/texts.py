"""Tables and folders of labelled texts, as people have them."""

import csv
import gzip
import io
import json
import os
import random
import re
from pathlib import Path
from typing import Any

from given import Case, anything, damaged, some_text

from qdllm.specs import TaskSpec
from qdllm.texts import data

LABELS = ("business", "sport", "0", "1", "-1", "a b", "é", "Ja", "nein", "true", "x" * 40, "1.5")
SAYINGS = (
    "The home side won",
    "Shares fell",
    "Ein Satz, der „zitiert“",
    "日本語の文",
    "a; b| c",
    "it's 5 %",
)
HEADERS = (
    ("text", "label"),
    ("text", "label"),
    ("sentence", "class"),
    ("Text", "Label"),
    ("a b", "é"),
)


def table(rng: random.Random, folder: Path) -> Case:
    """A table that is right, one with one thing wrong, or a file after an accident."""
    rows = _rows(rng)
    text_column, label_column = rng.choice(HEADERS)
    suffix = rng.choice((".csv", ".csv", ".tsv", ".jsonl", ".json"))
    path = folder / f"{rng.choice(('texts', 'my texts', 'é', 'a.b'))}{suffix}"
    content = _written(rng, rows, suffix, text_column, label_column)
    settings: dict[str, Any] = {"text_column": text_column, "label_column": label_column}
    kind, valid = rng.random(), True
    encoding = rng.choice(("utf-8", "utf-8", "utf-8-sig", "utf-16"))
    raw = content.encode(encoding)
    if kind > 0.85:
        settings |= {rng.choice(list(TaskSpec.model_fields)): anything(rng)}
        valid = None
    elif kind > 0.75:
        settings["label_column"], valid = "no such column", False
    elif kind > 0.4:
        raw, valid = damaged(rng, raw), None
    if rng.random() < 0.1:
        path, raw = path.with_name(f"{path.name}.gz"), gzip.compress(raw)
    path.write_bytes(raw)
    given = f"{path.name} as {settings!r:.200}: {raw!r:.300}"

    def run() -> data.Dataset:
        return data.load(TaskSpec.parse({"name": str(path)} | settings))

    named = ["no such column"] if valid is False else []
    return Case(given, run, valid, named, _holds(rows) if valid else _sane)


def files(rng: random.Random, folder: Path) -> Case:
    """A folder with a file for each class, with other things in it, or with one of them wrong."""
    rows = [(text.replace("\n", " "), label) for text, label in _rows(rng)]
    home = folder / rng.choice(("texts", "my texts", "é"))
    home.mkdir()
    for label in {label for _, label in rows}:
        mine = [text for text, each in rows if each == label]
        (home / f"{label}.txt").write_text("\n".join(mine) + "\n", encoding="utf-8")
    valid: bool | None = True
    wrong = rng.random()
    some = rng.choice(sorted(home.iterdir()))
    if wrong < 0.5:
        valid = None
        for _ in range(rng.choice((1, 1, 2))):
            rng.choice(
                (
                    lambda: (
                        some.write_bytes(damaged(rng, some.read_bytes())) if some.is_file() else 0
                    ),
                    lambda: _replace(some, lambda: os.mkfifo(some)),
                    lambda: _replace(some, some.mkdir),
                    lambda: _replace(some, lambda: some.symlink_to(some)),
                    lambda: _replace(some, lambda: some.symlink_to(home)),
                    lambda: _replace(some, lambda: some.symlink_to("/dev/zero")),
                    lambda: _put(rng, home, b""),
                    lambda: _put(rng, home, b"one\ntwo\n"),
                    lambda: _put(rng, home, rng.randbytes(50)),
                )
            )()
    task = {"name": rng.choice(("mine", "sample-thematic")), "data": str(home)}
    return Case(
        f"a folder {home.name} with {sorted(path.name for path in home.iterdir())!r:.300}",
        lambda: data.load(TaskSpec.parse(task)),
        valid,
        check=_holds(rows) if valid else _sane,
    )


def _rows(rng: random.Random) -> list[tuple[str, str]]:
    """Texts of two or three classes, enough of each for all splits; none stands in two."""
    rows = []
    for label in rng.sample(LABELS, rng.choice((2, 2, 3))):
        for number in range(rng.randrange(6, 15)):
            text = f"{rng.choice(SAYINGS)} {label} {number}"
            if rng.random() < 0.1:
                text += rng.choice((', "quoted"', "\nsecond line", "\tand a tab", " 🙂", " <b>"))
            rows.append((text, label))
    rng.shuffle(rows)
    return rows


def _written(
    rng: random.Random, rows: list[tuple[str, str]], suffix: str, text: str, label: str
) -> str:
    if suffix in (".json", ".jsonl"):
        records = [{text: each, label: name} for each, name in rows]
        if suffix == ".json":
            return json.dumps(records, ensure_ascii=rng.random() < 0.5)
        return "".join(f"{json.dumps(each, ensure_ascii=False)}\n" for each in records)
    written = io.StringIO()
    separator = "\t" if suffix == ".tsv" else rng.choice((",", ",", ";"))
    quoting = rng.choice((csv.QUOTE_MINIMAL, csv.QUOTE_ALL))
    writer = csv.writer(written, delimiter=separator, quoting=quoting)
    writer.writerow((text, label))
    writer.writerows(rows)
    return written.getvalue()


def _holds(rows: list[tuple[str, str]]) -> Any:
    """A check that a dataset has these texts under these labels."""

    def check(found: data.Dataset) -> str | None:
        labels = [found.classes[number] for number in found.labels_N]
        there = dict(zip(found.texts, labels, strict=True))
        for text, label in rows:
            if there.get(text.strip()) != label:
                return f"{text!r} is of {there.get(text.strip())!r}, and should be of {label!r}"
        return f"{len(there)} texts" if len(there) != len(rows) else _sane(found)

    return check


def _sane(found: data.Dataset) -> str | None:
    """What is wrong with any dataset."""
    classes = set(range(len(found.classes)))
    if len(classes) < 2 or len(set(found.classes)) < len(classes):
        return f"its classes are {found.classes!r:.200}"
    for split in data.SPLITS:
        if set(getattr(found, split).labels_N.tolist()) != classes:
            return f"{split} lacks a class of {found.classes!r:.200}"
    if not all(text.strip() for text in found.texts) or len(set(found.texts)) < len(found.texts):
        return "a text is empty, or stands there twice"
    return None


def _replace(path: Path, make: Any) -> None:
    if path.is_file() and not path.is_symlink():
        path.unlink()
        make()


def _put(rng: random.Random, home: Path, content: bytes) -> None:
    word = rng.choice(
        (".hidden", "README.md", "é.txt", "a\nb.txt", "x.csv", "train", os.fsdecode(b"\xff.txt"))
    )
    other = re.sub(r"[/\0\ud800]", "_", some_text(rng)[:50]) or "_"
    path = home / rng.choice((word, other))
    if not path.exists() and not path.is_symlink():
        path.write_bytes(content)
