"""A result's record: the JSON that says what it is, and whether it is whole."""

import hashlib
import json
import os
import platform
import re
import shlex
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from qdllm import outside
from qdllm.errors import StoreError
from qdllm.spec import SCHEMA, canonical

LIBRARIES = ("deepspeed", "numba", "numpy", "peft", "qdllm-sweeps", "ray", "torch", "transformers")


BESIDE = re.compile(r"[\w-]+\.safetensors")
"""The name of a file that lies beside its record."""


class DamagedError(StoreError):
    """A result that is there, but is not what was written."""

    problem: str
    """What is wrong with it, without its name and what to do."""


class VersionError(StoreError):
    """A result that a version of this program with another schema wrote."""


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
    created: float = Field(ge=0, le=1e11)
    """Unix time in seconds."""
    seconds: float = Field(ge=0, le=1e12)
    """How long the result took to compute."""
    versions: dict[str, str]


def write(record: Record) -> bytes:
    """The text of a record's file: its fields, and a digest of them."""
    # pydantic writes what is not finite as null, which JSON has, where json would write NaN.
    fields = json.loads(record.model_dump_json())
    return json.dumps(fields | {"sha256": _digest(fields)}, indent=1).encode()


def read(text: bytes, store: str, kind: str, fingerprint: str) -> Record:
    """The record in a file of `store`, an address, that should be that of kind and fingerprint.

    Raises DamagedError if it is not, VersionError if another version of this program wrote it.
    """
    try:
        fields = outside.parsed(text)
        if fields.pop("sha256") != _digest(fields):
            raise damaged(store, kind, fingerprint, "its record does not match its digest")
        schema = fields["schema_version"]
        if schema != SCHEMA:
            raise VersionError(
                f"{store}/{kind}/{fingerprint} was written by another version of this program: "
                f"it has schema {schema}, this one {SCHEMA}; use that version"
            )
        record = Record.model_validate(fields)
        if not BESIDE.fullmatch(record.data.name):
            raise ValueError("data that lies elsewhere")
    except (ValueError, TypeError, LookupError, AttributeError):
        raise damaged(store, kind, fingerprint, "its record is unreadable") from None
    if (record.kind, record.fingerprint) != (kind, fingerprint):
        problem = f"its record speaks of {record.kind}/{record.fingerprint}"
        raise damaged(store, kind, fingerprint, problem)
    return record


def _digest(fields: dict[str, Any]) -> str:
    return hashlib.sha256(canonical(fields).encode()).hexdigest()


def damaged(store: str, kind: str, fingerprint: str, problem: str) -> DamagedError:
    """The error that says what is wrong with a result, and what to do."""
    error = DamagedError(
        f"{store}/{kind}/{fingerprint} is damaged: {problem}. Remove what is damaged with "
        f"`python -m jobs.store verify --remove --store {shlex.quote(store)}` and run the same "
        "command again to compute it anew"
    )
    error.problem = problem
    return error


def versions() -> dict[str, str]:
    """What a result was computed with."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for library in LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    return found | {"cores": str(os.cpu_count())}
