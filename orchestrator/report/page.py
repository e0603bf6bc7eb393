"""One HTML file that shows a sweep: it opens from disk, on a phone, and fetches nothing."""

import base64
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from jobs import kinds
from jobs.kinds.agreements import METRIC
from jobs.kinds.kind import Standing
from jobs.store import Record
from orchestrator.console import duration
from orchestrator.plan.ranking import Result, common
from orchestrator.report import figures, paper, rivals, tables
from orchestrator.report.figures import Picture
from orchestrator.report.figures.canvas import FAINT, INK, MUTED, NIGHT, PAPER, SERIES
from orchestrator.report.findings import Findings
from orchestrator.report.rendering import environment
from qdllm import families, outside
from qdllm.circuits import circuit as circuits
from qdllm.families.quantum import StudentSpec

COLOURS = {"ink": INK, "muted": MUTED, "faint": FAINT, "paper": PAPER, "accent": SERIES[0]}
MEASURES = {
    "val.accuracy": "validation",
    "test.accuracy": "test",
    "test.f1": "test F1",
    METRIC: "agreement",
    "test.calibration_error": "calibration error",
}
"""What the table of trials shows, with its headings."""
STANDING = ("test.accuracy", "val.accuracy", METRIC, "test.calibration_error")
"""What is told of all that stands beside one another."""

COMPARED = ("", "test", "validation", "parameters", "agreement", "calibration error")
"""The headings of what stands beside one another."""

Row = tuple[str, ...]


def write(found: Findings, folder: Path) -> Path:
    """Write the page, and its pictures as PNG in a folder of the same name. Returns its path.

    Raises ConfigError where it cannot be written.
    """
    path = folder / f"{found.name}-{found.sweep.fingerprint}.html"
    drawn = figures.pictures(found)
    with outside.using(path):
        path.with_suffix("").mkdir(parents=True, exist_ok=True)
        for picture in drawn:
            (path.with_suffix("") / f"{picture.name}.png").write_bytes(figures.png(picture))
        path.write_text(render(found, drawn), encoding="utf-8")
    return path


def render(found: Findings, drawn: Sequence[Picture]) -> str:
    """The page as text."""
    templates = environment()
    templates.filters["image"] = _image
    script = (Path(__file__).parent / "templates" / "sort.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    asked = found.sweep.summary
    records = _records(found)
    return templates.get_template("report.html").render(
        found=found,
        asked=asked,
        script=script,
        script_digest=digest,
        colours=COLOURS,
        night=NIGHT,
        drawn=drawn,
        until=datetime.fromtimestamp(max(one.created for one in records), UTC),
        lines=_lines(found),
        key=_key(found),
        compared=COMPARED,
        standing=list(standing(found)),
        head=_head(found),
        trials=[_trial(found, rank, one) for rank, one in enumerate(found.order, start=1)],
        missing=[
            (name, tables.told(found.settings.get(name, {})), reason)
            for name, reason in found.missing.items()
        ],
        measured=list(_measured(found)),
        bar=tables.over_seeds(found.order) if found.order else "",
        rule=tables.rule(found) if found.order else "",
        cut=tables.much_cut(found),
        paper=paper.beside(found),
        families_head=rivals.HEAD,
        families=rivals.lines(found),
        families_notes=rivals.notes(rivals.lines(found)),
        grid=_as_yaml(found.sweep.model_dump()["spec"]),
        shared=common([one.trial for one in found.order]) if found.order else {},
        costs=list(_costs(found)),
        versions=_versions(records),
        lineage=list(_lineage(found)),
    )


def _image(picture: Picture) -> str:
    """The picture inside the page."""
    return "data:image/svg+xml;base64," + base64.b64encode(figures.svg(picture).encode()).decode()


def _key(found: Findings) -> list[tuple[str, str, str]]:
    """The figures at the top of the page: what each is, the figure, and what goes with it."""
    if not found.champion:
        return []
    rows = []
    for split, metric in (("test", "test.accuracy"), ("validation", "val.accuracy")):
        at = found.champion.over_seeds(metric)
        seeds = f"{at.n} seed{'s' * (at.n > 1)}"
        spread = f"± {at.ci95:.4f}, {seeds}" if at.n > 1 else seeds
        rows.append((f"champion, {split}", f"{at.mean:.4f}", spread))
    spec = found.champion.trial.spec
    told = families.of(spec).label
    if isinstance(spec, StudentSpec):
        told = circuits.told(spec.circuit)
    rows.append(("its parameters", f"{found.champion.parameters:,}", told))
    if found.teacher:
        accuracy = kinds.kind(found.teacher.kind).metrics(found.teacher)
        validation = f"validation {accuracy['val.accuracy']:.4f}"
        rows.append(("its teacher, test", f"{accuracy['test.accuracy']:.4f}", validation))
    return rows


def _lines(found: Findings) -> list[str]:
    """What the champion is, in sentences."""
    if not found.champion:
        return [tables.no_champion_line(found)]
    settings = tables.told(found.place(found.champion))
    return [
        f"the champion has {settings or 'the settings below'}",
        *tables.chosen_lines(found),
    ]


def standing(found: Findings) -> Iterator[Row]:
    """All that stands beside one another, under `COMPARED`: sources, champion, references."""
    for record in found.sources:
        yield from _told(found, kinds.kind(record.kind).standing(record))
    if not found.champion:
        return
    yield _student(found, "★ champion", found.champion)
    for record in found.evaluations:
        yield from _told(found, kinds.kind(record.kind).standing(record))
    best = found.order[0]
    if best is not found.champion:
        apart = "" if best is found.best else f" ({families.of(best.trial.spec).label})"
        yield _student(found, f"best by validation{apart}", best)
    yield from _told(found, found.beside)


def _measured(found: Findings) -> Iterator[str]:
    """What the champion's measurements by devices say of themselves."""
    for record in found.evaluations:
        if found.champion and "errors" in record.summary:
            kind = kinds.kind(record.kind)
            yield f"{kind.title(record)}: {kind.opinion(record, found.champion.record)}"


def _told(found: Findings, standings: Iterable[Standing]) -> Iterator[Row]:
    """Lines of what stands beside; where sources were varied, with those that it was made from."""
    varied = [key for key in found.axes if key.startswith(("encoder.", "teacher."))]
    for one in standings:
        apart = {key: one.settings[key] for key in varied if key in one.settings}
        name = one.name + (f" ({tables.told(apart)})" if apart else "")
        size = "" if one.parameters is None else f"{one.parameters:,} {one.word}".rstrip()
        test, validation, *others = (
            tables.accuracy(one.metrics[name]) if name in one.metrics else "" for name in STANDING
        )
        yield name, test, validation, size, *others


def _student(found: Findings, name: str, one: Result) -> Row:
    test, validation, *others = (tables.measured(found, one, measure) for measure in STANDING)
    return name, test, validation, f"{one.parameters:,}", *others


def _head(found: Findings) -> Row:
    accuracies, others = list(MEASURES.values())[:2], list(MEASURES.values())[2:]
    costs = "parameters", "s/epoch", "µs/text"
    return "rank", *accuracies, *map(tables.spoken, found.axes), *others, *costs, "fingerprint"


def _trial(found: Findings, rank: int, one: Result) -> Row:
    """A line of the table of trials, under `_head`."""
    validation, test, *others = (tables.measured(found, one, name) for name in MEASURES)
    return (
        f"{rank}{' ★' if one is found.champion else ''}",
        validation,
        test,
        *(tables.label(found.value(one, key)) for key in found.axes),
        *others,
        f"{one.parameters:,}",
        f"{one.record.summary['seconds_per_epoch']:.2f}",
        f"{one.record.summary['inference_us']:.1f}",
        one.trial.fingerprint,
    )


def _made(found: Findings) -> dict[str, list[Record]]:
    """Every result of the sweep, by what several of its kind are called."""
    trials = [one.record for one in found.order]
    made: dict[str, list[Record]] = {}
    for record in [
        *found.sources,
        *found.baselines,
        *trials,
        *found.references,
        *found.evaluations,
    ]:
        made.setdefault(kinds.kind(record.kind).label, []).append(record)
    return made


def _records(found: Findings) -> list[Record]:
    return [found.sweep, *(record for made in _made(found).values() for record in made)]


def _costs(found: Findings) -> Iterator[Row]:
    """What was computed: results, of them held before, time one by one, CPU hours at most."""
    total_seconds = total_hours = 0.0
    for kind, made in _made(found).items():
        seconds = sum(record.seconds for record in made)
        hours = sum(record.seconds * _cores(record) for record in made) / 3600
        before = sum(record.created < found.sweep.created for record in made)
        yield kind, str(len(made)), str(before), duration(seconds), f"{hours:.2f}"
        total_seconds, total_hours = total_seconds + seconds, total_hours + hours
    yield "all", "", "", duration(total_seconds), f"{total_hours:.2f}"


def _cores(record: Record) -> int:
    return 1 if kinds.kind(record.kind).one_core else int(record.versions.get("cores", 1))


def _versions(records: Sequence[Record]) -> dict[str, str]:
    """What made the results; several values where they were made in several places."""
    seen: dict[str, dict[str, None]] = {}
    for record in records:
        for library, version in record.versions.items():
            seen.setdefault(library, {})[version] = None
    return {library: ", ".join(versions) for library, versions in seen.items()}


def _lineage(found: Findings) -> Iterator[tuple[str, str]]:
    """The fingerprints that lead from the texts to the champion."""
    yield "sweep", found.sweep.fingerprint
    yield "texts", found.sweep.made_from["texts"]
    for record in [*found.sources, *found.baselines, *found.references]:
        yield kinds.kind(record.kind).label, record.fingerprint
        if "adapter" in record.made_from:
            yield "teacher's adapter", record.made_from["adapter"]
    if found.champion:
        yield "champion", found.champion.trial.fingerprint


def _as_yaml(grid: dict[str, Any]) -> str:
    """The grid as a file that gives the same sweep again."""
    said = {key: value for key, value in grid.items() if value not in (None, "", {}, [])}
    return yaml.safe_dump(said, sort_keys=False, allow_unicode=True, default_flow_style=None)
