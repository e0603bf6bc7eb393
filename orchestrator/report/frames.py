"""What a sweep found as data: a row for each trial, for each seed, or for each epoch."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from jobs.store import Record, Store, unfit
from orchestrator.plan.ranking import by_seed, keys
from orchestrator.report import findings
from orchestrator.report.findings import Findings
from qdllm.intervals import interval
from qdllm.spec import flat
from qdllm.specs import TrialSpec

if TYPE_CHECKING:
    import pandas as pd

Rows = Literal["trials", "seeds", "curves"]
Format = Literal["csv", "json", "parquet"]


def frame(
    sweep: str,
    rows: Rows = "trials",
    home: str | Path = ".qdllm",
    store: str | None = None,
) -> "pd.DataFrame":
    """A sweep's results as far as they are there.

    `sweep`: its name, its fingerprint, or the beginning of that. `home`: the folder of the sweep.
    `store`: where its results are; else $QDLLM_STORE, or the store in that folder.

    All three tables have `fingerprint`, `family`, `role` (`trial`, or `reference` for what stands
    beside the trials), `rank` (1 is the best by mean validation accuracy), `champion` (true or
    false), and the swept settings by dotted path, such as `circuit.layers`. Accuracies, F1 and
    agreement are fractions from 0 to 1, losses are in nats. Beside these have

    - `trials`, a row for each, best first, then references, then those without a result: all
      settings; `features` and `soft_labels`, the fingerprints of what it was made from;
      `parameters` trained by one seed; `n`, its seeds; of each measure the mean over seeds, such as
      `test.accuracy`, and `test.accuracy.ci95`, the half-width of its 95 % interval (Student's t;
      missing with one seed); `seconds_per_epoch` and `inference_us` (microseconds a text), of all
      seeds together and of one; `seconds` that the trial took; `created`, when it ended (UTC);
      `missing`, the reason why there is no result, where it is known.
    - `seeds`, a row for each trial and seed: `seed`, and each measure, such as `test.accuracy`.
    - `curves`, a row for each trial, seed and epoch: `seed`, `epoch` from 1, and each curve, such
      as `train.loss` and `val.accuracy`.

    Raises ConfigError if there is no such store or sweep, StoreError for a damaged result.
    """
    where, found = findings.read(sweep, Path(home).expanduser().absolute(), store)
    return _frame(found, where, rows)


def write(found: Findings, store: Store, folder: Path, format: Format) -> list[Path]:
    """Write all three tables into a folder. Returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for rows in get_args(Rows):
        table, path = _frame(found, store, rows), folder / f"{rows}.{format}"
        if format == "csv":
            table.to_csv(path, index=False, lineterminator="\n")
        elif format == "json":
            table.to_json(path, orient="records", date_format="iso", force_ascii=False, indent=1)
        else:
            table.to_parquet(path, index=False)
        paths.append(path)
    return paths


def _frame(found: Findings, store: Store, rows: Rows) -> "pd.DataFrame":
    import pandas as pd  # a third of a second, which the page need not wait for

    made = {"trials": _trials, "seeds": _seeds, "curves": _curves}[rows](found, store)
    table = pd.DataFrame(list(made))
    # An integer stays one where other rows have none.
    whole = [name for name in ("rank", "parameters", "n") if name in table]
    return table.astype(dict.fromkeys(whole, "Int64"))


def _results(found: Findings) -> Iterator[tuple[dict[str, Any], TrialSpec, Record]]:
    """What tells each result from the others, its spec and its record."""
    for rank, one in enumerate(found.order, start=1):
        told = {"role": "trial", "rank": rank, "champion": one is found.champion}
        yield _told(found, one.trial.spec, one.record) | told, one.trial.spec, one.record
    for one in found.beside_trials:
        spec, record = one.trial.spec, one.record
        yield _told(found, spec, record) | {"role": "reference"}, spec, record


def _told(found: Findings, spec: TrialSpec, record: Record) -> dict[str, Any]:
    settings = _settings(spec)
    return {
        "fingerprint": record.fingerprint,
        "family": spec.family,
        "role": "",
        "rank": None,
        "champion": False,
    } | {key: settings.get(key) for key in keys(found.settings.values())}


def _settings(spec: TrialSpec) -> dict[str, Any]:
    """All settings by dotted path, as cells of any format: a list is written as JSON."""
    return {
        key: _cell(value)
        for key, value in flat(spec.model_dump(mode="json")).items()
        if key not in ("family", "seeds")
    }


def _cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list) else value


def _trials(found: Findings, store: Store) -> Iterator[dict[str, Any]]:
    for told, spec, record in _results(found):
        row = told | _settings(spec) | record.made_from | {"n": len(spec.seeds)}
        for name in ("parameters", "seconds_per_epoch", "inference_us"):
            row[name] = record.summary.get(name)
        for metric, values in record.summary["metrics"].items():
            over_seeds = interval(values)
            row |= {metric: over_seeds.mean, f"{metric}.ci95": over_seeds.ci95}
        ended = np.datetime64(round(record.created * 1000), "ms")
        yield row | {"seconds": record.seconds, "created": ended, "missing": None}
    for name, reason in found.missing.items():
        row = {"fingerprint": name, "role": "trial", "champion": False, "missing": reason}
        yield row | {key: _cell(value) for key, value in found.settings.get(name, {}).items()}


def _seeds(found: Findings, store: Store) -> Iterator[dict[str, Any]]:
    for told, spec, record in _results(found):
        for at, seed in enumerate(spec.seeds):
            measured = {
                name: by_seed(record, name, spec.seeds)[at] for name in record.summary["metrics"]
            }
            yield told | {"seed": seed} | measured


def _curves(found: Findings, store: Store) -> Iterator[dict[str, Any]]:
    for told, spec, record in _results(found):
        _, tensors = store.load(record.kind, record.fingerprint)
        curves_SE = {name: tensors[name] for name in sorted(tensors) if name != "parameters"}
        shapes = {curve.shape for curve in curves_SE.values()}
        if len(shapes) > 1 or any(shape[0] != len(spec.seeds) for shape in shapes):
            raise unfit(record, f"has curves of the shapes {sorted(shapes)}")
        for at, seed in enumerate(spec.seeds):
            for epoch, points in enumerate(
                zip(*(curve[at] for curve in curves_SE.values()), strict=True), start=1
            ):
                values = dict(zip(curves_SE, map(float, points), strict=True))
                yield told | {"seed": seed, "epoch": epoch} | values
