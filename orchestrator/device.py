"""`python -m orchestrator.device`: a trained student on shots, on a noisy chip, on a real one."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from jobs.command import Parser, status
from jobs.store import Store
from orchestrator import options, processors, tracking
from orchestrator.grid import yaml_lines
from qdllm import outside
from qdllm.errors import ConfigError
from qdllm.messages import shown

MODEL = "models:/"
ASKS = ("target", "rows", "set", "dry_run", "confirm", "label", "export")
"""What says what shall be done, but for --fetch."""
DETACHED = (
    "detached; what a processor was sent runs on: the same command goes on, and "
    "python -m orchestrator.device --fetch takes what comes of it"
)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    command = Parser(
        prog="python -m orchestrator.device",
        description="Measure a trained student as a device would, simulated or real; or write its "
        "circuits as OpenQASM.",
    )
    command.add_argument(
        "champion",
        nargs="?",
        metavar="CHAMPION",
        help="a student's fingerprint, or the beginning of it; or models:/NAME@champion",
    )
    command.add_argument(
        "--target",
        metavar="NAME",
        help="shots; baihua-noise or baihua-sim, and the same of a calibration file or one of "
        "IBM's fake chips (chip.json-noise, fake_fez-sim); quafu:CHIP or ibm:CHIP",
    )
    command.add_argument("--rows", type=int, metavar="N", help="test texts (default: all)")
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="shots, trajectories, form, mitigation, calibration_texts, seed, split",
    )
    command.add_argument(
        "--dry-run",
        action="store_true",
        help="of quafu:CHIP and ibm:CHIP: show what would be sent and what it costs, and stop",
    )
    command.add_argument(
        "--confirm", metavar="PLAN", help="send the plan that --dry-run has named so"
    )
    command.add_argument(
        "--label", metavar="WORD", help="tells runs on one processor apart (default: first)"
    )
    command.add_argument(
        "--fetch", action="store_true", help="take what has come of all runs, and send nothing"
    )
    command.add_argument(
        "--export", metavar="DIR", help="a new folder for OpenQASM 2 and 3, weights and a README"
    )
    options.add(command)
    return command


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns 0, 1 for what failed, 2 for input that cannot be used."""
    chosen = parser().parse_args(arguments)
    return status(lambda: device(chosen), "error: ", DETACHED)


def device(chosen: argparse.Namespace) -> int:
    """Do what the command line asks for. Returns 0, or 1 where a run is not whole yet."""
    os.environ |= tracking.ENVIRONMENT
    asked = [flag for flag in ASKS if getattr(chosen, flag) not in (None, False, [])]
    if chosen.fetch:
        if chosen.champion is not None or asked:
            raise ConfigError("--fetch takes what came of all runs, so it stands alone")
        return _with(chosen, processors.fetch)
    if bool(chosen.target) == bool(chosen.export):
        raise ConfigError("give --target NAME to measure the student, or --export DIR")
    if chosen.dry_run and chosen.confirm is not None:
        raise ConfigError(
            "--dry-run sends nothing, and --confirm sends what a plan says; leave one of them out"
        )
    if chosen.export and asked != ["export"]:
        flag = next(flag for flag in asked if flag != "export").replace("_", "-")
        raise ConfigError(f"--export writes the student as it is; leave --{flag} out")
    if not chosen.champion:
        raise ConfigError(f"give a student's fingerprint, or {MODEL}NAME@champion")
    spec = _asked(chosen) if chosen.target else None
    if spec is not None and not _real(spec) and (chosen.confirm is not None or chosen.dry_run):
        raise ConfigError(
            f"{spec.target} is simulated here and costs nothing: leave --dry-run and --confirm out"
        )

    def done(where: options.Locations) -> int:
        student = _student(where, chosen.champion)
        if spec is None:
            return _export(where.store, student, chosen.export)
        if _real(spec):
            return processors.ask(where, student, spec, chosen.dry_run, chosen.confirm)
        return _measure(where, student, spec)

    return _with(chosen, done)


def _with(chosen: argparse.Namespace, do: Callable[[options.Locations], int]) -> int:
    """Do it where the command line says. Of a store that was none, nothing is left."""
    where = options.read(chosen)
    try:
        return do(where)
    finally:
        where.store.tidy()


def _real(spec: Any) -> bool:
    from qdllm.processors.spec import parsed

    return parsed(spec.target).real


def _asked(chosen: argparse.Namespace) -> Any:
    """The measurement that the command line describes."""
    from qdllm.processors.spec import MeasurementSpec, settings

    given = settings(chosen.target)
    if chosen.rows is not None:
        given["rows"] = chosen.rows
    if chosen.label is not None:
        given["label"] = chosen.label
    for setting in chosen.set:
        key, equals, text = setting.partition("=")
        if not equals:
            raise ConfigError(f"--set {shown(setting)} has no '='; write key=value, as shots=1024")
        if key in given:
            raise ConfigError(f"{key} is given twice; keep one of them")
        given[key] = yaml_lines.value(text)
    return MeasurementSpec.parse(given)


def _student(where: options.Locations, name: str) -> str:
    """A student's fingerprint. Raises ConfigError where none, or several, are meant."""
    if name.startswith(MODEL):
        from orchestrator.tracking.models import student_of

        return processors.student(where.store, student_of(where.tracking, name)).fingerprint
    from qdllm import families

    kind = families.family(families.DEFAULT).kind
    known = where.store.fingerprints(kind)
    found = [one for one in known if one.startswith(name)]
    if len(found) != 1:
        what = f"{len(found)} students begin so" if found else "no student does"
        raise ConfigError(
            f"{shown(name)} shall begin a student's fingerprint, but {what} in {where.store.uri}; "
            f"python -m jobs.store ls --kind {kind} lists them"
        )
    return found[0]


def _measure(where: options.Locations, student: str, spec: Any) -> int:
    """Measure it in this process, unless the store has it, and say what came of it."""
    from jobs import measure
    from jobs.kinds import Job
    from jobs.kinds.measurements import MEASUREMENTS

    job = Job.of(MEASUREMENTS.name, spec, {"student": student, **MEASUREMENTS.digests(spec)})
    with processors.terminal(where) as terminal:
        with terminal.phase(spec.target) as phase:
            measure.run(
                job,
                processors.texts(where.store, student),
                where.store,
                lambda name, done, total, note: phase.hear(done, total, note),
            )
            made = where.store.record(job.kind, job.fingerprint)
            assert made is not None, "a maker that failed has raised"
            phase.note = processors.opinion(where.store, made)
        processors.tell(where, terminal, made)
    return 0


def _export(store: Store, student: str, folder: str) -> int:
    from jobs.export import export

    print(*export(store, student, outside.path(folder)), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
