"""Content-addressed results on file:, s3: and gs: addresses.

A result lives under `<kind>/<fingerprint>/`: one safetensors file named by its own digest, then
`record.json`, which names that file. No record, no result. Whoever races and whatever is killed:

- A file appears whole or not at all, and a record after its data. Records are never replaced, but
  for what is no result yet: of writers that race, the one whose record arrives first is the result,
  and all get its record.
- A loser removes its own data, unless its bytes, and so its file, are the winner's. No writer needs
  that file: against the record that stands they all lose.
- A writer that dies, or meets a full disk, leaves at most data that no record names: harmless, and
  there for `python -m jobs.store gc`.
- Only `delete` takes a record away, before its data. Beside writers of that same result the worst
  it can lead to is a record without data, which every reader refuses.

Others may have put files and links into a store's folder. What lies behind a link is read like all
else, and never deleted.
"""

import hashlib
import os
import re
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import obstore
import obstore.store
from obstore.exceptions import AlreadyExistsError, BaseError, GenericError
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from jobs.store import address
from jobs.store.content import Arrays, inside
from jobs.store.record import (
    DamagedError,
    DataFile,
    Record,
    VersionError,
    damaged,
    read,
    versions,
    write,
)
from qdllm.errors import ConfigError, StoreError
from qdllm.spec import SCHEMA

RECORD, DATA = "record.json", ".safetensors"
"""A record's name, and how the names of data end."""
OURS = (".json", DATA)
"""How the names of all files end that a store writes itself."""
RESULT = re.compile(r"(record\.json|[0-9a-f]{16}\.safetensors)(#\d+)?")
"""The names of a result's files: its record, its data, and both while they are written."""
DEPTH = 2
"""Folders that lie in each other for a result: its kind, its fingerprint."""
RACES = 20
"""How often a folder is made again."""
NO_FOLDER = re.compile("Unable to create dir .*No such file", re.DOTALL)
UNFINISHED = re.compile(r"#\d+$")
"""How obstore's name for a file ends until it is whole. It hides such files, and deletes none."""


class File(NamedTuple):
    """A file in the store: its path there, its size, and when it was written, in Unix time."""

    path: str
    bytes: int
    modified: float
    linked: bool = False
    """Whether it lies behind a link, or is one: then it may belong to others."""


class Store:
    """Results at one address. Cheap to create; holds no state but the address."""

    def __init__(self, uri: str) -> None:
        """`uri`: a folder, file:///folder, s3://bucket/prefix or gs://bucket/prefix.

        Keys, region and endpoint of s3: and gs: come from the usual environment variables, and
        nothing is asked of their servers here. Raises ConfigError for any other scheme, a folder
        that cannot be made, and for settings that cannot be used.
        """
        self._folder = address.folder(uri)
        self.uri = self._folder.as_uri() if self._folder else uri.rstrip("/")
        try:
            above = [self._folder, *self._folder.parents] if self._folder else []
            self._made = [folder for folder in above if not folder.exists()]
            self._backend: Any = (
                obstore.store.LocalStore(self._folder, mkdir=True, automatic_cleanup=True)
                if self._folder
                else obstore.store.from_url(self.uri, **address.options(self.uri))
            )
        except (BaseError, OSError, ValueError) as error:
            what = f"make the store's folder {self._folder}" if self._folder else f"use {self.uri}"
            raise ConfigError(f"cannot {what}: {address.reason(error)}") from None

    def tidy(self) -> None:
        """Take away the folders that were made for this store, as far as nothing is in them."""
        with suppress(OSError):
            for folder in self._made:
                folder.rmdir()

    def fingerprints(self, kind: str) -> frozenset[str]:
        """Fingerprints of all results of a kind that have a record."""
        paths = [file.path.split("/") for file in self._listed(kind)]
        return frozenset(path[-2] for path in paths if path[-1] == RECORD)

    def files(self, under: str = "") -> list[File]:
        """Every file in the store, whoever wrote it, and on a disk what killed writers left.

        `under`: a folder, for those in it alone.
        """
        return self._listed(under)

    def _listed(self, prefix: str = "") -> list[File]:
        with self._told(f"list {self.uri}"):
            if self._folder:
                return list(_files(self._folder, tuple(filter(None, prefix.split("/")))))
            listing = obstore.list(self._backend, prefix=prefix or None).collect()
        # Earlier versions had Ray's file system mark folders by empty files, named as these are.
        return [
            File(str(entry["path"]), entry["size"], entry["last_modified"].timestamp())
            for entry in listing
            if entry["size"] or str(entry["path"]).endswith(OURS)
        ]

    def delete(self, files: Iterable[File]) -> None:
        """Delete files, records before the data that they name; nothing that lies behind a link.

        Raises StoreError if one may not be deleted, or is gone already where the store can tell.
        """
        paths = {file.path for file in files if not file.linked}
        records = {path for path in paths if path.endswith(f"/{RECORD}")}
        unfinished = {path for path in paths if self._folder and UNFINISHED.search(path)}
        with self._told(f"delete in {self.uri}"):
            for batch in filter(None, (records, paths - records - unfinished)):
                obstore.delete(self._backend, sorted(batch))
            for path in unfinished:
                assert self._folder, "a bucket shows no unfinished files"
                (self._folder / path).unlink()

    def has(self, kind: str, fingerprint: str) -> bool:
        """Whether there is such a result. Raises StoreError if its record is damaged."""
        return self.record(kind, fingerprint) is not None

    def record(self, kind: str, fingerprint: str) -> Record | None:
        """The record of a result, or None where there is none.

        Raises DamagedError if it cannot be read, VersionError if another version wrote it.
        """
        text = self._read(f"{kind}/{fingerprint}/{RECORD}")
        return None if text is None else inside(read(text, self.uri, kind, fingerprint), self.uri)

    def load(self, kind: str, fingerprint: str) -> tuple[Record, dict[str, np.ndarray]]:
        """A result's record and tensors, checked against the recorded size and digest.

        Raises StoreError if there is no such result, DamagedError if what is stored is not what was
        written, VersionError if another version wrote it.
        """
        record = self.record(kind, fingerprint)
        if record is None:
            raise StoreError(f"there is no {kind}/{fingerprint} in {self.uri}")
        data = self._read(_data_path(record))
        if data is None:
            raise damaged(self.uri, kind, fingerprint, "its data file is missing")
        if len(data) != record.data.bytes:
            raise damaged(
                self.uri,
                kind,
                fingerprint,
                f"its data file has {len(data)} bytes, the record says {record.data.bytes}",
            )
        if hashlib.sha256(data).hexdigest() != record.data.sha256:
            raise damaged(self.uri, kind, fingerprint, "its data file does not match its digest")
        try:
            return record, Arrays(load_tensors(data), record, self.uri)
        except (SafetensorError, KeyError) as error:  # KeyError: a type that NumPy does not have
            raise damaged(
                self.uri, kind, fingerprint, f"its data is unreadable ({error})"
            ) from None

    def publish(
        self,
        kind: str,
        fingerprint: str,
        *,
        tensors: Mapping[str, np.ndarray],
        spec: dict[str, Any],
        made_from: Mapping[str, str],
        summary: Mapping[str, Any],
        seconds: float,
    ) -> Record:
        """Write a result, data first and record last, and return the record that stands.

        Where another writer was faster, its record is returned and ours leaves no trace.
        Raises StoreError if the store refuses the write; what was there stays as it was.
        """
        record, data = _made(kind, fingerprint, tensors, spec, made_from, summary, seconds)
        try:
            self._write(record, data, "create")
        except AlreadyExistsError:
            return self._winner(record)
        return record

    def replace(self, kind: str, fingerprint: str, **parts: Any) -> Record:
        """Write what is no result yet over what stands there, whose data goes last.

        `parts`: as `publish` takes them. Raises StoreError if the store refuses the write; what was
        there stands then.
        """
        try:
            before = self.record(kind, fingerprint)
        except (DamagedError, VersionError):
            before = None
        record, data = _made(kind, fingerprint, **parts)
        self._write(record, data, "overwrite")
        if before and before.data.name != record.data.name:
            with suppress(BaseError, OSError):
                obstore.delete(self._backend, _data_path(before))
        return record

    def _write(self, record: Record, data: bytes, mode: Literal["create", "overwrite"]) -> None:
        path = f"{record.kind}/{record.fingerprint}"
        with self._told(f"write {self.uri}/{path}"):
            self._send(_data_path(record), data, "overwrite")
            self._send(f"{path}/{RECORD}", write(record), mode)

    def _send(self, path: str, data: bytes, mode: Literal["create", "overwrite"]) -> None:
        """Write a file, and its folder again if another that clears up deletes it as empty."""
        for left in range(RACES, -1, -1):
            try:
                obstore.put(self._backend, path, data, mode=mode)
            except GenericError as error:
                if not left or NO_FOLDER.search(str(error)) is None:
                    raise
            else:
                return

    def clear(self, prefix: str) -> None:
        """Delete what lies under a path, such as a teacher's checkpoint.

        In a bucket, the empty markers of folders stay that earlier versions had Ray leave: obstore
        has no name for them.
        """
        self.delete(self._listed(prefix))

    def discard(self, path: str) -> None:
        """Delete what `put` wrote, if it is still there."""
        with self._told(f"delete in {self.uri}"), suppress(FileNotFoundError):
            obstore.delete(self._backend, path)

    def get(self, path: str) -> str | None:
        """A small text that is no result, such as a lock; None where there is none."""
        data = self._read(path)
        return None if data is None else data.decode(errors="replace")

    def written(self, path: str) -> float | None:
        """When such a text was last written, in Unix time; None where there is none."""
        with self._told(f"read {self.uri}/{path}"), suppress(FileNotFoundError):
            modified: float = obstore.head(self._backend, path)["last_modified"].timestamp()
            return modified
        return None

    def put(self, path: str, text: str, only_if_absent: bool = False) -> bool:
        """Write such a text. Returns False where one stands there that shall be left alone."""
        mode: Literal["create", "overwrite"] = "create" if only_if_absent else "overwrite"
        try:
            with self._told(f"write {self.uri}/{path}"):
                self._send(path, text.encode(), mode)
        except AlreadyExistsError:
            return False
        return True

    def _winner(self, loser: Record) -> Record:
        """The record that stands, after removing the loser's data if it is not that record's."""
        winner = self.record(loser.kind, loser.fingerprint)
        if winner is None:
            raise StoreError(
                f"{self.uri}/{loser.kind}/{loser.fingerprint} was deleted while it was written; "
                "run the same command again"
            )
        if winner.data.name != loser.data.name:
            # What cannot be removed does no harm, and another loser with the same bytes may have
            # been faster.
            with suppress(BaseError, OSError):
                obstore.delete(self._backend, _data_path(loser))
        return winner

    def _read(self, path: str) -> bytes | None:
        """A whole file, or None where there is none."""
        if self._folder and _waits(self._folder / path):
            return None
        with self._told(f"read {self.uri}/{path}"):
            try:
                return bytes(obstore.get(self._backend, path).bytes())
            except FileNotFoundError as error:
                # Without its bucket a store is not empty, but absent.
                if "NoSuchBucket" in str(error):
                    raise
        return None

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """What a disk or a server says in refusal, as a StoreError; a name that is none, too."""
        try:
            yield
        except AlreadyExistsError:
            raise
        except (BaseError, OSError, ValueError) as error:
            raise StoreError(f"cannot {what}: {address.reason(error)}") from None


def _waits(path: Path) -> bool:
    """Whether what is there is no file, but a pipe or a device, which may never end."""
    with suppress(OSError, ValueError):
        mode = path.stat().st_mode
        return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))
    return False


def _files(root: Path, inside: tuple[str, ...]) -> Iterator[File]:
    """The files below a folder of `root`, which may be missing."""
    above = [root.joinpath(*inside[:depth]) for depth in range(1, len(inside) + 1)]
    return _below(root.joinpath(*inside), inside, any(folder.is_symlink() for folder in above))


def _below(folder: Path, inside: tuple[str, ...], linked: bool) -> Iterator[File]:
    """Its files and those of its folders: no pipes or devices, and no names that are not text.

    Links are followed where results can be, for kinds and fingerprints alone: none of them loops.
    """
    # A writer at work may be done with a file or a folder by now.
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        for entry in entries:
            link, path = linked or entry.is_symlink(), (*inside, entry.name)
            # A link that leads nowhere, or to itself, can be neither.
            with suppress(OSError if link else FileNotFoundError, UnicodeEncodeError):
                entry.name.encode()
                if entry.is_dir():
                    if not link or len(inside) < DEPTH:
                        yield from _below(Path(entry.path), path, link)
                elif entry.is_file():
                    status = entry.stat()
                    yield File("/".join(path), status.st_size, status.st_mtime, link)


def _made(
    kind: str,
    fingerprint: str,
    tensors: Mapping[str, np.ndarray],
    spec: dict[str, Any],
    made_from: Mapping[str, str],
    summary: Mapping[str, Any],
    seconds: float,
) -> tuple[Record, bytes]:
    """A record, and the data that it names."""
    # Not ascontiguousarray, which gives a number without axes one.
    data = save_tensors({name: np.asarray(array, order="C") for name, array in tensors.items()})
    digest = hashlib.sha256(data).hexdigest()
    record = Record(
        schema_version=SCHEMA,
        kind=kind,
        fingerprint=fingerprint,
        spec=spec,
        made_from=dict(made_from),
        summary=dict(summary),
        data=DataFile(name=f"{digest[:16]}{DATA}", sha256=digest, bytes=len(data)),
        created=time.time(),
        seconds=seconds,
        versions=versions(),
    )
    return record, data


def _data_path(record: Record) -> str:
    return f"{record.kind}/{record.fingerprint}/{record.data.name}"
