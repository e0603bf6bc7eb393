"""How a folder of texts is laid out: all of it is looked at, and one reading must remain.

Each layout is a recogniser in LAYOUTS: it gets what a folder holds and says which files are read
and how, or None. Where two fit, or none, the folder is refused.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from pathlib import Path

from qdllm.errors import ConfigError
from qdllm.messages import some
from qdllm.specs import TaskSpec
from qdllm.texts import files, labels
from qdllm.texts.formats.marked import marked
from qdllm.texts.splits import SPLITS, splits_in
from qdllm.visible import visible

FEWEST = 5
"""Texts that a class needs at least."""
UNLABELLED = frozenset(("unsup", "unsupervised", "unlabeled", "unlabelled"))
"""Folders and files of texts that nobody has labelled."""
_ASIDE = re.compile(
    r"(readme|urls?|labels)([ _.-].*)?"
    r"|licen[cs]e|copying|classes|class_names|label|label_names|categories|vocab|vocabulary|_success"
)
"""Names of files that tell of a data set, and hold no texts of it."""
_ASIDE_TABLES = re.compile(r"metadata|dataset_infos?|dataset_dict|state|config|sample_submission")
"""The same of files that would be tables by their suffixes."""
_HIDDEN = (".", "~$", "__MACOSX", "Thumbs.db", "desktop.ini")


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


class Folder:
    """What a folder holds, as far as it can be seen."""

    def __init__(self, path: Path, task: TaskSpec) -> None:
        """Raises OSError for a folder that cannot be read, ConfigError for one named as a file."""
        self.path, self.task = path, task
        entries = sorted(one for one in path.iterdir() if not one.name.startswith(_HIDDEN))
        self.folders = [one for one in entries if one.is_dir()]
        self.files = [one for one in entries if one.is_file() and not _is_aside(one)]
        read = {*self.folders, *self.files}
        self.aside = [one for one in entries if one not in read]
        """What tells of the texts, or is no file at all."""
        for folder in self.folders:
            if files.named(folder).suffix == ".txt":
                raise ConfigError(f"cannot read {visible(folder)}: it is a folder, not a file")

    def of(self, *suffixes: str) -> list[Path]:
        """Its files with one of these suffixes."""
        return [file for file in self.files if files.named(file).suffix in suffixes]

    @cached_property
    def tables(self) -> list[Path]:
        """Its files that are tables by their names."""
        return [file for file in self.of(*files.TABLES) if not _unlabelled(file)]

    @cached_property
    def lines(self) -> list[Path]:
        """Its files of lines, or of single texts."""
        return [file for file in self.of(*files.LINES) if not _unlabelled(file)]

    @cached_property
    def class_files(self) -> list[Path]:
        """Its files whose names can be those of classes, if there are enough of them."""
        found = [file for file in self.lines if files.named(file).suffix == ".txt"]
        splits = [file for file in found if _is_split(files.named(file).stem)]
        if len(splits) == len(found) or len(found) < 2:
            return []
        if all(marked(file, self.task) for file in found):
            return []
        if all(_tabbed(file, self.task) for file in found):
            raise ConfigError(
                f"{visible(self.path)} holds {_names(found)}: each line of each has a tab, so they "
                "may be tables, or files for classes; point --data to one of them to read it as a "
                "table, or take the tabs out"
            )
        if splits:
            raise ConfigError(
                f"{visible(self.path)} holds {_names(splits)}, named like a split, beside files "
                f"named like classes ({_names(file for file in found if file not in splits)}); "
                "rename or remove those that are no classes"
            )
        return found

    @cached_property
    def texts(self) -> list[Path]:
        """Its files that may each hold one text: `pos/12_7.txt`, `comp.graphics/1015`."""
        suffixes = {one: files.named(one).suffix for one in self.files}
        return [
            one
            for one, suffix in suffixes.items()
            if suffix in (*files.LINES, ".text", ".eml") or not suffix[1:].isalpha()
        ]


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
    names = dict.fromkeys([*layout.left_out, *left])
    return replace(layout, left_out=tuple(names))


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
            f"{visible(folder.path)} holds two files for one class: {_names(folder.class_files)}; "
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
        said = [word for word in words if _is_split(word)]
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
            f"{visible(folder.path)} holds {_names(by_split.pop(''))} beside "
            f"{_names(chain(*by_split.values()))}, which are named like splits; name all of them "
            "so (train, validation, test), or point --data to the one that is meant"
        )
    for split, found in by_split.items():
        if not _shards(found):
            of = f" for {split}" if split else ""
            raise ConfigError(
                f"{visible(folder.path)} holds several tables{of}: {_names(found)}. Point --data "
                "to one of them; parts of one table are told by names that differ in numbers alone"
            )
    parts = [Part(file, split) for split in SPLITS for file in by_split.get(split, ())]
    parts = parts or [Part(file) for file in by_split[""]]
    if len(by_split) == 1:
        parts = [replace(part, split="") for part in parts]
    elif "train" not in by_split:
        raise ConfigError(
            f"{visible(folder.path)} holds {_names(tables)}, but no table to train on; add one "
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
    classes = _flat(folder)
    if len(classes) < 2:
        return None
    if all(_is_split(files.named(file).stem) for found in classes.values() for file in found):
        parts = [
            Part(file, splits_in(files.named(file).stem)[0], label)
            for label, found in classes.items()
            for file in found
        ]
        told = f"class folders: {len(classes)} classes, one text on each line of "
        return Layout(f"{told}{_of_splits(parts)}", tuple(parts))
    if any(_is_split(label) for label in classes):
        return None
    if all(len(found) < FEWEST for found in classes.values()):
        return None
    parts = [
        Part(file, label=label, whole=True) for label, found in classes.items() for file in found
    ]
    told = f"20 Newsgroups layout: {len(classes)} classes, a file for each text"
    return Layout(told, tuple(parts))


def _flat(folder: Folder) -> Mapping[str, list[Path]]:
    """The texts of each folder, if all of them hold such and nothing deeper, by its name."""
    found = {}
    for one in folder.folders:
        if one.name.lower() in UNLABELLED:
            continue
        inner = Folder(one, folder.task)
        if inner.folders or inner.tables or not inner.texts:
            return {}
        found[labels.plain(one.name)] = inner.texts
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
                f"{visible(folder.path)} holds several folders for {split}: {_names(found)}; point "
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


def _is_aside(file: Path) -> bool:
    name = files.named(file)
    found = _ASIDE.fullmatch(name.stem.lower())
    return bool(
        found or (name.suffix in files.TABLES and _ASIDE_TABLES.fullmatch(name.stem.lower()))
    )


def _is_split(name: str) -> bool:
    """Whether a name is a word for a split, with no more than numbers beside it."""
    return bool(splits_in(name)) and len(re.findall(r"[^\W\d_]+", name)) == 1


def _unlabelled(file: Path) -> bool:
    words = re.findall(r"[^\W\d_]+", files.named(file).stem.lower())
    return not UNLABELLED.isdisjoint(words)


def _tabbed(file: Path, task: TaskSpec) -> bool:
    """Whether each line of a file has as many tabs as the others, and at least one."""
    lines = files.lines(file, task.encoding, "\n")
    counts = (line.count("\t") for line in lines if not line.isspace())
    first = next(counts, 0)
    return first > 0 and all(count == first for count in counts)


def _shards(found: Sequence[Path]) -> bool:
    """Whether files are parts of one table: their names differ in numbers alone."""
    return len({re.sub(r"\d+", "0", file.name) for file in found}) == 1


def _of_splits(parts: Iterable[Part]) -> str:
    found = {part.split for part in parts}
    return " and ".join(split for split in SPLITS if split in found)


def _names(paths: Iterable[Path]) -> str:
    return some(path.name for path in paths)
