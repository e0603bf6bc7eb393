"""IBM's processors by qiskit-ibm-runtime's SamplerV2, and its fake chips on this machine.

Tokens come from where the client looks for them, its saved account or environment, and go nowhere
else. Of a job that was sent nothing is known but its tags, so each has one of its own.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from jobs.devices.protocol import Counted, Limits, Task
from qdllm.errors import ConfigError, DeviceError
from qdllm.processors import chips, fake
from qdllm.processors.calibration import Calibration
from qdllm.processors.native import Native

CHUNK = re.compile(r"-c(\d+)$")
LOST = Counted(counts=None, error="lost with its process", retryable=True)
"""What becomes of a fake chip's task whose process ends."""
REPETITION = 250e-6
"""Seconds from one shot to the next, by default on IBM's processors."""


class Ibm:
    """See Processor."""

    seconds_per_shot = REPETITION

    def __init__(self, chip: str) -> None:
        """Raises ConfigError without the client, without an account, or for an unknown chip."""
        self.free = chips.FAKE.fullmatch(chip) is not None
        self._local: dict[str, dict[int, Any]] = {}
        self._service: Any = None
        self._chip = chip
        if self.free:
            self._backend = fake.backend(chip)
            return
        try:
            from qiskit_ibm_runtime import QiskitRuntimeService
            from qiskit_ibm_runtime.accounts.exceptions import AccountNotFoundError
        except ImportError:
            raise ConfigError(
                f"ibm:{chip} needs qiskit-ibm-runtime: pip install 'qdllm-sweeps[ibm]'"
            ) from None
        try:
            self._service = QiskitRuntimeService()
            self._backend = self._service.backend(chip)
        except AccountNotFoundError:
            raise ConfigError(
                f"ibm:{chip} needs an account: save one with QiskitRuntimeService.save_account"
            ) from None
        except Exception as error:  # whatever the client's many layers raise
            raise DeviceError(f"IBM did not open {chip}: {type(error).__name__}") from None

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """The client's errors by their name alone: their texts may repeat a request's headers."""
        try:
            yield
        except DeviceError:
            raise
        except Exception as error:  # whatever the client's many layers raise
            raise DeviceError(
                f"IBM did not {what}: {type(error).__name__}; the same command goes on from here"
            ) from None

    def limits(self) -> Limits:
        """As Processor does."""
        with self._told(f"describe {self._chip}"):
            status = None if self.free else self._backend.status()
            most = getattr(self._backend, "max_shots", None) or 100_000
            pending = f"{status.pending_jobs} jobs wait before it" if status else ""
            online = status is None or bool(status.operational)
        name = "online" if online else "offline"
        return Limits(name, online, self._backend.num_qubits, 1, int(most), 1, 10_000, pending)

    def calibration(self) -> Calibration:
        """As Processor does."""
        with self._told(f"tell the calibration of {self._chip}"):
            return fake.of_target(self._backend.target, self._chip)

    def open(self, name: str, shots: int) -> str:
        """As Processor does: a job is but a tag."""
        self._local.setdefault(name, {})
        return name

    def append(self, job: str, chunk: int, tasks: Sequence[Task], shots: int) -> list[str]:
        """As Processor does: one pub for each circuit, with a table of its points."""
        from qiskit.transpiler import generate_preset_pass_manager
        from qiskit_ibm_runtime import SamplerV2

        manager = generate_preset_pass_manager(
            optimization_level=1, backend=self._backend, layout_method="trivial"
        )
        pubs = []
        for circuit, numbers in _pubs(tasks).items():
            made, names = _circuit(circuit)
            isa = manager.run(made)
            points = [dict(zip(names, tasks[n].point, strict=True)) for n in numbers]
            values = [[point[p.name] for p in isa.parameters] for point in points]
            pubs.append((isa, values if names else None))
        with self._told(f"take {len(tasks)} circuits"):
            sampler = SamplerV2(mode=self._backend)
            if not self.free:
                sampler.options.environment.job_tags = [job, f"{job}-c{chunk}"]
            sent = sampler.run(pubs, shots=shots)
        self._local.setdefault(job, {})[chunk] = sent
        return [str(sent.job_id())]

    def accepted(self, job: str) -> Mapping[int, list[str]]:
        """As Processor does: jobs are found by their tags, whose ids alone are known then."""
        if self.free:
            held = self._local.get(job, {})
            return {chunk: [str(sent.job_id())] for chunk, sent in held.items()}
        with self._told("search for jobs by their tags"):
            sent = self._service.jobs(limit=None, job_tags=[job])
            tagged = [
                (match[1], one) for one in sent for tag in one.tags if (match := CHUNK.search(tag))
            ]
        return {int(chunk): [one.job_id()] for chunk, one in tagged}

    def results(
        self, job: str, chunk: int, ids: Sequence[str], tasks: Sequence[Task]
    ) -> list[Counted] | None:
        """As Processor does."""
        with self._told(f"give results of job {ids[0]}"):
            sent = self._local.get(job, {}).get(chunk)
            if sent is None and self.free:
                return [LOST] * len(tasks)
            sent = sent or self._service.job(ids[0])
            status = str(getattr(sent.status(), "name", sent.status()))
            if status in ("ERROR", "CANCELLED"):
                return [Counted(counts=None, error=status.lower())] * len(tasks)
            if status != "DONE":
                return None
            made = sent.result()
        found: dict[int, Counted] = {}
        for pub, (_, numbers) in enumerate(_pubs(tasks).items()):
            bits = made[pub].data.c
            for row, number in enumerate(numbers):
                counts = bits.get_counts(row if bits.shape else None)
                found[number] = Counted(
                    counts=counts, order="c0_rightmost", raw={"job": ids[0], "pub": pub}
                )
        return [found[number] for number in range(len(tasks))]

    def close(self, job: str) -> None:
        """As Processor does: a tag needs no closing."""


def _pubs(tasks: Sequence[Task]) -> dict[Native, list[int]]:
    """Which tasks run one circuit."""
    order: dict[Native, list[int]] = {}
    for number, task in enumerate(tasks):
        order.setdefault(task.circuit, []).append(number)
    return order


def _circuit(native: Any) -> tuple[Any, tuple[str, ...]]:
    """Qiskit's own, with a parameter for each place."""
    from qiskit.circuit import ClassicalRegister, Parameter, QuantumCircuit, QuantumRegister

    made = QuantumCircuit(
        QuantumRegister(native.circuit.qubits, "q"), ClassicalRegister(len(native.measured), "c")
    )
    names = native.template
    places = dict(zip(names.angles, map(Parameter, names.names), strict=True))
    for gate in native.circuit.gates:
        angles = [places.get(angle, angle.offset) for angle in gate.angles]
        getattr(made, gate.name)(*angles, *gate.qubits)
    for bit, qubit in enumerate(native.measured):
        made.measure(qubit, bit)
    return made, names.names
