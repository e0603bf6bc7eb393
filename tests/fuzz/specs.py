"""Jobs as JSON files."""

import json
import random
from pathlib import Path
from typing import Any

from given import ALLOWED, Bounds, Case, anything, damaged, fitting, takes, unfitting

from jobs import command
from jobs.requests import (
    AgreementRequest,
    EvaluationRequest,
    FeaturesRequest,
    MeasurementRequest,
    TeacherRequest,
    TrialRequest,
    WordsRequest,
)
from qdllm import families
from qdllm.spec import flat

GROUPS = {
    FeaturesRequest: ("task", "encoder"),
    TeacherRequest: ("task", "teacher"),
    TrialRequest: ("trial",),
    EvaluationRequest: ("evaluation",),
    AgreementRequest: ("agreement",),
    MeasurementRequest: ("measurement",),
    WordsRequest: ("task",),
}
RESULTS = {
    EvaluationRequest: ("student",),
    MeasurementRequest: ("student",),
    AgreementRequest: ("trial", "soft_labels"),
}
"""Where a request names results by their fingerprints."""
PATHS = (
    "../../etc",
    "",
    "x",
    "0" * 15,
    "0" * 17,
    "/etc/passwd",
    "A" * 16,
    "0123456789abcde\n",
    "é" * 16,
)


def job(rng: random.Random, folder: Path) -> Case:
    """A job that is right, one with one thing wrong, or a file after an accident."""
    request = rng.choice(list(GROUPS))
    content, expected = _content(rng, request)
    kind, wrong, repeated = rng.random(), False, ""
    if 0.3 < kind < 0.65:
        wrong, repeated = True, _spoil(rng, request, content)
    if kind >= 0.95:
        content = {key: anything(rng) for key in content}
    text = json.dumps(content)
    if 0.3 < kind < 0.65 and rng.random() < 0.2:
        text, repeated = _twice(rng, content)
    data = text.encode()
    if 0.65 <= kind < 0.95:
        data = damaged(rng, data)
    path = folder / "job.json"
    path.write_bytes(data)

    def check(accepted: Any) -> str | None:
        plain = flat(accepted.model_dump(mode="json"))
        for key, value in plain.items():
            name = key.removeprefix("trial.")
            if isinstance(ALLOWED.get(name), Bounds) and not takes(name, value):
                return f"{name} is {value!r}"
        for key, value in expected.items() if kind <= 0.3 else ():
            if plain.get(key, plain.get(f"trial.{key}")) != value:
                return f"{key} is {plain.get(key)!r}, but {value!r} was given"
        return None

    def run() -> Any:
        read = command.read(request, path)
        if isinstance(read, TrialRequest):
            families.parse(read.trial)
        return read

    valid = None if kind >= 0.65 else not wrong
    return Case(
        f"{request.__name__} {data!r:.300}",
        run,
        valid,
        [] if kind >= 0.65 else [str(path), repeated],
        check,
    )


def _content(rng: random.Random, request: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """A job, and its settings by dotted key."""
    content: dict[str, Any] = {"store": "store"}
    groups = GROUPS[request]
    names = (
        ("circuit", "loss", "fit", "teacher", "encoder", "task") if groups == ("trial",) else groups
    )
    keys = [key for key in ALLOWED if key.split(".")[0] in names and key != "teacher.zero_stage"]
    expected = {key: fitting(rng, key) for key in rng.sample(keys, min(len(keys), 4))}
    settings: dict[str, Any] = {}
    for key, value in expected.items():
        group, name = key.split(".")
        settings.setdefault(group, {})[name] = value
    content |= {key: f"{rng.getrandbits(64):016x}" for key in RESULTS.get(request, ())}
    if request is MeasurementRequest:
        settings.setdefault("measurement", {})["target"] = "baihua-sim"
    if request is EvaluationRequest:
        settings = {"evaluation": {"backend": rng.choice(("engine", "mindquantum"))}}
    return content | ({"trial": settings} if request is TrialRequest else settings), expected


def _spoil(rng: random.Random, request: Any, content: dict[str, Any]) -> str:
    """Make one thing wrong; returns what a message repeats of it."""
    way = rng.randrange(6)
    if request in RESULTS and way < 3:
        key = rng.choice(RESULTS[request])
        content[key] = rng.choice(PATHS)
        return content[key] or key
    if way == 0:
        word = rng.choice(("", "a b", "store ", "é", "x" * 300, "a\nb", "\ud800", "tasks"))
        content[word] = 1
        return word or "''"
    if way == 1:
        content["store"] = rng.choice((None, 1, [], {}, True, "\ud800"))
        return "store"
    if way == 2:
        del content["store"]
        return "store"
    inner = content.setdefault("trial", {}) if request is TrialRequest else content
    groups = ("circuit", "teacher", "task") if request is TrialRequest else GROUPS[request]
    group = rng.choice(groups)
    if way == 3 or group in ("evaluation", "agreement"):
        inner[group] = rng.choice((1, "x", [], None, True, {"": 1}, {"a b": 1}, {"\ud800": {}}))
        return group
    key = rng.choice([key for key in ALLOWED if key.startswith(f"{group}.")])
    value = unfitting(rng, key)
    held = inner.get(group)
    inner[group] = (held if isinstance(held, dict) else {}) | {key.split(".")[1]: value}
    return key


def _twice(rng: random.Random, content: dict[str, Any]) -> tuple[str, str]:
    """A job that says one thing twice."""
    text = json.dumps(content)
    key = rng.choice([key for key in content if f'"{key}":' in text])
    return text[:-1] + f", {json.dumps(key)}: {json.dumps(content[key])}}}", key
