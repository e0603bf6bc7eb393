"""A trained student as a device would run it, or has: from shots, under noise, on a chip."""

import re
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Annotated, Any

from pydantic import Field

from jobs.kinds.kind import Count, Kind, Number, Record, Standing, measured
from qdllm.errors import ConfigError
from qdllm.messages import shown
from qdllm.processors import chips
from qdllm.processors.layout import enough
from qdllm.processors.readout import measurable
from qdllm.processors.spec import OFFERED, MeasurementSpec, known, named, parsed
from qdllm.spec import Spec
from qdllm.specs import TrialSpec

SHORT = {"validation": "val", "test": "test"}
RIGHT = {
    "readout": "readout inverted",
    "affine": "affine recalibration by exact validation texts",
}


def _named(name: str) -> MeasurementSpec | None:
    if not known(name):
        return None
    spec = named(name)
    if parsed(spec.target).real:
        raise ConfigError(
            f"{shown(name)} may cost something, so no sweep asks it; measure a champion there by "
            "python -m orchestrator.device"
        )
    return spec


def _tried(spec: MeasurementSpec, champion: Any) -> None:
    target = parsed(spec.target)
    if target.chip:
        enough(champion.circuit.qubits, chips.calibration(target.chip))
        measurable(champion.circuit, str(spec.form))


def _suits(champion: TrialSpec) -> bool:
    """Whether it has a circuit."""
    return "angles" in type(champion).model_fields


def _digests(spec: MeasurementSpec) -> Mapping[str, str]:
    target = parsed(spec.target)
    if not target.chip or target.real:
        return {}
    return {"calibration": chips.calibration(target.chip).digest}


def _title(record: Record) -> str:
    """What was measured with what."""
    spec = record.spec
    parts = [str(spec["target"]).rpartition("/")[2]]
    if spec["target"] == "shots":
        parts = []
    if "shots" in spec:
        parts.append(_many(spec["shots"], "shot"))
    if spec.get("rows"):
        parts.append(_many(record.summary["rows"], "text"))
    return ", ".join((*parts, *_otherwise(record)))


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' * (count != 1)}"


def _otherwise(record: Record) -> Sequence[str]:
    """Settings that are not as they are by default, so that no two measurements read alike."""
    plain = record.spec
    usual = MeasurementSpec.parse(
        {key: plain[key] for key in ("target", "mitigation") if key in plain}
    )
    return [
        f"{key.replace('_', ' ')} {plain[key]}"
        for key in ("form", "trajectories", "calibration_texts", "seed", "label")
        if key in plain and plain[key] != getattr(usual, key)
    ]


def _told(record: Record) -> str:
    """How expectations were put right, if they were."""
    return RIGHT.get(str(record.spec.get("mitigation")), "")


def _standing(record: Record) -> Sequence[Standing]:
    title, told = f"★ champion, {_title(record)}", _told(record)
    lines = [Standing(", ".join(filter(None, [title, told])), measured(record), None, {})]
    if told:
        lines.append(Standing(f"{title}, raw", record.summary["raw"], None, {}))
    return lines


def _figures(record: Record) -> dict[str, float]:
    name, metric = figure(record), f"{SHORT[record.spec['split']]}.accuracy"
    errors = record.summary["errors"]
    return {
        f"{name}.{metric}": fmean(measured(record)[metric]),
        f"{name}.raw.{metric}": fmean(record.summary["raw"][metric]),
        f"{name}.exact.{metric}": fmean(record.summary["exact"][metric]),
        **{f"{name}.error.{of}": fmean(errors[of]) for of in errors},
    }


def figure(record: Record) -> str:
    """A measurement's name among MLflow's figures."""
    spec = record.spec
    parts = [
        str(spec["target"]).rpartition("/")[2],
        str(spec.get("shots", "")),
        f"{spec['rows']} rows" if spec.get("rows") else "",
        str(spec.get("mitigation", "")),
        *_otherwise(record),
    ]
    # MLflow takes no other letters, and no longer names.
    return re.sub(r"[^\w.-]+", "-", "-".join(filter(None, parts)), flags=re.ASCII)[:150]


def _opinion(record: Record, champion: Record) -> str:
    metric = f"{SHORT[record.spec['split']]}.accuracy"
    ours, raw, exact = (
        fmean(values[metric])
        for values in (measured(record), record.summary["raw"], record.summary["exact"])
    )
    errors = ", ".join(f"{of} {fmean(each):.4f}" for of, each in record.summary["errors"].items())
    told = f" ({_told(record)}), raw {raw:.4f}" if _told(record) else ""
    return (
        f"{SHORT[record.spec['split']]} {ours:.4f}{told}, exact {exact:.4f} on the same "
        f"{_many(record.summary['rows'], 'text')}; standard errors of one seed: {errors}"
        f"{_costs(record)}{_ran(record)}"
    )


def _costs(record: Record) -> str:
    """What its circuit costs on the chip, as it is and in the form that it has there."""
    costs = dict(record.summary.get("costs", {}))
    if len(costs) > 1 and len({tuple(cost.values()) for cost in costs.values()}) == 1:
        costs.pop("as-is", None)  # it has no other form
    return "".join(
        f"; {form}: {cost['cz']:.0f} CZ, depth {cost['depth']:.0f}, {cost['duration_us']:.1f} µs, "
        f"fidelity {cost['fidelity']:.2f}"
        for form, cost in costs.items()
    )


def _ran(record: Record) -> str:
    """As what its circuits were run, where a processor says so."""
    run = record.summary.get("run", {})
    by = ", ".join(run.get("calibrations", ()))
    moved, changed = run.get("moved", 0), run.get("changed", 0)
    parts = [
        f"run by calibration {by}" if by else "",
        f"{moved:,} of {run['tasks']:,} circuits were read from other qubits than those that they "
        "were laid out on"
        if moved
        else "",
        f"{changed:,} of {run['tasks']:,} circuits were run with another number of two-qubit gates "
        "than they were sent with"
        if changed
        else "",
    ]
    return "".join(f"; {part}" for part in parts if part)


class Ran(Spec):
    """What is told of a run on a processor."""

    name: str
    """The plan's."""
    tasks: Count
    seconds: Number
    read_right: tuple[tuple[Number, ...], ...]
    """How often each layout's qubits were read right."""
    drift: Number
    """By how much that changed at most, from the first circuits to the last."""
    calibrations: tuple[str, ...] = ()
    """The platform's names of those that circuits were run by."""
    moved: Count = 0
    """Circuits whose bits were read from other qubits than they were laid out for."""
    changed: Count = 0
    """Circuits that were run with another number of two-qubit gates than they were sent with."""


_METRICS = dict[str, Annotated[list[Number], Field(min_length=1)]]
MEASUREMENTS = Kind(
    name="measurements",
    label="measurements",
    spec=MeasurementSpec,
    digests=_digests,
    maker="jobs.measure",
    phase=lambda spec: str(spec.target),
    evaluation=_named,
    offers=(
        *OFFERED,
        "shots:1024",
        "the same of a calibration file, as in chip.json-noise",
        "and of IBM's fake chips, as in fake_fez-sim",
    ),
    suits=_suits,
    tried=_tried,
    content={
        "metrics": _METRICS,
        "raw": _METRICS,
        "exact": _METRICS,
        "errors": _METRICS,
        "costs": dict[str, dict[str, Number]],
        "rows": Count,
        "calibration": dict[str, Any],
        "run": Ran,
    },
    shape=lambda record, name: (None, None, None) if name != "rows" else (None,),
    told={
        "": "spec/target",
        "shots": "spec/shots",
        "rows": "summary/rows",
        "mitigation": "spec/mitigation",
        "test": "metrics/test.accuracy",
    },
    standing=_standing,
    figures=_figures,
    opinion=_opinion,
    title=_title,
    kept="source",
)
KINDS = (MEASUREMENTS,)
