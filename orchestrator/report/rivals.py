"""Families beside one another: a line for each, of its trial that is best in validation."""

from collections.abc import Sequence
from typing import NamedTuple

import yaml
from rich.box import SIMPLE_HEAD
from rich.table import Table

from jobs.kinds.agreements import METRIC
from orchestrator.plan.ranking import Result, paired
from orchestrator.report.findings import Findings
from orchestrator.report.paper import FILE
from orchestrator.report.tables import measured
from qdllm import families

HEAD = (
    "",
    "test accuracy",
    "validation",
    "test F1",
    "agreement",
    "calibration error",
    "trained",
    "at inference",
    "T_kd, s/epoch",
    "µs/text",
    "accuracy/parameter",
    "accuracy/T_kd",
    "paper's accuracy",
)
NARROW = (
    "",
    "test accuracy",
    "trained",
    "at inference",
    "T_kd, s/epoch",
    "µs/text",
    "paper's accuracy",
)
"""What a terminal has room for."""
WIDE = 190
"""Columns that all of it needs."""
SURE = 0.05
"""How often equals may differ by as much before one is said to pass the other."""
EXPLAINED = (
    "trained: parameters of one seed. At inference: with the frozen encoder's, for those that need "
    "it; the paper's 9,275 leave out its BERT, and its rivals' counts hold their embeddings. T_kd: "
    "seconds per epoch of one seed, of LSFLS per round, with a teacher's pass where it runs beside "
    "(DistilBERT, TinyBERT), and without the encoder's, which is one for all epochs. µs/text: with "
    "the encoder's share, its tokenizer's included, which was measured on all cores of a node; of "
    "what reads tokens, from those on. Accuracy per parameter goes by those that are trained, as "
    "the paper's does."
)
PAPER = (
    "The paper's figures are those of the same teacher, or where it is none of the paper's, means "
    "over its five; on other splits of the texts. Its accuracy alone can be compared: its recall "
    "differs from it in all 90 rows of Tables 4 to 6, although with balanced classes both are the "
    "same number; and F1 lies above the mean of precision and recall, which no average of F1 over "
    "classes or texts allows, in all ten PKD rows of hiding and thematic: (0.7621 + 0.7705) / 2 = "
    "0.7663, printed 0.7791. Its sizes are those of 4 layers "
    "of 768 without pooler (52,188,672, printed as 52.20 M for DistilBERT and PKD), of 12 layers "
    "of 384 (33,360,000, for MiniLLM) and of 4 of 312 (14,350,248, for TinyBERT); bodies cut from "
    "the packaged MiniLM are smaller ones."
)


class Line(NamedTuple):
    """One family's cells under `HEAD`, and what is to be said of it below."""

    cells: tuple[str, ...]
    note: str


def lines(found: Findings) -> list[Line]:
    """A line for each family, best first; none where a sweep asked for one family alone."""
    lines = []
    for name, (one, *others) in found.families.items():
        controls = found.families.get(families.family(name).control, [])
        alike = [each for each in controls if _body(each) == _body(one)]
        lines.append(_line(found, one, 1 + len(others), next(iter(alike or controls), None)))
    return lines


def table(found: Findings, wide: bool) -> Table | None:
    """The same for a terminal; `wide`: with all columns."""
    told = lines(found)
    if not told:
        return None
    shown = [HEAD.index(name) for name in (HEAD if wide else NARROW)]
    made = Table(
        title="families, each by its best trial in validation",
        title_justify="left",
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for at in shown:
        made.add_column(HEAD[at], justify="right" if at else "left")
    for line in told:
        made.add_row(*(line.cells[at] for at in shown))
    made.caption = "\n".join(notes(told))
    return made


def notes(told: Sequence[Line]) -> list[str]:
    """What is said below."""
    printed = any(line.cells[-1] for line in told)
    return [*filter(None, (line.note for line in told)), EXPLAINED, *[PAPER] * printed]


def _line(found: Findings, one: Result, tried: int, control: Result | None) -> Line:
    spec, summary = one.trial.spec, one.record.summary
    family = families.of(spec)
    size, share = _encoder(found, one)
    accuracy = one.over_seeds("test.accuracy").mean
    seconds = summary["seconds_per_epoch"] / len(spec.seeds)
    cells = (
        family.label,
        measured(found, one, "test.accuracy"),
        measured(found, one, "val.accuracy"),
        measured(found, one, "test.f1"),
        measured(found, one, METRIC),
        measured(found, one, "test.calibration_error"),
        f"{one.parameters:,}",
        "—" if size is None else f"{one.parameters + size:,}",
        _cost(seconds),
        "—" if share is None else _cost(summary["inference_us"] + share),
        f"{accuracy / one.parameters:.2e}",
        f"{accuracy / seconds:.2e}",
        _printed(found, one),
    )
    of = f"the best of {tried} trials" if tried > 1 else "one trial"
    seeds = f"{len(spec.seeds)} seed{'s' * (len(spec.seeds) > 1)}"
    told = [f"{of}, {seeds}", *([_against(one, control)] if control else []), *family.lacks(spec)]
    return Line(cells, f"{family.label}: {'; '.join(told)}")


def _cost(value: float) -> str:
    """Three digits, or all before the point."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _against(one: Result, control: Result) -> str:
    """Whether it passes its control in test, over the seeds that both have."""
    name, metric = families.of(control.trial.spec).label, "test.accuracy"
    found = paired(one, control, metric)
    apart = (
        found.difference.mean
        if found
        else one.over_seeds(metric).mean - control.over_seeds(metric).mean
    )
    spread = f" ± {found.difference.ci95:.4f}, p = {found.p:.2g}" if found else ""
    if _body(one) != _body(control):
        return f"without a control: {name} is another body ({apart:+.4f}{spread})"
    surely = found is not None and found.p < SURE
    verdict = "passes" if surely and apart > 0 else "does not pass"
    if found is None:
        verdict = "cannot be told by these seeds from"
    return f"{verdict} its control, {name} ({apart:+.4f}{spread})"


def _body(one: Result) -> object:
    """The shape of what is trained, of a family that says it."""
    return one.trial.spec.model_dump().get("body")


def _encoder(found: Findings, one: Result) -> tuple[int | None, float | None]:
    """How many frozen parameters stand before what was trained, and their microseconds a text.

    None where a record of an earlier version does not tell.
    """
    size: int | None = 0
    share: float | None = 0.0
    for record in found.sources:
        if record.fingerprint == one.trial.made_from.get("features"):
            size = record.summary.get("parameters")
            share = record.summary.get("encoding_us")
    return size, share


def _printed(found: Findings, one: Result) -> str:
    """The paper's accuracy of that method on this task: under that teacher where it is one of the
    paper's, else the mean over those."""
    printed = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    figures = printed["tasks"].get(found.sweep.summary["task"])
    method, taught = families.of(one.trial.spec).paper, getattr(one.trial.spec, "teacher", None)
    if not figures or method not in figures["overall"]:
        return ""
    own = [accuracy for accuracy, _ in figures["by_teacher"].values()]
    by_teacher = dict(zip(printed["teachers"], figures["rivals"].get(method, own), strict=True))
    return f"{by_teacher.get(taught and taught.model, figures['overall'][method][0]):.4f}"
