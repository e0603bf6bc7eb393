"""Content-addressed results on file:, s3: and gs: addresses.

A result lives under `<kind>/<fingerprint>/`: one safetensors file named by its own digest, then
`record.json`, which names that file. No record, no result: a reader that sees a record sees whole
data, and of two writers that race, the one whose record arrives first is the result.
"""

import hashlib
import os
import platform
import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import obstore
import obstore.store
from obstore.exceptions import AlreadyExistsError, BaseError
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from qdllm.errors import ConfigError, StoreError
from qdllm.specs import SCHEMA

SCHEMES = ("file", "s3", "gs")
LIBRARIES = ("deepspeed", "numba", "numpy", "peft", "qdllm-sweeps", "ray", "torch", "transformers")


class DataFile(BaseModel):
    """The data file of a result, as its record names it."""

    model_config = ConfigDict(frozen=True)

    name: str
    sha256: str
    bytes: int


class Record(BaseModel):
    """What a result is: its spec, what it was made from, and a summary small enough to list."""

    model_config = ConfigDict(frozen=True)

    schema_version: int
    kind: str
    fingerprint: str
    spec: dict[str, Any]
    made_from: dict[str, str]
    summary: dict[str, Any]
    data: DataFile
    created: float
    """Unix time in seconds."""
    seconds: float
    """How long the result took to compute."""
    versions: dict[str, str]


class Store:
    """Results at one address. Cheap to create; holds no state but the address."""

    def __init__(self, uri: str) -> None:
        """`uri`: a folder, file:///folder, s3://bucket/prefix or gs://bucket/prefix.

        Credentials and endpoints of s3: and gs: come from the usual environment variables.
        Raises ConfigError for any other scheme, and for a folder that cannot be made.
        """
        scheme, colon, _ = uri.partition("://")
        if colon and scheme not in SCHEMES:
            raise ConfigError(
                f"unknown store address {uri!r}: give a folder, or an address that starts with "
                + ", ".join(f"{known}://" for known in SCHEMES)
            )
        if colon and scheme != "file":
            self.uri = uri
            self._backend: Any = obstore.store.from_url(uri)
            return
        folder = Path(unquote(uri[7:]) if colon else uri).expanduser().absolute()
        self.uri = folder.as_uri()
        try:
            self._backend = obstore.store.LocalStore(folder, mkdir=True, automatic_cleanup=True)
        except (BaseError, OSError) as error:
            raise ConfigError(
                f"cannot make the store's folder {folder}: {_reason(error)}"
            ) from None

    def fingerprints(self, kind: str) -> frozenset[str]:
        """Fingerprints of all results of a kind that have a record."""
        try:
            listing = obstore.list(self._backend, prefix=kind).collect()
        except BaseError as error:
            raise StoreError(f"cannot list {self.uri}/{kind}: {_reason(error)}") from None
        paths = [str(entry["path"]).split("/") for entry in listing]
        return frozenset(path[-2] for path in paths if path[-1] == "record.json")

    def has(self, kind: str, fingerprint: str) -> bool:
        """Whether there is such a result. Raises StoreError if its record is damaged."""
        return self.record(kind, fingerprint) is not None

    def record(self, kind: str, fingerprint: str) -> Record | None:
        """The record of a result, or None where there is none. Raises StoreError if damaged."""
        path = f"{kind}/{fingerprint}/record.json"
        try:
            text = bytes(obstore.get(self._backend, path).bytes())
        except FileNotFoundError:
            return None
        except BaseError as error:
            raise StoreError(f"cannot read {self.uri}/{path}: {_reason(error)}") from None
        try:
            record = Record.model_validate_json(text)
        except ValidationError as error:
            raise self._damaged(kind, fingerprint, f"its record is unreadable ({error})") from None
        if record.schema_version != SCHEMA:
            raise self._damaged(
                kind, fingerprint, f"it has schema {record.schema_version}, this program {SCHEMA}"
            )
        if (record.kind, record.fingerprint) != (kind, fingerprint):
            raise self._damaged(
                kind, fingerprint, f"its record speaks of {record.kind}/{record.fingerprint}"
            )
        return record

    def load(self, kind: str, fingerprint: str) -> tuple[Record, dict[str, np.ndarray]]:
        """A result's record and tensors, checked against the recorded size and digest.

        Raises StoreError if there is no such result, or if what is stored is not what was written.
        """
        record = self.record(kind, fingerprint)
        if record is None:
            raise StoreError(f"there is no {kind}/{fingerprint} in {self.uri}")
        try:
            data = bytes(obstore.get(self._backend, self._data_path(record)).bytes())
        except FileNotFoundError:
            raise self._damaged(kind, fingerprint, "its data file is missing") from None
        except BaseError as error:
            raise StoreError(
                f"cannot read {self.uri}/{self._data_path(record)}: {_reason(error)}"
            ) from None
        if len(data) != record.data.bytes:
            raise self._damaged(
                kind,
                fingerprint,
                f"its data file has {len(data)} bytes, the record says {record.data.bytes}",
            )
        if hashlib.sha256(data).hexdigest() != record.data.sha256:
            raise self._damaged(kind, fingerprint, "its data file does not match its digest")
        try:
            return record, load_tensors(data)
        except SafetensorError as error:
            raise self._damaged(kind, fingerprint, f"its data is unreadable ({error})") from None

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
        data = save_tensors({name: np.ascontiguousarray(array) for name, array in tensors.items()})
        digest = hashlib.sha256(data).hexdigest()
        record = Record(
            schema_version=SCHEMA,
            kind=kind,
            fingerprint=fingerprint,
            spec=spec,
            made_from=dict(made_from),
            summary=dict(summary),
            data=DataFile(name=f"{digest[:16]}.safetensors", sha256=digest, bytes=len(data)),
            created=time.time(),
            seconds=seconds,
            versions=_versions(),
        )
        folder = f"{kind}/{fingerprint}"
        try:
            obstore.put(self._backend, self._data_path(record), data)
            obstore.put(
                self._backend,
                f"{folder}/record.json",
                record.model_dump_json(indent=1).encode(),
                mode="create",
            )
        except AlreadyExistsError:
            winner = self.record(kind, fingerprint)
            assert winner is not None, "records are never deleted while a sweep runs"
            if winner.data.name != record.data.name:
                obstore.delete(self._backend, self._data_path(record))
            return winner
        except (BaseError, OSError) as error:
            raise StoreError(f"cannot write {self.uri}/{folder}: {_reason(error)}") from None
        return record

    def clear(self, prefix: str) -> None:
        """Delete everything under a path that is no result's, such as a teacher's checkpoints."""
        try:
            for batch in obstore.list(self._backend, prefix=prefix):
                obstore.delete(self._backend, [entry["path"] for entry in batch])
        except BaseError as error:
            raise StoreError(f"cannot clear {self.uri}/{prefix}: {_reason(error)}") from None

    def _data_path(self, record: Record) -> str:
        return f"{record.kind}/{record.fingerprint}/{record.data.name}"

    def _damaged(self, kind: str, fingerprint: str, what: str) -> StoreError:
        return StoreError(
            f"{self.uri}/{kind}/{fingerprint} is damaged: {what}. "
            "Delete that folder and run the same command again to compute it anew"
        )


def _reason(error: Exception) -> str:
    """First line of an obstore error: the rest is a dump of its internals."""
    return str(error).partition("\n")[0]


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for library in LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    return found | {"cores": str(os.cpu_count())}
