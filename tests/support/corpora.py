"""Small labelled texts, and the files in which people keep such."""

from collections.abc import Iterator
from pathlib import Path

WORDS = {
    "money": "the bank raised its rates for the {} time this year",
    "sport": "the keeper saved penalty number {} in the rain",
    "tech": "version {} of the browser draws pages faster",
}


def pairs(each: int = 10, said: str = "") -> list[tuple[str, str]]:
    """Texts with their labels, mixed, `each` of every class, all of them ending in `said`."""
    return [
        (f"{text.format(number)}{said}", label)
        for number in range(each)
        for label, text in WORDS.items()
    ]


def write(path: Path, content: str | bytes) -> Path:
    """A file in folders that are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def separated(mark: str, rows: list[tuple[str, ...]], header: str = "text,label") -> str:
    """Lines of fields, after a header unless it is empty."""
    head = [header.replace(",", mark)] if header else []
    return "".join(f"{line}\n" for line in [*head, *map(mark.join, rows)])


def class_folders(folder: Path, each: int = 10, said: str = "") -> Path:
    """A folder for each class with a file for each text."""
    for number, (text, label) in enumerate(pairs(each, said)):
        write(folder / label / f"{number}_7.txt", text)
    return folder


def of_class(found: list[tuple[str, str]]) -> Iterator[tuple[str, list[str]]]:
    """Each class with its texts."""
    for label in WORDS:
        yield label, [text for text, its in found if its == label]
