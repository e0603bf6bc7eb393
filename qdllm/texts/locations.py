"""What a task's data may be instead of a path, and what may name its results."""

import re
import unicodedata

from qdllm import outside

PUBLISHED = "published"
HUB = "hf://"
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


def is_address(data: str) -> bool:
    """Whether a text is an address of some kind, `s3://bucket/a.csv` say, and no path of here."""
    return bool(_ADDRESS.match(data))


def is_download(data: str | None) -> bool:
    """Whether a task's texts come over the network."""
    return data == PUBLISHED or (data or "").startswith(HUB)


def absolute(data: str) -> str:
    """What a task's data means wherever it is read: an absolute path, or an address as it is."""
    if data == PUBLISHED or is_address(data):
        return data
    return str(outside.path(data))


def usable(name: str) -> bool:
    """Whether a name can name results: letters of any script, digits, spaces and `._-`."""
    return bool(name) and all(
        letter.isalnum() or letter in " ._-" or unicodedata.category(letter).startswith("M")
        for letter in name
    )
