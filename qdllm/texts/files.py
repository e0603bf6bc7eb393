"""Files of texts: what their names say, and their bytes as lines of text.

A file may be compressed (`.gz`, `.zst`). UTF-8 is read, and UTF-16 and UTF-32 where the file shows
that it is of those; another encoding is a setting, which an error offers by name.
"""

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from qdllm.errors import ConfigError
from qdllm.visible import visible

COMPRESSED = (".gz", ".zst")
TABLES = (".csv", ".tsv", ".jsonl", ".parquet", ".json", ".ndjson", ".arrow", ".feather")
LINES = (".txt", ".label", "")
"""Suffixes of files that hold lines of text."""
OTHERS = {
    **dict.fromkeys((".xls", ".xlsx", ".ods", ".numbers"), "save it as CSV"),
    **dict.fromkeys((".zip", ".tar", ".tgz", ".bz2", ".xz", ".7z", ".rar"), "unpack it"),
}
"""What to do about files of other kinds."""
MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""What begins a file of each encoding; the longer marks first, for one begins like another."""
LIKELY = (
    "cp1252",
    "cp1250",
    "cp1254",
    "cp1251",
    "cp1253",
    "cp1255",
    "cp1256",
    "koi8_r",
    "shift_jis",
    "gb18030",
    "big5",
    "euc_kr",
)
"""Encodings that an error may offer; first the Western one, and two that differ from it little."""
CONTENTS = {
    b"\x1f\x8b": "packed by gzip; let its name end in .gz",
    b"\x28\xb5\x2f\xfd": "packed by zstd; let its name end in .zst",
    b"BZh91AY&SY": "packed by bzip2; unpack it",
    b"\xfd7zXZ": "packed by xz; unpack it",
    b"PK\x03\x04": "a ZIP archive, as workbooks are; unpack it, or save it as CSV",
    b"\xd0\xcf\x11\xe0": "a document of an older office program; save it as CSV",
    b"PAR1\x15": "a Parquet file; let its name end in .parquet",
    b"ARROW1\0": "an Arrow file; let its name end in .arrow",
    b"SQLite format 3\0": "a database of SQLite's; export a table of it as CSV",
    b"%PDF-1.": "a PDF; save its text",
    b"\x89PNG": "a picture",
}
"""What a file that is no text may be, by how it begins, and what to do about it."""
HEAD = 1 << 12
"""Bytes at the beginning of a file that tell UTF-16 without a mark."""
FOREIGN = 1 << 16
"""Bytes of words that are not ASCII by which an encoding is recognised."""


class Named(NamedTuple):
    """A file's name without its suffixes, and what its suffix says it holds."""

    stem: str
    suffix: str


def named(path: Path) -> Named:
    """What a file's name says: `a.csv.gz` is `a`, of suffix `.csv`."""
    plain = path.with_suffix("") if path.suffix.lower() in COMPRESSED else path
    return Named(plain.stem, plain.suffix.lower())


def lines(path: Path, encoding: str | None, newline: str) -> Iterator[str]:
    """A file's lines with their ends, as `newline` of io.TextIOWrapper has them end.

    Raises ConfigError for a byte that the encoding does not have, naming its line, and OSError for
    a file that cannot be opened.
    """
    with opened(path) as stream:
        head = stream.peek(HEAD)[:HEAD]
        for begin, what in CONTENTS.items():
            if head.startswith(begin):
                raise ConfigError(f"{visible(path)} is no text: it is {what}")
        found = encoding_of(head, encoding)
        try:
            with io.TextIOWrapper(stream, found, newline=newline) as decoded:
                yield from decoded
        except UnicodeError as error:
            undecodable = error
        else:
            return
    raise ConfigError(_undecodable(path, found, undecodable)) from None


def text(path: Path, encoding: str | None) -> str:
    """All of a file's text; see `lines`."""
    return "".join(lines(path, encoding, ""))


@contextmanager
def opened(path: Path) -> Iterator[io.BufferedReader]:
    """A file's bytes, unpacked. Raises ConfigError where they cannot be, OSError for no file."""
    suffix = path.suffix.lower()
    with path.open("rb") as packed:
        unpacked: Any = packed
        if suffix == ".gz":
            unpacked = gzip.GzipFile(fileobj=packed)
        elif suffix == ".zst":
            import pyarrow  # 0.5 s that other files spare

            unpacked = pyarrow.CompressedInputStream(packed, "zstd")
        try:
            yield packed if unpacked is packed else io.BufferedReader(unpacked)
        except (EOFError, OSError, zlib.error) as error:
            if suffix not in COMPRESSED or getattr(error, "filename", None):
                raise
            raise ConfigError(
                f"{visible(path)} cannot be unpacked: it is no whole {suffix} file"
            ) from None


def encoding_of(head: bytes, encoding: str | None) -> str:
    """The encoding of a file that begins so. `encoding`: the one for files without a mark."""
    for mark, name in MARKS.items():
        if head.startswith(mark):
            return name
    if encoding is None and len(head) > 1:
        # In UTF-16, half of the bytes of Latin letters are zero.
        for name, zeros in (("utf-16-le", head[1::2]), ("utf-16-be", head[::2])):
            if zeros.count(0) > 0.4 * len(zeros) and head.count(0) < 0.6 * len(head):
                return name
    return encoding or "utf-8"


def _undecodable(path: Path, encoding: str, error: UnicodeError) -> str:
    name = "UTF-8" if encoding.startswith("utf-8") else encoding
    if "16" in encoding or "32" in encoding or not isinstance(error, UnicodeDecodeError):
        return f"{visible(path)} is not {name} to its end: {error.args[-1]}"
    first, foreign, decodable = None, bytearray(), False
    with opened(path) as stream:
        for number, line in enumerate(stream, 1):
            for word in line[:FOREIGN].split():
                foreign += b"" if word.isascii() else word + b" "
            try:
                line.decode(encoding)
                decodable = decodable or not line.isascii()
            except UnicodeDecodeError as found:
                first = first or (number, line[found.start])
            if len(foreign) > FOREIGN and first:
                break
    if first is None:  # such as an escape that is not taken back at a line's end
        return f"{visible(path)} is not {name} to its end: {error.reason}"
    told = f"{visible(path)}, line {first[0]}: byte 0x{first[1]:02x} is not {name}"
    if decodable and name == "UTF-8":
        return f"{told}, though the lines before it are; mend that line, or save the file as UTF-8"
    likely = _likely(bytes(foreign), encoding)
    if likely:
        return f"{told}; it looks like {likely}: --set task.encoding={likely}"
    return f"{told}. Save the file as UTF-8, or name its encoding with --set task.encoding=…"


def _likely(foreign: bytes, encoding: str) -> str | None:
    """The encoding that such bytes look like; of Western and others alike, the Western one."""
    from charset_normalizer import from_bytes

    found = from_bytes(foreign, cp_isolation=[name for name in LIKELY if name != encoding])
    best = found.best()
    if best is None:
        return None
    western, *akin = LIKELY[:3]
    # A pound sign or an é alone is one letter or another in each of them.
    few = len({byte for byte in foreign if byte >= 128}) < 3
    equal = any(one.encoding == western and one.coherence >= best.coherence for one in found)
    if few or (best.encoding in akin and (equal or western in best.could_be_from_charset)):
        return western
    return best.encoding
