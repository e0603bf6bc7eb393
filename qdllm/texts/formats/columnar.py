"""Tables by column: Parquet, and Arrow's own files and streams."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from qdllm.errors import ConfigError
from qdllm.specs import TaskSpec
from qdllm.texts import files, labels
from qdllm.texts.columns import Record, Table, Wanted, positions
from qdllm.visible import visible

Columnar = tuple[Any, Callable[[list[str] | None], Iterator[Any]]]
"""A schema, and what gives the batches of some columns, or of all."""


def parquet(path: Path, wanted: Wanted, task: TaskSpec) -> Table:
    import pyarrow.parquet  # 0.5 s that other sources spare

    def looked_at(source: Any) -> Columnar:
        file = pyarrow.parquet.ParquetFile(source)
        return file.schema_arrow, lambda columns: file.iter_batches(columns=columns)

    return _columns(path, wanted, looked_at, "a Parquet file", b"PAR1")


def arrow(path: Path, wanted: Wanted, task: TaskSpec) -> Table:
    import pyarrow

    def looked_at(source: Any) -> Columnar:
        if source.read(6) == b"ARROW1":
            file = pyarrow.ipc.open_file(source)
            batches = (file.get_batch(n) for n in range(file.num_record_batches))
            return file.schema, lambda columns: batches
        source.seek(0)
        stream = pyarrow.ipc.open_stream(source)
        return stream.schema, lambda columns: iter(stream)

    return _columns(path, wanted, looked_at, "an Arrow file", b"")


def _columns(
    path: Path,
    wanted: Wanted,
    looked_at: Callable[[Any], Columnar],
    form: str,
    magic: bytes,
) -> Table:
    """`magic`: what a file of the form begins with, if it is always the same."""
    import pyarrow

    with path.open("rb") as stream:
        head = stream.read(8)

    @contextmanager
    def ours() -> Iterator[None]:
        try:
            yield
        except ConfigError:
            raise
        except (ValueError, OSError, pyarrow.ArrowException):
            packed = path.suffix.lower() in files.COMPRESSED
            foreign = not packed and not head.startswith(magic)
            why = f"it does not begin with {magic.decode()}" if foreign else "it is damaged"
            raise ConfigError(
                f"{visible(path)} is not {form} that can be read: {why if head else 'it is empty'}"
            ) from None

    with ours():
        if path.suffix.lower() in files.COMPRESSED:
            with files.opened(path) as stream:
                source = pyarrow.BufferReader(stream.read())
        else:
            source = pyarrow.memory_map(str(path))
        schema, batches = looked_at(source)
    places = positions(path, wanted, schema.names)
    names = [schema.names[place] for place in places]
    # A name that stands there twice names nothing.
    several = any(schema.names.count(name) > 1 for name in names)

    def records() -> Iterator[Record]:
        with ours():
            parts, number = iter(batches(None if several else list(dict.fromkeys(names)))), 0
        while True:
            with ours():
                batch = next(parts, None)
                if batch is None:
                    return
                batch.validate(full=True)  # else what is damaged may end the process
                values = [batch.column(key).to_pylist() for key in (places if several else names)]
            for record in zip(*values, strict=True):
                number += 1
                yield number, record

    label = class_names(schema.metadata, names[len(wanted.texts)])
    return Table(form.split()[1], records(), "row", schema.names, label)


def class_names(metadata: Mapping[bytes, bytes] | None, column: str) -> tuple[str, ...]:
    """The names of a column's numbers, where the Hugging Face metadata of a file tell them."""
    try:
        described = json.loads((metadata or {}).get(b"huggingface", b"{}"))
        return names_of(described["info"]["features"][column])
    except (KeyError, TypeError, ValueError):
        return ()


def names_of(feature: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of a feature that is a class label, as `datasets` or a data set's card has it."""
    inner = feature.get("class_label", feature)
    if "class_label" not in feature and feature.get("_type") != "ClassLabel":
        return ()
    names = inner.get("names") or ()
    listed = [names[key] for key in sorted(names, key=int)] if isinstance(names, dict) else names
    return tuple(labels.plain(str(name)) for name in listed)
