"""What --data and --task mean: a path, an address, the authors' texts, or sample corpora."""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from qdllm.errors import ConfigError, nearest
from qdllm.specs import TaskSpec
from qdllm.texts import corpus, files, hub, locations, published
from qdllm.texts.layouts import Layout, Part, Unknown, left_out, look, unknown
from qdllm.texts.readers import Rows, read
from qdllm.visible import visible

LONGEST_NAME = 100
"""Bytes of a task's name that is made of a path."""

Progress = Callable[[int, int], None] | None
"""Called with the bytes done and to do."""


@dataclass
class Source:
    """A task's texts as they stand where they come from."""

    name: str
    address: str
    told: str
    """How they are laid out there, and what was left out."""
    rows: Rows
    classes: tuple[str, ...] = ()
    """In order, where the source tells them all."""


def read_source(task: TaskSpec, progress: Progress) -> Source:
    """The texts of a task. Raises ConfigError for what cannot be read, OSError for no file."""
    named, data = list(published.TASKS), task.data
    if data is not None and data != "published":
        return _read_address(data, task, progress)
    if task.name in named and data is None:
        raise ConfigError(
            f"task {task.name!r} needs texts: use --data DIR for a folder that holds them, "
            "--data published to download the ones that the paper's authors published, or "
            f"--task sample-{task.name} for texts made on the spot"
        )
    if task.name in named:
        folder = published.download(progress=progress)
        return _published(folder, task, "the authors' published texts")
    if data == "published":
        raise ConfigError(
            f"--data published has no task {task.name!r}{nearest(task.name, named)}. "
            f"Use --task with one of: {', '.join(named)}"
        )
    if task.name in corpus.CLASSES:
        classes, texts, numbers = corpus.generate(task.name)
        rows = Rows(texts, [classes[number] for number in numbers], [""] * len(texts))
        return Source(task.name, "the built-in grammar", "", rows, classes)
    if not locations.is_address(task.name) and not Path(task.name).exists():
        known = [*corpus.CLASSES, *named]
        raise ConfigError(
            f"unknown task {task.name!r}{nearest(task.name, known)}. No such file or folder is "
            f"there, and of tasks there are: {', '.join(known)}; name one of them, or give the "
            "path of a file or folder of your own"
        )
    return _read_address(task.name, task, progress)


def _read_address(data: str, task: TaskSpec, progress: Progress) -> Source:
    if data.startswith(locations.HUB):
        found = hub.fetch(data, progress)
        names = found.names.get(str(task.label_column), ())
        source = _read_path(found.folder, task, _usable(found.name), names)
        source.address = found.address
        return source
    if data.startswith("file://"):
        data = url2pathname(urlsplit(data).path)
    elif locations.is_address(data):
        scheme = data.partition(":")[0]
        raise ConfigError(
            f"{data!r} is an address ({scheme}:), but texts are read from a path of this machine, "
            "or from the Hugging Face hub as hf://OWNER/NAME; copy them here and give their path"
        )
    path = Path(data)
    if not path.exists():
        raise ConfigError(
            f"there is no file or folder {data!r}; name one that exists with --data, or leave "
            "--data out and use --task sample-thematic, sample-emotion or sample-hiding"
        )
    return _read_path(path, task, _name_of(path))


def _read_path(path: Path, task: TaskSpec, own: str, names: tuple[str, ...] = ()) -> Source:
    """`own`: the name that the path gives a task that has none. `names`: of numbers as labels."""
    if not (path.is_dir() or path.is_file()):
        raise ConfigError(f"cannot read {visible(path)}: it is neither a file nor a folder")
    # A sample's name, which is what --task is unless given, says nothing of texts from elsewhere.
    named = task.data is not None and task.name not in corpus.CLASSES
    if path.is_dir() and named and task.name in published.TASKS:
        return _published(path, task, visible(path))
    layout = Layout("", (Part(path),)) if not path.is_dir() else _look(path, task)
    rows = read(layout.parts, task, names)
    told, forms = layout.told, "; ".join(rows.forms)
    if forms:
        told = f"{told} ({forms})" if told else forms
    told = "; ".join(filter(None, [told, left_out(layout.left_out)]))
    return Source(task.name if named else own, visible(path), told, rows, layout.classes)


def _look(path: Path, task: TaskSpec) -> Layout:
    try:
        if published.tasks_in(path):
            raise unknown(path)
        return look(path, task)
    except Unknown as error:
        named = list(published.TASKS)
        near = "" if task.name in corpus.CLASSES else nearest(task.name, named)
        raise ConfigError(
            f"{error} To read a folder laid out like the published one, use --task with one of: "
            f"{', '.join(named)}{near}"
        ) from None


def _published(folder: Path, task: TaskSpec, address: str) -> Source:
    found = published.class_files(folder, task.name)
    rows = read([Part(path, label=label) for label, path in found.items()], task)
    return Source(task.name, address, "class files of the published layout", rows, tuple(found))


def _name_of(path: Path) -> str:
    """A task's name of a path."""
    stem = path.resolve().stem if path.is_dir() else files.named(path.resolve()).stem
    return _usable(stem)


def _usable(stem: str) -> str:
    """A name for a task: what may not stand in one becomes `_`."""
    letters = unicodedata.normalize("NFC", stem)
    kept = "".join(letter if locations.usable(letter) else "\0" for letter in letters)
    name = re.sub(r" *\0+ *", "_", kept).strip("_ ") or "texts"
    return name.encode()[:LONGEST_NAME].decode(errors="ignore")
