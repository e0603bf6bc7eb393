"""Grids as files, and `--set`: what a dry run reads before it looks at any text."""

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from given import (
    KEYS,
    NUMBERS,
    SETTINGS,
    Bounds,
    Case,
    anything,
    damaged,
    fitting,
    some_text,
    takes,
    unfitting,
)

from orchestrator import grid, sweep
from qdllm.spec import flat

BUILT_IN = ("ablation", "losses", "quickstart", "search", "teachers")
MOST_TRIALS = 100_000
SEARCHED = [key for key in SETTINGS if key.split(".")[0] in ("circuit", "loss", "fit")]


def read(arguments: Sequence[str]) -> list[Any]:
    """The trials that a dry run would name."""
    chosen = sweep.parser().parse_args([*arguments, "--dry-run"])
    return grid.specs(sweep.read_grid(chosen))


def written(value: Any) -> str:
    """A value as YAML, in one line."""
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10**6)
    return text.removesuffix("\n...\n").strip()


def within_bounds(specs: Any) -> str | None:
    """Whether every number in what was accepted is one that means something."""
    if not 0 < len(specs) <= MOST_TRIALS:
        return f"{len(specs)} trials"
    for spec in specs[:50]:
        for key, value in flat(spec.model_dump(mode="json")).items():
            if key in SETTINGS and isinstance(SETTINGS[key], Bounds) and not takes(key, value):
                return f"{key} is {value!r}"
        seeds = getattr(spec, "seeds", (0,))
        if not 1 <= len(seeds) <= 1000 or not all(0 <= seed < 2**63 for seed in seeds):
            return f"seeds are {seeds!r:.100}"
    return None


def has(expected: Mapping[str, Any]) -> Any:
    """A check that every trial has these settings."""

    def check(specs: Any) -> str | None:
        for spec in specs[:50]:
            plain = flat(spec.model_dump(mode="json"))
            for key, value in expected.items():
                if plain.get(key) != value:
                    return f"{key} is {plain.get(key)!r}, but {value!r} was given"
        return within_bounds(specs)

    return check


def setting(rng: random.Random, folder: Path) -> Case:
    """`--set key=value` on a built-in grid: a value that fits, one that does not, or anything."""
    name = rng.choice(("quickstart", "search", "losses"))
    key = rng.choice([key for key in SETTINGS if key not in AXES[name]])
    kind = rng.random()
    if kind < 0.4:
        value = fitting(rng, key)
        text = f"{rng.choice(('', 'base.'))}{key}={written(value)}"
        return Case(f"{name} --set {text}", _run(name, text), True, check=has({key: value}))
    if kind < 0.7:
        value = unfitting(rng, key)
        text = f"{key}={written(value)}" if not isinstance(value, str) else f"{key}={value}"
        parsed = _parsed(text.partition("=")[2])
        valid = None if parsed is ... or takes(key, parsed) or isinstance(parsed, list) else False
        return Case(
            f"{name} --set {text!r:.300}", _run(name, text), valid, _parts(text), within_bounds
        )
    return _anything_set(rng, name)


AXES = {
    "quickstart": {"circuit.layers", "loss.alpha"},
    "losses": {"loss.alpha", "loss.teacher_terms"},
    "search": {
        *("circuit.ansatz", "circuit.layers", "angles", "loss.alpha", "loss.temperature"),
        *("fit.lr", "fit.batch_size"),
    },
}


def _anything_set(rng: random.Random, name: str) -> Case:
    texts = []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        key = rng.choice((rng.choice(KEYS), rng.choice(list(SETTINGS)), some_text(rng)))
        value = anything(rng)
        try:
            told = rng.choice((written(value), some_text(rng)))
        except (ValueError, yaml.YAMLError):
            told = some_text(rng)
        texts.append(f"{key}{rng.choice(('=', '=', '=', '=', ''))}{told}")
    # Whatever is a group must be given as one, and an empty one changes nothing.
    hollow = any(text.partition("=")[1] and _parsed(text.partition("=")[2]) == {} for text in texts)
    return Case(
        f"{name} --set {texts!r:.300}",
        _run(name, *texts),
        False if hollow else None,
        [part for text in texts for part in _parts(text)],
        within_bounds,
    )


def _run(name: str, *settings: str) -> Any:
    arguments = ["--grid", name]
    for text in settings:
        arguments.append(f"--set={text}")
    return lambda: read(arguments)


def _parsed(text: str) -> Any:
    """What a YAML text means, or ... where it means nothing."""
    if text.count("[") > 500:  # where no parser follows, which takes it a while to find out
        return ...
    try:
        return yaml.safe_load(text)
    except Exception:
        return ...


def _parts(text: str) -> list[str]:
    return [part for part in (text, *text.partition("=")[::2]) if part]


def file(rng: random.Random, folder: Path) -> Case:
    """A grid's file: one that is right, with one thing wrong, or after an accident."""
    content, wrong = _content(rng), ""
    kind = rng.random()
    if 0.3 < kind < 0.65:
        wrong = _spoil(rng, content)
    path = folder / rng.choice(("mine.yaml", "my grid.yml", "é.yaml"))
    try:
        data = written(content).encode(errors="surrogatepass")
        if rng.random() < 0.5:
            data = yaml.safe_dump(content, sort_keys=False, width=80).encode(errors="surrogatepass")
    except (ValueError, yaml.YAMLError, RecursionError):
        data, wrong = b"base: 1\n", "a base that is none"
    if kind >= 0.65:
        data = damaged(rng, data)
    path.write_bytes(data)
    return Case(
        f"a grid with {wrong or 'nothing wrong' if kind < 0.65 else 'damage'}: {data!r:.300}",
        lambda: read(["--grid", str(path)]),
        (not wrong) if kind < 0.65 else None,
        [str(path), wrong],
        within_bounds,
    )


def _content(rng: random.Random) -> dict[str, Any]:
    keys = rng.sample(list(SETTINGS), rng.randrange(2, 9))
    keys = [key for key in keys if key != "teacher.zero_stage"]
    content: dict[str, Any] = {"base": {key: fitting(rng, key) for key in keys[3:]}}
    if rng.random() < 0.3:
        content["name"] = rng.choice(("a", "my grid", "x.y-z_1", "日本"))
    if rng.random() < 0.4:
        content["seeds"] = rng.choice((1, 3, 1000, [0], [5, 7, 2**63 - 1]))
    if rng.random() < 0.3:
        content["resources"] = {"cpu": rng.choice((0.5, 1, 2.5))}
    if rng.random() < 0.3:
        content["scheduler"] = rng.choice(("none", "asha", "median"))
    if rng.random() < 0.3:
        content["teacher_floor"] = rng.choice((0, 0.5, 1))
    searched = [key for key in keys[:3] if key in SEARCHED]
    if searched and rng.random() < 0.5:
        content["search"] = {
            "space": {key: _dimension(rng, key) for key in searched},
            "trials": rng.choice((1, 100, MOST_TRIALS)),
            "seed": rng.choice((0, 2**32 - 1)),
        }
    else:
        axes = {key: _several(rng, key) for key in keys[:3]}
        content[rng.choice(("axes", "axes", "one_at_a_time"))] = axes
    return content


def _several(rng: random.Random, key: str) -> list[Any]:
    values = [fitting(rng, key) for _ in range(3)]
    return [value for number, value in enumerate(values) if value not in values[:number]]


def _dimension(rng: random.Random, key: str) -> Any:
    allowed = SETTINGS[key]
    if not isinstance(allowed, Bounds) or rng.random() < 0.3:
        return _several(rng, key)
    low, high = (2, 7) if allowed.whole else (0.125, 0.875)
    return {"low": low, "high": high}


def _spoil(rng: random.Random, content: dict[str, Any]) -> str:
    """Make one thing wrong; returns what, as a message repeats it."""
    base = content["base"]
    key = rng.choice(list(SETTINGS))
    value = unfitting(rng, key)
    way = rng.randrange(12)
    if way == 0:
        word = rng.choice(("fit.epoch", "layers", "fit.lr.x", " ", "", "a b", "fit.", ".fit", "é"))
        base[word] = 1
        return word or "''"
    if way == 1:
        content[word := rng.choice(("axis", "Base", "", "a b", "seed"))] = {"a": 1}
        return word or "''"
    if way == 2:
        content["seeds"] = bad = rng.choice(
            (0, -1, 1001, 10**12, 10**400, [1, 1], [-1], [10**20], [], "x")
        )
        base.pop("seeds", None)
        return str(bad[0] if isinstance(bad, list) and bad else bad)[:20]
    if way == 3:
        content["axes"] = {"fit.lr": []}
        content.pop("search", None)
        base.pop("fit.lr", None)
        return "axes.fit.lr"
    if way == 4:
        content["axes"] = {
            f"{group}{n}": {str(i): {} for i in range(2)} for group in "ab" for n in "12"
        }
        return "axes"
    if way == 5:
        content["search"] = {
            "space": {"fit.lr": {"low": 1, "high": rng.choice((1, 0, 1e300, "x"))}}
        }
        base.pop("fit.lr", None)
        content.pop("one_at_a_time", None)
        content.pop("axes", None)
        return "fit.lr"
    if way == 6:
        step = rng.choice((0, -1, 1e-300, 5e-324, 0.3))
        content["search"] = {"space": {"fit.lr": {"low": 1, "high": 2, "step": step}}}
        base.pop("fit.lr", None)
        content.pop("one_at_a_time", None)
        content.pop("axes", None)
        return "fit.lr"
    if way == 7:
        content["resources"] = {"cpu": rng.choice((0, -1, 1e-9, 10**9, "x", float("inf")))}
        return "cpu"
    if way == 8:
        content["name"] = bad = rng.choice(("a/b", "", "x" * 101, "a\nb", "..\\", 1, None, "é🙂"))
        return str(bad)[:20] or "name"
    if way == 9:
        content["axes"] = {
            each: list(range(8, 40)) for each in ("fit.batch_size", "fit.epochs", "teacher.rank")
        } | {"circuit.layers": list(range(1, 20))}
        for each in content["axes"]:
            base.pop(each, None)
        content.pop("search", None)
        content.pop("one_at_a_time", None)
        return "trials"
    if way == 10:
        base[key.split(".")[0] if "." in key else "fit"] = rng.choice(({}, 5, [], "x"))
        return key.split(".")[0] if "." in key else "fit"
    for group in ("axes", "one_at_a_time"):
        content.get(group, {}).pop(key, None)
    content.get("search", {}).get("space", {}).pop(key, None)
    if content.get("search") and not content["search"]["space"]:
        del content["search"]
    base[key] = value
    return key


def number(rng: random.Random, folder: Path) -> Case:
    """A number at the edge of what a setting takes, or far beyond."""
    key = rng.choice([key for key, allowed in SETTINGS.items() if isinstance(allowed, Bounds)])
    allowed = SETTINGS[key]
    value = rng.choice(
        (
            *(allowed.low, allowed.high, allowed.low - 1, allowed.high + 1, allowed.high * 10),
            *(NUMBERS),
        )
    )
    if allowed.whole and isinstance(value, float) and value.is_integer() and abs(value) < 1e300:
        value = int(value)
    text = f"{key}={written(value)}" if abs(value) < 1e300 or value != value else f"{key}={value}"
    valid = takes(key, yaml_value(text.partition("=")[2]))
    name = "losses" if key not in AXES["losses"] else "ablation"
    axis = name == "ablation"
    return Case(
        f"{name} --set {text:.300}",
        _run(name, text),
        valid,
        _parts(text),
        within_bounds if axis or not valid else has({key: yaml_value(text.partition("=")[2])}),
    )


def yaml_value(text: str) -> Any:
    """A number's text as a grid means it: 1e-3 is one."""
    try:
        return int(text)
    except ValueError:
        try:
            return float(text.replace(".inf", "inf").replace(".nan", "nan"))
        except ValueError:
            return yaml.safe_load(text)
