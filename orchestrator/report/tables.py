"""What a sweep found, as text: the plan before it, the table after it."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from jobs.kinds.agreements import METRIC
from jobs.store import Record
from orchestrator.console import duration
from orchestrator.plan.forecast import Need
from orchestrator.plan.ranking import OBJECTIVE, Result, apart, axes, paired
from orchestrator.plan.reading import MUCH
from qdllm.intervals import Interval, interval

if TYPE_CHECKING:
    from orchestrator.report.findings import Findings

ROWS = 10
AXES = 4
"""Swept settings beside which everything else has room."""
WIDE = 110
"""Columns that the table of trials needs to show everything."""
NAMES = {
    "circuit.layers": "circuit layers",
    "encoder.hidden_layers": "encoder's hidden layers",
    "encoder.model": "encoder",
    "fit.batch_size": "batch size",
    "fit.lr": "learning rate",
    "loss.alpha": "guidance weight α",
    "loss.form": "form of the loss",
    "loss.teacher_terms": "teacher's terms",
    "loss.temperature": "temperature T",
    "teacher.model": "teacher",
}
"""What people call settings whose last word says too little."""


def plan_table(name: str, needs: Sequence[Need], place: str) -> Table:
    """What is held and what would run, where and for how long, a line per kind of result.

    `name`: the sweep's. `place`: the machine or cluster, in words.
    """
    table = Table(title=f"sweep {name}", title_justify="left", caption_justify="left")
    for column, justify in (
        ("result", "left"),
        ("held", "right"),
        ("to compute", "right"),
        ("where", "left"),
        ("how long", "left"),
    ):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    lacking = [need for need in needs if need.missing]
    for need in needs:
        told = (need.where, _how_long([need])) if need.missing else ("", "")
        table.add_row(need.what, str(need.held), str(need.missing), *told)
    if lacking:
        known = any(need.time.total for need in lacking)
        table.caption = f"where: {place}\nhow long: " + (
            f"{_how_long(lacking)} in all, by the store's like results (—: none)"
            if known
            else "unknown, the store holds nothing alike"
        )
    return table


def _how_long(needs: Sequence[Need]) -> str:
    """The time of one kind of result after another; — where nothing is known of it."""
    seconds = sum(need.time.at_once(need.places or 1) for need in needs)
    if not seconds:
        return "—"
    about = ">" if any(need.time.unknown for need in needs) else "≈"
    in_turn = ", one by one" if any(need.places is None for need in needs) else ""
    return f"{about} {duration(seconds)}{in_turn}"


def trials_table(found: "Findings", title: str, wide: bool) -> Table:
    """The ten best trials, the champion if it is not among them, and what stands beside them.

    `wide` adds agreement with the teacher and time per epoch, for which 80 columns are too few, and
    beside many axes any number of them.
    """
    order, champion = found.order, found.champion
    settings = axes([result.trial for result in order])
    columns = apart(settings.values())
    wide = wide and len(columns) <= AXES
    table = Table(
        title=title,
        title_justify="left",
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    bar = over_seeds(order)
    table.caption = f"{bar and f'± is {bar}; '}★ is the champion"
    table.caption = "\n".join([table.caption, *much_cut(found)])
    table.add_column("")
    measures = ["val.accuracy", "test.accuracy", *([METRIC] if wide else [])]
    headings = ["params", "validation", "test", *(["agreement", "s/epoch"] if wide else [])]
    for heading in (*short(columns), *headings):
        table.add_column(heading, justify="right", no_wrap=True)
    shown = order[:ROWS]
    if champion and champion not in shown:
        shown = [*shown, champion]
    for result in shown:
        row = [
            f"{order.index(result) + 1}{' ★' if result is champion else ''}",
            *(cell(settings[result.trial.fingerprint].get(key, "")) for key in columns),
            f"{result.parameters:,}",
            *(measured(found, result, measure) for measure in measures),
        ]
        if wide:
            row.append(f"{result.record.summary['seconds_per_epoch']:.2f}")
        table.add_row(*row)
    for standing in found.beside:
        table.add_row(
            standing.name,
            # A reference has no circuit, at most the size of one.
            *(
                cell("" if key.startswith("circuit.") else standing.settings.get(key, ""))
                for key in columns
            ),
            "" if standing.parameters is None else f"{standing.parameters:,}",
            *(
                accuracy(standing.metrics[name]) if name in standing.metrics else ""
                for name in ("val.accuracy", "test.accuracy")
            ),
        )
    return table


def cell(value: Any) -> str:
    """A setting's value in a table: of a number that a search has found, three digits."""
    return f"{value:.3g}" if isinstance(value, float) and len(str(value)) > 6 else str(value)


def short(keys: Sequence[str]) -> list[str]:
    """Settings' last words, or their whole paths where those collide."""
    last = [key.rpartition(".")[2] for key in keys]
    return [short if last.count(short) == 1 else key for short, key in zip(last, keys, strict=True)]


def cut_lines(cuts: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for each model that does not read all of the texts; see orchestrator.plan.reading."""
    return [_cut_line(cut) for cut in cuts]


def much_cut(found: "Findings") -> list[str]:
    """The same of a sweep, where it concerns more than a few texts."""
    cuts = found.sweep.summary.get("cuts", [])
    return cut_lines([cut for cut in cuts if cut["texts"] > MUCH * cut["of"]])


def _cut_line(cut: Mapping[str, Any]) -> str:
    readers, length, most = cut["readers"], cut["max_length"], cut["most"]
    more = min(2 * length, most or 2 * length)
    who = f"{' and '.join(readers)} ({label(cut['model'])})"
    how = " ".join(f"--set {reader}.max_length={more}" for reader in readers)
    remedy = f"{how} reads more" + (f" (up to {most})" if most else "")
    return (
        f"{'about ' if cut['reckoned'] else ''}{cut['texts']:,} of {cut['of']:,} texts are longer "
        f"than the {length} tokens that {who} read: {cut['lost']:.0%} of them is cut off; "
        + (remedy if more > length else "the model takes no more")
    )


def curve_table(record: Record) -> Table:
    """How a teacher's fine-tuning went, a line per epoch; ★ is the one that was kept."""
    table = Table(title=f"teacher {record.spec['model']}", title_justify="left", box=SIMPLE_HEAD)
    for heading in ("epoch", "train loss", "validation accuracy", "time"):
        table.add_column(heading, justify="right")
    for epoch, point in enumerate(record.summary["curve"], start=1):
        table.add_row(
            f"{epoch}{' ★' if epoch == record.summary['best_epoch'] else ''}",
            f"{point['train.loss']:.4f}",
            f"{point['val.accuracy']:.4f}",
            duration(point["seconds"]),
        )
    return table


def missing_lines(
    missing: Mapping[str, str], settings: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    """A line for each trial without a result: its settings, and the reason where it is known."""
    return [
        f"trial {name} ({told(settings.get(name, {}))}): {reason or 'it has not been run'}"
        for name, reason in missing.items()
    ]


def chosen_lines(found: "Findings") -> list[str]:
    """What the champion is, and why it and not the best."""
    assert found.champion is not None, "a sweep without one says so"
    if found.under is None:
        return champion_line(found.champion, found.best, found.order[0]).splitlines()
    chosen, best = found.under(found.champion), max(found.under.accuracies.values())
    return [
        f"champion: {found.champion.parameters:,} parameters, the smallest within one standard "
        f"error of the best in validation under {found.under.name}: {plus_minus(chosen)} there, "
        f"the best {plus_minus(best)}",
        *filter(None, [unmeasured(found)]),
    ]


def unmeasured(found: "Findings") -> str:
    """What is said where not all are measured by what the champion is chosen by; else nothing."""
    if found.under is None or len(found.under.accuracies) == found.under.asked:
        return ""
    return (
        f"only {len(found.under.accuracies)} of {found.under.asked} trials are measured under "
        f"{found.under.name} so far, so the champion may be another one; the same command measures "
        "the others"
    )


def rule(found: "Findings") -> str:
    """How the champion is chosen; a seed alone has no standard error."""
    under = f" under {found.under.name}" if found.under else ""
    of = " of the families that it may be of" if len(set(map(_family, found.order))) > 1 else ""
    if _seeds(found.order) == 1:
        return f"the trial{of} that is the best in validation{under}"
    return (
        f"the smallest trial{of} whose mean validation accuracy{under} lies within one standard "
        "error of the best"
    )


def _family(result: Result) -> str:
    return result.trial.spec.family


def champion_line(champion: Result, best: Result, first: Result | None = None) -> str:
    """What the champion is, and why it and not the best.

    `best`: of those that it was chosen from. `first`: of all trials, if that is another.
    """
    size = f"{champion.parameters:,} parameters"
    if champion is best:
        of = "" if first in (None, best) else " of the families that it may be of"
        return f"champion: the best{of} by validation, {size}"
    behind = best.over_seeds(OBJECTIVE).mean - champion.over_seeds(OBJECTIVE).mean
    return (
        f"champion: {size}, the smallest within one standard error of the best "
        f"({behind:.4f} behind it in validation)\n{comparison_line(champion, best)}"
    )


def no_champion_line(found: "Findings") -> str:
    """Why there is none."""
    if found.under and unmeasured(found):
        return (
            f"no trial is measured under {found.under.name} yet, so there is no champion; the same "
            "command measures them"
        )
    of = " of the families that it may be of" if found.order else ""
    return f"no trial{of} has finished, so there is no champion"


def comparison_line(champion: Result, best: Result) -> str:
    """Whether the champion and the plain best can be told apart, and how sure that is."""
    found = paired(best, champion)
    if found is None:
        return "no test between the two: their seeds leave no spread to judge a difference by"
    difference, p = found.difference, found.p
    return (
        f"best − champion, paired over {difference.n} seeds: {difference.mean:+.4f} "
        f"± {difference.ci95:.4f}, p {'< 0.001' if p < 0.001 else f'= {p:.2g}'} (t-test; with "
        f"{difference.n} seeds it sees a difference of {found.detectable:.4f} four times in five)"
    )


def spoken(key: str) -> str:
    """What people call a setting."""
    group, _, word = key.rpartition(".")
    plain = word.replace("_", " ")
    return NAMES.get(key, f"teacher's {plain}" if group == "teacher" else plain)


def label(value: Any) -> str:
    """A setting's value, short: a path's or model's last word, a list's members."""
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value).rpartition("/")[2]


def told(settings: Mapping[str, Any]) -> str:
    """Settings in words."""
    return ", ".join(f"{spoken(key)} {label(value)}" for key, value in settings.items())


def over_seeds(order: Sequence[Result]) -> str:
    """What ± is; nothing where there is one seed."""
    n = _seeds(order)
    return f"the 95 % interval of the mean over {n} seeds, Student's t" if n > 1 else ""


def seeds_bar(order: Sequence[Result]) -> str:
    """What a bar or band over seeds is."""
    return over_seeds(order) or "no interval"


def _seeds(order: Sequence[Result]) -> int:
    """How many a trial has; of a family whose trials draw nothing, each has one."""
    return max(len(one.trial.spec.seeds) for one in order)


def measured(found: "Findings", result: Result, metric: str) -> str:
    """A trial's measure over its seeds; nothing where there is none.

    Agreement is with the teacher that taught it, or else with that of the sweep's others.
    """
    compared = found.agreements.get(result.trial.fingerprint) if metric == METRIC else None
    if compared:
        return plus_minus(compared)
    has = metric in result.record.summary["metrics"]
    return plus_minus(result.over_seeds(metric)) if has else ""


def plus_minus(found: Interval) -> str:
    """0.8825 ± 0.0031, or the mean alone where a single seed leaves the spread unknown."""
    return f"{found.mean:.4f}" if found.n == 1 else f"{found.mean:.4f} ± {found.ci95:.4f}"


def accuracy(value: Any) -> str:
    """One accuracy, or one per seed."""
    return plus_minus(interval(value)) if isinstance(value, list) else f"{value:.4f}"
