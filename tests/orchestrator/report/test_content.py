"""Results whose digests are right and whose inside is not: our own error, or nothing."""

import contextlib
import copy
import hashlib
import io
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
from safetensors.numpy import load, save
from small_sweep import SmallSweep, sweep

from jobs import evaluate
from jobs.inputs import gather
from jobs.kinds import Job
from jobs.store import Store, housekeeping, record
from orchestrator.plan import estimate, plan
from orchestrator.report import champion, command, findings, frames, sweeps
from qdllm.errors import QdllmError
from qdllm.specs import EvaluationSpec

KINDS = ("students", "tanh", "linear", "features", "soft-labels", "sweeps", "evaluations")
OTHER = (None, 0, -1, 1.5, "x", "", [], {}, [1], ["a"], {"a": 1}, True, 10**30, [[]], 1e300)
"""What may stand where something else should."""
CASES = 12
"""Of each kind that are tried; there are thousands."""


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> SmallSweep:
    return sweep(tmp_path_factory.mktemp("small"))


def folder_of(small: SmallSweep, kind: str) -> Path:
    """A result of that kind on the disk."""
    names = sorted(small.store.fingerprints(kind))
    return home(small) / "store" / kind / names[0]


def home(small: SmallSweep) -> Path:
    return Path(unquote(small.store.uri.removeprefix("file://"))).parent


@contextlib.contextmanager
def rewritten(folder: Path, fields: dict, data: bytes | None = None) -> Iterator[None]:
    """A result with other content under digests of its own, and as it was after that."""
    before = {path: path.read_bytes() for path in folder.iterdir()}
    if data is not None:
        fields["data"] |= {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        (folder / fields["data"]["name"]).write_bytes(data)
    text = json.dumps(fields | {"sha256": record._digest(fields)})
    (folder / "record.json").write_text(text)
    try:
        yield
    finally:
        for path, content in before.items():
            path.write_bytes(content)


def fields_of(folder: Path) -> dict[str, Any]:
    fields = json.loads((folder / "record.json").read_text())
    del fields["sha256"]
    return fields


def places(value: Any, at: tuple = ()) -> Iterator[tuple]:
    """The paths of all values inside of one; of a list, those of its first two."""
    inside = value.items() if isinstance(value, dict) else ()
    inside = list(enumerate(value))[:2] if isinstance(value, list) else inside
    for key, one in inside:
        yield (*at, key)
        yield from places(one, (*at, key))


def changed(fields: dict, at: tuple, generator: random.Random) -> dict:
    """With another value in one place, or without what was there."""
    fields = copy.deepcopy(fields)
    inside: Any = fields
    for key in at[:-1]:
        inside = inside[key]
    if generator.random() < 0.2:
        del inside[at[-1]]
    else:
        inside[at[-1]] = generator.choice(OTHER)
    return fields


def read_all(small: SmallSweep, kind: str, name: str) -> str:
    """Read the store in every way there is. Returns what was said where that did not go well."""
    said, where = [], ["--store", small.store.uri]
    student = name if kind == "students" else sorted(small.store.fingerprints("students"))[0]
    opinion = Job.of("evaluations", EvaluationSpec(backend="engine"), {"student": student})

    def report() -> None:
        store, found = findings.read("small-prices", home(small))
        command.show(found)
        for rows in ("trials", "seeds", "curves"):
            frames._frame(found, store, rows)
        if found.champion:
            champion.card(found, store, own_encoder=True)

    def planned() -> None:
        another = [trial.spec.model_copy(update={"seeds": (7,)}) for trial in small.trials]
        made = plan(another, small.dataset, small.store)
        estimate.times(made, small.history, len(small.dataset.texts))

    readers = [
        lambda: housekeeping.main(["ls", *where]),
        lambda: housekeeping.main(["show", f"{kind}/{name}", *where]),
        report,
        planned,
        lambda: gather(small.store, small.trials[0].made_from, small.dataset),
        lambda: evaluate.run(opinion, small.dataset, small.store),
    ]
    for reader in readers:
        try:
            with (
                contextlib.redirect_stdout(io.StringIO()),
                contextlib.redirect_stderr(io.StringIO()),
            ):
                reader()
        except QdllmError as error:
            said.append(str(error))
    small.store.clear(f"evaluations/{opinion.fingerprint}")
    return "\n".join(said)


@pytest.mark.parametrize("kind", KINDS)
def test_a_record_with_another_inside_is_no_traceback(small, kind):
    folder, generator = folder_of(small, kind), random.Random(kind)
    fields = fields_of(folder)
    known = ("schema_version", "kind", "fingerprint", "data")
    inside = [at for at in places(fields) if at[0] not in known]
    for at in generator.sample(inside, min(CASES, len(inside))):
        with rewritten(folder, changed(fields, at, generator)):
            said = read_all(small, kind, folder.name)
            assert f"{kind}/{folder.name}" in said or not said, at


@pytest.mark.parametrize("kind", KINDS)
def test_tensors_of_another_shape_are_no_traceback(small, kind):
    folder, generator = folder_of(small, kind), random.Random(kind)
    fields = fields_of(folder)
    tensors = load((folder / fields["data"]["name"]).read_bytes())
    others = {
        "0d": lambda array: np.float32(1),
        "1d": lambda array: np.ones(3, np.float32),
        "integers": lambda array: np.ones(array.shape, np.int64),
        "booleans": lambda array: np.ones(array.shape, bool),
        "complex": lambda array: array.astype(np.complex64),
        "empty": lambda array: array[:0],
        "more rows": lambda array: np.concatenate([array, array]),
        "wider": lambda array: np.concatenate([array, array], -1),
    }
    for _ in range(CASES):
        name, how = generator.choice(sorted(tensors)), generator.choice([*others, "none"])
        other = {one: array for one, array in tensors.items() if one != name}
        if how != "none":
            other[name] = np.ascontiguousarray(others[how](tensors[name]))
        with rewritten(folder, copy.deepcopy(fields), save(other)):
            said = read_all(small, kind, folder.name)
            # Of a sweep's labels and what an evaluation says of them, either may be at fault.
            assert f"/{folder.name} has " in said or not said or "seeds and texts" in said


def test_what_is_wrong_is_said_with_what_to_do(small):
    folder = folder_of(small, "students")
    fields = fields_of(folder)
    with rewritten(folder, fields | {"summary": fields["summary"] | {"metrics": [1]}}):
        said = read_all(small, "students", folder.name)
    assert (
        f"{small.store.uri}/students/{folder.name} has in its record summary.metrics: [1]: Input "
        f"should be an object; delete {small.store.uri}/students/{folder.name}/record.json and run "
        "the same command again to compute it anew"
    ) in said
    del fields["summary"]["metrics"]
    with rewritten(folder, fields):
        assert "has no summary.metrics in its record" in read_all(small, "students", folder.name)


def test_what_was_cut_of_texts_is_read_as_it_was_written(small, tmp_path):
    """A sweep's end reads it, whose beginning has written it."""
    cut = {"readers": ["encoder"], "model": "minilm", "max_length": 4, "texts": 9, "of": 20}
    cut |= {"lost": 0.4, "reckoned": False, "most": 512}
    store = Store(str(tmp_path))
    name = sweeps.publish_sweep(store, small.definition, small.plan, small.dataset, [cut])
    assert [dict(one) for one in store.record("sweeps", name).summary["cuts"]] == [cut]
