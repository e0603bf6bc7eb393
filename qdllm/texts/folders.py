"""What a folder holds: tables, files for classes, single texts; and what is none of them."""

import re
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

from qdllm.errors import ConfigError
from qdllm.messages import some
from qdllm.specs import TaskSpec
from qdllm.texts import files
from qdllm.texts.formats.marked import marked
from qdllm.texts.splits import splits_in
from qdllm.visible import visible

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
        splits = [file for file in found if is_split(files.named(file).stem)]
        if len(splits) == len(found) or len(found) < 2:
            return []
        if all(marked(file, self.task) for file in found):
            return []
        if all(_tabbed(file, self.task) for file in found):
            raise ConfigError(
                f"{visible(self.path)} holds {names(found)}: each line of each has a tab, so they "
                "may be tables, or files for classes; point --data to one of them to read it as a "
                "table, or take the tabs out"
            )
        if splits:
            raise ConfigError(
                f"{visible(self.path)} holds {names(splits)}, named like a split, beside files "
                f"named like classes ({names(file for file in found if file not in splits)}); "
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


def is_split(name: str) -> bool:
    """Whether a name is a word for a split, with no more than numbers beside it."""
    return bool(splits_in(name)) and len(re.findall(r"[^\W\d_]+", name)) == 1


def names(paths: Iterable[Path]) -> str:
    """The names of files, for a message."""
    return some(path.name for path in paths)


def _is_aside(file: Path) -> bool:
    name = files.named(file)
    found = _ASIDE.fullmatch(name.stem.lower())
    return bool(
        found or (name.suffix in files.TABLES and _ASIDE_TABLES.fullmatch(name.stem.lower()))
    )


def _unlabelled(file: Path) -> bool:
    words = re.findall(r"[^\W\d_]+", files.named(file).stem.lower())
    return not UNLABELLED.isdisjoint(words)


def _tabbed(file: Path, task: TaskSpec) -> bool:
    """Whether each line of a file has as many tabs as the others, and at least one."""
    lines = files.lines(file, task.encoding, "\n")
    counts = (line.count("\t") for line in lines if not line.isspace())
    first = next(counts, 0)
    return first > 0 and all(count == first for count in counts)
