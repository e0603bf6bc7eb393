"""How a folder of texts is laid out: all of it is looked at, and one reading must remain.

Each layout is a recogniser in LAYOUTS: it gets what a folder holds and says which files are read
and how, or None. Where two fit, or none, the folder is refused.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from qdllm.errors import ConfigError
from qdllm.messages import some
from qdllm.specs import TaskSpec
from qdllm.texts import files, labels
from qdllm.texts.folders import UNLABELLED, Folder, is_split, names
from qdllm.texts.formats.marked import marked
from qdllm.texts.splits import SPLITS, splits_in
from qdllm.visible import visible

FEWEST = 5
"""Texts that a class needs at least."""


@dataclass(frozen=True)
class Part:
    """A file of a data set, and what its place says of the texts in it."""

    path: Path
    split: str = ""
    label: str = ""
    """The class of all its texts, of which one stands on each line."""
    whole: bool = False
    """Whether all of it is one text."""


@dataclass(frozen=True)
class Layout:
    """Which files of a folder are read."""

    told: str
    parts: tuple[Part, ...]
    left_out: tuple[str, ...] = ()
    """What else the folder holds."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Those that places tell, in order."""
        return tuple(sorted({part.label for part in self.parts if part.label}))

    @property
    def splits(self) -> tuple[str, ...]:
        """Those that places tell."""
        return tuple(split for split in SPLITS if any(part.split == split for part in self.parts))


def look(path: Path, task: TaskSpec) -> Layout:
    """The one layout that a folder can have.

    Raises Unknown where it has none, ConfigError where several fit or names speak against it, and
    OSError for what cannot be read.
    """
    folder = Folder(path, task)
    found = [layout for recognise in LAYOUTS if (layout := recognise(folder))]
    if len(found) > 1:
        raise ConfigError(
            f"{visible(path)} can be read as {' or as '.join(layout.told for layout in found)}; "
            "point --data to one of them, or move the other away"
        )
    if not found:
        raise unknown(path)
    layout = found[0]
    read = {part.path for part in layout.parts}
    read |= {folder for path in read for folder in path.parents}
    left = [
        f"{one.name}{'/' if one.is_dir() else ''}"
        for one in chain(folder.files, folder.aside, folder.folders)
        if one not in read
    ]
    return replace(layout, left_out=tuple(dict.fromkeys([*layout.left_out, *left])))


class Unknown(ConfigError):
    """A folder in which no layout is recognised."""


def unknown(path: Path) -> Unknown:
    """What a folder would have to hold, and what it holds."""
    held = some(sorted(one.name for one in path.iterdir()))
    if held == "none":
        return Unknown(f"{visible(path)} is empty.")
    return Unknown(
        f"{visible(path)} needs at least two *.txt files, one for each class; or tables; or a "
        f"folder for each class with at least {FEWEST} files, one for each text; but it holds "
        f"{held}."
    )


def left_out(names: Sequence[str]) -> str:
    """What was left out, with one word for names that begin and end alike."""
    groups = defaultdict(list)
    for name in names:
        begin = re.match(r"[^\W\d_]+[ _-]?", name)
        groups[begin[0] if begin else name, Path(name).suffix].append(name)
    told = [
        group[0] if len(group) == 1 else f"{begin}*{suffix}"
        for (begin, suffix), group in groups.items()
    ]
    first, last = told[:-1], told[-1:]
    return f"{' and '.join([*([some(first)] if first else []), *last])} left out" if told else ""


# Recognisers


def _class_files(folder: Folder) -> Layout | None:
    """A text file for each class, one text on each line."""
    if not folder.class_files or _by_split_and_class(folder):
        return None
    parts = [
        Part(file, label=labels.plain(files.named(file).stem))
        for file in sorted(folder.class_files, key=lambda file: files.named(file).stem)
    ]
    if len({part.label for part in parts}) < len(parts):
        raise ConfigError(
            f"{visible(folder.path)} holds two files for one class: {names(folder.class_files)}; "
            "put their lines into one"
        )
    told = f"class files: one text on each line of {len(parts)} files"
    return Layout(told, tuple(parts))


def _split_class_files(folder: Folder) -> Layout | None:
    """A text file for each class of each split: `train_pos.txt`, `test_pos.txt`."""
    parts = _by_split_and_class(folder)
    if not parts:
        return None
    many = len({part.label for part in parts})
    told = f"class files: one text on each line, {many} classes in {_of_splits(parts)}"
    return Layout(told, tuple(parts))


def _by_split_and_class(folder: Folder) -> list[Part]:
    """The class files, if their names are several splits' words with the names of classes."""
    parts = []
    for file in folder.class_files:
        words = [word for word in re.split(r"[ _.-]+", files.named(file).stem) if word]
        said = [word for word in words if is_split(word)]
        rest = "_".join(word for word in words if word not in said)
        if len(said) != 1 or not rest:
            return []
        parts.append(Part(file, splits_in(said[0])[0], labels.plain(rest)))
    splits = {part.split for part in parts}
    classes = {part.label for part in parts}
    whole = len(parts) == len(splits) * len(classes) and "train" in splits
    return parts if whole and len(splits) > 1 and len(classes) > 1 else []


def _tables(folder: Folder) -> Layout | None:
    """Tables for the splits, shards of one, or a single one."""
    tables = list(folder.tables)
    if not folder.class_files:
        single = [file for file in folder.lines if files.named(file).suffix == ""]
        tables += [
            file
            for file in folder.lines
            if splits_in(files.named(file).stem)
            or marked(file, folder.task)
            or (not tables and single == [file])
        ]
    by_split = defaultdict(list)
    for file in sorted(tables):
        splits = splits_in(files.named(file).stem)
        if len(splits) > 1:
            raise ConfigError(
                f"{visible(file)} names several splits ({', '.join(splits)}); rename it, or point "
                "--data to the file that is meant"
            )
        by_split["".join(splits)].append(file)
    if folder.class_files and set(by_split) <= {""}:
        return None  # files for the classes come before what lies beside them
    if not by_split:
        return None
    if "" in by_split and len(by_split) > 1:
        raise ConfigError(
            f"{visible(folder.path)} holds {names(by_split.pop(''))} beside "
            f"{names(chain(*by_split.values()))}, which are named like splits; name all of them "
            "so (train, validation, test), or point --data to the one that is meant"
        )
    for split, found in by_split.items():
        if not _shards(found):
            of = f" for {split}" if split else ""
            raise ConfigError(
                f"{visible(folder.path)} holds several tables{of}: {names(found)}. Point --data "
                "to one of them; parts of one table are told by names that differ in numbers alone"
            )
    parts = [Part(file, split) for split in SPLITS for file in by_split.get(split, ())]
    parts = parts or [Part(file) for file in by_split[""]]
    if len(by_split) == 1:
        parts = [replace(part, split="") for part in parts]
    elif "train" not in by_split:
        raise ConfigError(
            f"{visible(folder.path)} holds {names(tables)}, but no table to train on; add one "
            "with train in its name"
        )
    return Layout(_told_tables(parts), tuple(parts))


def _told_tables(parts: Sequence[Part]) -> str:
    groups = defaultdict(list)
    for part in parts:
        groups[part.split].append(part.path)
    told = [
        visible(found[0].name) if len(found) == 1 else f"{len(found)} parts of {split or 'it'}"
        for split, found in groups.items()
    ]
    return f"table{'s' * (len(told) > 1)}: {', '.join(told)}"


def _class_folders(folder: Folder) -> Layout | None:
    """A folder for each class, with a file for each text, or a file of lines for each split."""
    inner = _flat(folder)
    classes = {label: one.texts for label, one in inner.items()}
    if len(classes) < 2:
        return None
    left = tuple(
        f"{one.path.name}/{file.name}"
        for one in inner.values()
        for file in sorted({*one.files, *one.aside}.difference(one.texts))
    )
    if all(is_split(files.named(file).stem) for found in classes.values() for file in found):
        parts = [
            Part(file, splits_in(files.named(file).stem)[0], label)
            for label, found in classes.items()
            for file in found
        ]
        told = f"class folders: {len(classes)} classes, one text on each line of "
        return Layout(f"{told}{_of_splits(parts)}", tuple(parts), left)
    if any(is_split(label) for label in classes):
        return None
    if all(len(found) < FEWEST for found in classes.values()):
        return None
    parts = [
        Part(file, label=label, whole=True) for label, found in classes.items() for file in found
    ]
    told = f"20 Newsgroups layout: {len(classes)} classes, a file for each text"
    return Layout(told, tuple(parts), left)


def _flat(folder: Folder) -> Mapping[str, Folder]:
    """What each folder holds, if all of them hold texts and nothing deeper, by its name."""
    found: dict[str, Folder] = {}
    for one in folder.folders:
        if one.name.lower() in UNLABELLED:
            continue
        inner = Folder(one, folder.task)
        if inner.folders or inner.tables or not inner.texts:
            return {}
        if other := found.get(labels.plain(one.name)):
            raise ConfigError(
                f"{visible(folder.path)} holds two folders for one class: "
                f"{names([other.path, one])}; put their files into one"
            )
        found[labels.plain(one.name)] = inner
    return found


def _split_folders(folder: Folder) -> Layout | None:
    """A folder for each split, laid out in one of the other ways."""
    by_split = defaultdict(list)
    for one in folder.folders:
        splits = splits_in(one.name)
        if len(splits) == 1:
            by_split[splits[0]].append(one)
    if "train" not in by_split:
        return None
    for split, found in by_split.items():
        if len(found) > 1:
            raise ConfigError(
                f"{visible(folder.path)} holds several folders for {split}: {names(found)}; point "
                "--data to the one that is meant, or move the others away"
            )
    ordered = [split for split in SPLITS if split in by_split]
    layouts = {split: look(by_split[split][0], folder.task) for split in ordered}
    kinds = {layout.told.partition(":")[0] for layout in layouts.values()}
    if len(kinds) > 1:
        raise ConfigError(
            f"the folders for splits in {visible(folder.path)} are laid out in different ways: "
            + "; ".join(f"{split}, {layout.told}" for split, layout in layouts.items())
        )
    parts = []
    for split, layout in layouts.items():
        if set(layout.splits) - {split}:
            raise ConfigError(
                f"{visible(by_split[split][0])} holds {', '.join(layout.splits)}, though it is "
                f"named like the split {split} itself; point --data to it, or rename it"
            )
        said = split if len(layouts) > 1 else ""
        parts += [replace(part, split=said) for part in layout.parts]
    where = " and ".join(f"{by_split[split][0].name}/" for split in ordered)
    classes = {part.label for part in parts}
    kind = kinds.pop()
    name = "IMDB layout" if parts[0].whole else f"{kind}s" if kind == "table" else kind
    told = f"{len(classes)} classes in {where}" if all(classes) else f"in {where}"
    left = dict.fromkeys(name for layout in layouts.values() for name in layout.left_out)
    return Layout(f"{name}: {told}", tuple(parts), tuple(left))


def _lone_folder(folder: Folder) -> Layout | None:
    """A folder around the one that holds everything."""
    if len(folder.folders) != 1 or folder.tables or folder.lines:
        return None
    (inner,) = folder.folders
    if splits_in(inner.name) or not any(inner.iterdir()):
        return None
    return look(inner, folder.task)


LAYOUTS: tuple[Callable[[Folder], Layout | None], ...] = (
    _class_files,
    _split_class_files,
    _tables,
    _class_folders,
    _split_folders,
    _lone_folder,
)


def _shards(found: Sequence[Path]) -> bool:
    """Whether files are parts of one table: their names differ in numbers alone."""
    return len({re.sub(r"\d+", "0", file.name) for file in found}) == 1


def _of_splits(parts: Iterable[Part]) -> str:
    found = {part.split for part in parts}
    return " and ".join(split for split in SPLITS if split in found)
