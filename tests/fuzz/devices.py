"""Calibration files that people have, and runs on processors that a store tells of."""

import json
import random
from contextlib import suppress
from pathlib import Path
from typing import Any

from given import ODDITIES, Case, anything, damaged

from jobs.devices import runs
from jobs.devices.protocol import Counted
from jobs.devices.runs import Plan, RunFolder
from jobs.store import Store
from qdllm.processors import chips
from qdllm.processors.calibration import Calibration
from qdllm.processors.spec import MeasurementSpec

CHIP = {
    "chip": "mine",
    "time": "now",
    "one_qubit_ns": 64,
    "two_qubit_ns": 224,
    "readout": {"reads_0_as_1": 0.03, "reads_1_as_0": 0.1},
    "qubits": [
        {"index": 0, "t1_us": 69.4, "t2_us": 12.3, "fidelity": 0.999},
        {"index": 7, "t1_us": 86.0, "t2_us": 7.0, "fidelity": 0.999, "readout": None},
    ],
    "couplers": [{"qubits": [0, 7], "fidelity": 0.985}],
}
PARTS = ("", "readout", "qubits", "couplers")


def calibration(rng: random.Random, folder: Path) -> Case:
    """A chip's file that is right, one with something else in it, or one after an accident."""
    plain: dict[str, Any] = json.loads(json.dumps(CHIP))
    kind = rng.random()
    if 0.2 < kind < 0.6:
        _change(rng, plain)
    data = json.dumps(plain).encode()
    if kind >= 0.6:
        data = damaged(rng, data)
    path = folder / "chip.json"
    path.write_bytes(data)

    def check(chip: Calibration) -> str | None:
        held = {one.index for one in chip.qubits}
        beyond = [pair for pair in chip.usable() if not held.issuperset(pair)]
        return f"couplers of no qubits: {beyond}" if beyond else None

    valid = True if kind <= 0.2 else None
    return Case(f"{data!r:.300}", lambda: chips.calibration(str(path)), valid, [str(path)], check)


def _change(rng: random.Random, plain: dict[str, Any]) -> None:
    """Another value somewhere, or none."""
    part = rng.choice(PARTS)
    held = plain[part] if part else plain
    group = rng.choice(held) if isinstance(held, list) else held
    key = rng.choice(sorted(group))
    if rng.random() < 0.3:
        del group[key]
    else:
        group[key] = rng.choice((anything(rng), rng.choice(ODDITIES)))


def run(rng: random.Random, folder: Path) -> Case:
    """What is written down of a run, after an accident; and its reader."""
    store = Store(str(folder / "store"))
    chip = Calibration.parse(CHIP)
    spec = MeasurementSpec.parse({"target": "quafu:Six", "rows": 2, "label": "first"})
    plan = Plan(
        student="5" * 16,
        measurement=spec,
        seed=1,
        calibration=chip.digest,
        chunks=(4, 2),
        jobs=(0, 0),
        digest="d",
        seconds=1.0,
    )
    held = runs.started(store, plan, chip)
    held.note("opened-0", job="j0", time=1.0)
    held.note("taken-0", job="j0", ids=["j0-0"], time=2.0)
    held.keep(0, [Counted(counts={"01": 3}, order="c0_rightmost"), Counted(counts=None)])
    path = rng.choice([one for one in (folder / "store").rglob("*.json") if one.is_file()])
    before = path.read_bytes()
    if rng.random() < 0.5:
        path.write_bytes(damaged(rng, before))
    else:
        plain = json.loads(before)
        part = plain
        with suppress(IndexError, TypeError):  # down to something that has no parts
            while rng.random() < 0.8 and part:
                key = rng.choice(list(part) if isinstance(part, dict) else range(len(part)))
                value = rng.choice((anything(rng), rng.choice(ODDITIES)))
                inner, part[key] = part[key], part[key]
                if not isinstance(inner, dict | list) or rng.random() < 0.3:
                    part[key] = value
                    break
                part = inner
        path.write_text(json.dumps(plain))
    same = path.read_bytes() == before

    def read() -> RunFolder:
        again = RunFolder(Store(store.uri), held.name)
        if again.plan() != plan:
            raise AssertionError("another plan under its name")
        again.calibration(), again.event("opened-0"), again.event("taken-0"), again.counted(0)
        return again

    return Case(f"{path.name} as {path.read_bytes()!r:.300}", read, same or None, [path.name])
