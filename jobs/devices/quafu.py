"""The Quafu platform, by its SDK: Baihua and its other processors, and their simulators.

Keys come from where the SDK looks for them, QUAFU_API_KEY or its own login, and go nowhere else.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from jobs.devices.protocol import Counted, Limits, Task
from qdllm.errors import ConfigError, DeviceError, nearest
from qdllm.messages import shown, some
from qdllm.processors import chips
from qdllm.processors.calibration import Calibration

SIMULATED = ("-sim", "-sim-jiuding")
"""How targets end that are simulators of a chip; `sim` alone has no chip."""
OTHERWISE = ("all-race", "all-redispatch")
"""Targets that may be another device each time."""
FINISHED = ("Finished", "Failed", "Cancelled")
KEPT = "counts,executed"
"""What is asked for of a task that is done."""
RAW = ("task_id", "backend", "compiler", "shots_requested", "shots_returned", "n_clbits", "error")
"""What else is kept of it."""


class Quafu:
    """See Processor."""

    seconds_per_shot = 10.5 / 10_240
    """Of published runs: tasks of 10,240 shots followed one another every 10.5 s."""

    def __init__(self, target: str) -> None:
        """Raises ConfigError without the SDK, without a key, or for a target that wanders."""
        if target in OTHERWISE:
            raise ConfigError(
                f"quafu:{target} runs on whichever device is free, for which no layout can be "
                "made; name one, as in quafu:Baihua"
            )
        try:
            from quafu import Client, QuafuError
        except ModuleNotFoundError:
            raise ConfigError(
                f"quafu:{target} needs the platform's SDK: pip install 'qdllm-sweeps[quafu]'"
            ) from None
        except ImportError as error:
            raise ConfigError(
                f"quafu:{target} needs the platform's SDK, quafu-sdk, but other packages are "
                "called quafu too: uninstall them, then pip install 'qdllm-sweeps[quafu]' "
                f"({error})"
            ) from None
        self._target = target
        self._chip = target
        for end in SIMULATED:
            self._chip = self._chip.removesuffix(end)
        self.free = target == "sim" or target.endswith(SIMULATED)
        self._errors: type[Exception] = QuafuError
        with self._told("open the platform's client"):
            self._client = Client()
        credential = self._client.credential
        if credential is None or credential.expired():
            raise ConfigError(
                f"quafu:{target} needs a key: set QUAFU_API_KEY, or log in once with "
                "`python -m quafu login`"
            )

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """The SDK's errors, which mask keys, as ours."""
        try:
            yield
        except self._errors as error:
            raise DeviceError(f"Quafu did not {what}: {error}") from None

    def limits(self) -> Limits:
        """As Processor does."""
        with self._told(f"describe {self._target}"):
            named = {one["name"]: one for one in self._client.devices()}
            if self._target not in named:
                hint = nearest(self._target, list(named)) or "."
                raise ConfigError(
                    f"Quafu has no target {shown(self._target)}{hint} There are: "
                    f"{some(sorted(named))}"
                )
            told = self._client.metadata(self._target)
            quota = (self._client.stats().get("quota") or {}).get(self._kind) or {}
        limits = told.get("limits") or {}
        status = str(named[self._target].get("status") or "unknown")
        left, hard = quota.get("remaining"), quota.get("hard_limit")
        known = left is not None
        return Limits(
            status=status,
            # A simulator that is being started takes tasks already.
            online=status == "online" or (self.free and status == "starting"),
            qubits=int(limits.get("max_qubits") or told.get("n_qubits") or 0),
            min_shots=int(limits.get("min_shots") or 1),
            max_shots=int(limits.get("max_shots") or 10**9),
            shots_step=int(limits.get("shots_step") or 1),
            tasks=int(limits.get("max_tasks_per_job") or 1000),
            quota=f"{left} tasks left of today's, {hard} at most" if known else "",
        )

    @property
    def _kind(self) -> str:
        if not self.free:
            return "real"
        return "noisy" if self._target.endswith("-sim") else "sim"

    def calibration(self) -> Calibration:
        """As Processor does. What the platform does not tell is taken of the chip's own record."""
        with self._told(f"tell the calibration of {self._chip}"):
            told = self._client.device_calibration(self._chip)
        known = chips.NAMES and self._chip.lower() in chips.NAMES
        own = chips.calibration(self._chip.lower()) if known else None
        return converted(told, own)

    def open(self, name: str, shots: int) -> str:
        """As Processor does."""
        with self._told("open a job"):
            job = self._client.open_job(self._target, shots=shots, compiler="none", name=name)
        return str(job.id)

    def append(self, job: str, chunk: int, tasks: Sequence[Task], shots: int) -> list[str]:
        """As Processor does."""
        circuits = [
            {"qasm": task.circuit.template.bound(task.point), "name": task.name} for task in tasks
        ]
        with self._told(f"take {len(tasks)} circuits"):
            return list(self._client.job(job).append(circuits=circuits, iteration=chunk))

    def accepted(self, job: str) -> Mapping[int, list[str]]:
        """As Processor does."""
        with self._told(f"tell what it has of job {job}"):
            table = self._client.job(job).table(wait=False)
        found: dict[int, list[str]] = {}
        for iteration, seq in zip(table.iterations, table.seq, strict=True):
            found.setdefault(int(iteration), []).append(f"{job}-{seq}")
        return found

    def results(
        self, job: str, chunk: int, ids: Sequence[str], tasks: Sequence[Task]
    ) -> list[Counted] | None:
        """As Processor does."""
        with self._told(f"give results of job {job}"):
            held = self._client.job(job)
            table = held.table(wait=False)
            rows = [row for row, number in enumerate(table.iterations) if number == chunk]
            if len(rows) < len(tasks) or any(table.status[row] not in FINISHED for row in rows):
                return None
            # The SDK's own results() waits for all tasks of the job, those of later chunks too.
            return [_counted(held._get(f"/tasks/{table.seq[row]}?include={KEPT}")) for row in rows]

    def close(self, job: str) -> None:
        """As Processor does. One that is closed already stays so."""
        with self._told(f"close job {job}"):
            self._client.job(job).close()


def _counted(detail: dict[str, Any]) -> Counted:
    """A task as the platform tells it, by the SDK's reading of that."""
    from quafu.jobs import Result

    told = Result(detail)
    error, read = told.error or {}, told.measurements or []
    plain = {
        "counts": told.counts,
        "order": told.bit_order,
        "error": "" if told.ok else str(error.get("category") or told.status),
        "retryable": bool(error.get("retryable")),
        "qubits": [one.get("physical_qubit") for one in sorted(read, key=_bit)] or None,
        "calibration": told.calibration_id,
        "executed": told.executed_qasm,
        "raw": {name: getattr(told, name) for name in RAW},
    }
    try:
        return Counted.parse(plain)
    except ConfigError as error:
        raise DeviceError(
            f"Quafu told of task {shown(told.task_id)} what is none: {error}"
        ) from None


def _bit(measurement: dict[str, Any]) -> int:
    return int(measurement["cbit"])


def converted(told: Any, own: Calibration | None) -> Calibration:
    """The platform's snapshot as our record. `own`: for what it does not say.

    Raises DeviceError where a snapshot says too little and there is none.
    """
    taken: list[str] = []

    def known(what: str, given: Any, otherwise: Callable[[Calibration], Any]) -> Any:
        if given:
            return given
        if own is None:
            raise DeviceError(
                f"the snapshot of {shown(told.chip)} does not tell {what}; measure with a "
                "calibration file of your own instead, as in chip.json-sim"
            )
        taken.append(what)
        return otherwise(own)

    read = {one.get("index"): one for one in (told.measured or {}).get("qubits") or []}
    qubits = []
    for one in told.qubits:
        index = one["index"]
        measured = read.get(index, {})
        zero, unit = measured.get("readout_fidelity_0"), measured.get("readout_fidelity_1")
        readout, dead = None, False
        if zero and unit:
            dead = min(zero, unit) <= 0.5
            # Read by chance, or worse: nothing is to lie there.
            wrong = [0.49 if dead else 1 - right for right in (zero, unit)]
            readout = {"reads_0_as_1": wrong[0], "reads_1_as_0": wrong[1]}
        fidelity = one.get("gate_fidelity") or one.get("fidelity")
        qubits.append(
            {
                "index": index,
                "t1_us": one.get("t1_us") or 0.0,
                "t2_us": one.get("t2_us") or 0.0,
                "fidelity": known("fidelities of rotations", fidelity, _fidelity(index))
                if one.get("t1_us") and not dead
                else 0.0,
                "readout": readout or known("errors of reading", None, lambda c: None),
            }
        )
    made = {
        "chip": str(told.chip),
        "time": str(told.calibrated_at),
        "one_qubit_ns": known(
            "durations of rotations", told.raw.get("one_qubit_ns"), lambda c: c.one_qubit_ns
        ),
        "two_qubit_ns": known(
            "durations of CZ", told.raw.get("two_qubit_ns"), lambda c: c.two_qubit_ns
        ),
        "readout": own.readout.model_dump() if own and own.readout else None,
        "qubits": qubits,
        "couplers": [
            {"qubits": list(one["qubits"]), "fidelity": one.get("cz_fidelity") or 0.0}
            for one in told.couplers
        ],
    }
    lacking = f"; {', '.join(dict.fromkeys(taken))} of {own.chip} {own.time}" if own else ""
    return Calibration.parse(made | {"source": f"Quafu's snapshot {told.id}{lacking}"})


def _fidelity(index: int) -> Callable[[Calibration], float]:
    return lambda own: own.qubit(index).fidelity
