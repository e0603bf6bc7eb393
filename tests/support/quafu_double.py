"""A platform on loopback that speaks Quafu's protocol to its real SDK, and can misbehave."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from qiskit import qasm2
from qiskit.quantum_info import Statevector

KEY = "qf_0123456789abcdef0123456789abcdef"
QUBITS = 6


@dataclass
class Platform:
    """What it has, and how it behaves."""

    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)
    status: str = "online"
    calibrated: str = "2026-11-26T10:00:00"
    order: str | None = "c0_rightmost"
    reverse: bool = False
    """Whether bits come the other way round than it says."""
    dead: int | None = None
    """A classical bit that always comes as 0."""
    share: float = 1.0
    """Of the shots that were asked for, those that come back."""
    fails: dict[str, bool] = field(default_factory=dict)
    """Names of circuits that fail once, and whether that may pass."""
    drops: int = 0
    """How many answers to what was sent are lost, once that was taken."""
    refuses: int = 0
    """How many times sending is refused for the day's quota."""
    compiles: Callable[[str], str] = lambda qasm: qasm
    """What becomes of a circuit before it is run."""
    taken: Callable[[], None] = lambda: None
    """Called once circuits were taken, before anybody is told."""
    step: int = 1
    most: int = 40
    """Circuits of one job."""
    failed: set[str] = field(default_factory=set)

    @property
    def tasks(self) -> list[dict[str, Any]]:
        """Of all jobs."""
        return [task for job in self.jobs.values() for task in job["tasks"]]

    def run(self, qasm: str, shots: int) -> dict[str, int]:
        read = measured(qasm)
        made = qasm2.loads(qasm)
        made.remove_final_measurements()
        p_X = Statevector(made).probabilities()
        generator = np.random.default_rng(len(self.tasks))
        counts: dict[str, int] = {}
        for x, count in enumerate(generator.multinomial(round(shots * self.share), p_X)):
            bits = "".join(
                "0" if bit == self.dead else str(x >> q & 1) for bit, q in enumerate(read)
            )
            key = bits if self.reverse else bits[::-1]
            if count:
                counts[key] = counts.get(key, 0) + int(count)
        return counts

    def send(self, job: dict[str, Any], body: dict[str, Any]) -> list[str]:
        if body["client_ref"] in job["refs"]:
            return job["refs"][body["client_ref"]]
        ids = []
        for circuit in body["circuits"]:
            name, error = circuit["name"], None
            if name in self.fails and name not in self.failed:
                self.failed.add(name)
                error = {"category": "hardware.lost", "retryable": self.fails[name]}
            executed = self.compiles(circuit["qasm"])
            counts = None if error else self.run(executed, job["shots"])
            ids.append(f"{job['id']}-{len(job['tasks'])}")
            job["tasks"].append(
                {
                    "name": name,
                    "iteration": circuit["iteration"],
                    "qasm": circuit["qasm"],
                    "executed": executed,
                    "calibration": f"cal-{self.calibrated}",
                    "counts": counts,
                    "error": error,
                }
            )
        job["refs"][body["client_ref"]] = ids
        return ids


def measured(qasm: str) -> list[int]:
    """The qubit that each classical bit reads."""
    made = qasm2.loads(qasm)
    return [made.find_bit(one.qubits[0]).index for one in made.data if one.name == "measure"]


class Handler(BaseHTTPRequestHandler):
    platform: Platform

    def log_message(self, *args: Any) -> None:
        pass

    def answer(self, body: Any, status: int = 200) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        self.seen()
        path, platform = self.path.removeprefix("/api/v1").partition("?")[0], self.platform
        parts = path.strip("/").split("/")
        if parts[0] == "backends":
            limits = {"max_qubits": QUBITS, "min_shots": 1, "max_shots": 100_000}
            limits |= {"shots_step": platform.step, "max_tasks_per_job": platform.most}
            self.answer({"n_qubits": QUBITS, "limits": limits})
        elif path == "/devices":
            row = {"name": "Six", "status": platform.status, "simulator_available": True}
            self.answer({"simulator": {"status": "online"}, "devices": [row]})
        elif path == "/stats/me":
            quota = {"used": 3, "limit": 500, "hard_limit": 1000, "remaining": 497}
            self.answer({"quota": {"real": quota, "noisy": quota, "sim": quota}})
        elif parts[0] == "devices":
            self.answer(self.calibration())
        elif parts[0] == "jobs" and parts[1] in platform.jobs:
            self.job(platform.jobs[parts[1]], *parts[2:])
        else:
            self.answer({"error": "there is none", "code": "not_found"}, 404)

    def calibration(self) -> dict[str, Any]:
        qubits = [
            {"index": q, "t1_us": 70.0, "t2_us": 24.0, "fidelity": 0.999} for q in range(QUBITS)
        ]
        measured = [
            {"index": q, "readout_fidelity_0": 0.97, "readout_fidelity_1": 0.9}
            for q in range(QUBITS)
        ]
        couplers = [
            {"qubits": [q, q + 1], "cz_fidelity": 0.98 + 0.002 * q} for q in range(QUBITS - 1)
        ]
        return {
            "id": f"cal-{self.platform.calibrated}",
            "chip": "Six",
            "calibrated_at": self.platform.calibrated,
            "qubits": qubits,
            "couplers": couplers,
            "measured": {"qubits": measured},
            "one_qubit_ns": 64,
            "two_qubit_ns": 224,
        }

    def job(self, job: dict[str, Any], what: str, seq: str = "") -> None:
        tasks = job["tasks"]
        if what == "tasks":
            self.answer(self.detail(job, int(seq)))
            return
        if what == "status":
            counts = {"queued": 0, "running": 0, "finished": len(tasks), "total": len(tasks)}
            self.answer({"status": "Running", "open": True, "counts": counts})
            return
        self.answer(
            {
                "job_id": job["id"],
                "total": len(tasks),
                "bit_order": self.platform.order,
                "seq": list(range(len(tasks))),
                "iterations": [task["iteration"] for task in tasks],
                "names": [task["name"] for task in tasks],
                "status": ["Failed" if task["error"] else "Finished" for task in tasks],
                "counts": [task["counts"] for task in tasks],
                "shots_returned": [sum((task["counts"] or {}).values()) for task in tasks],
                "errors": [task["error"] for task in tasks],
            }
        )

    def detail(self, job: dict[str, Any], seq: int) -> dict[str, Any]:
        task = job["tasks"][seq]
        read = measured(task["executed"])
        return {
            "task_id": f"{job['id']}-{seq}",
            "status": "Failed" if task["error"] else "Finished",
            "kind": "real",
            "chip": "Six",
            "result": {
                "counts": task["counts"],
                "bit_order": self.platform.order,
                "n_clbits": len(read),
                "shots_returned": sum((task["counts"] or {}).values()),
            },
            "circuit": {
                "measurements": [{"cbit": c, "physical_qubit": q} for c, q in enumerate(read)],
                "executed": {"text": task["executed"]},
            },
            "execution": {"shots_requested": job["shots"], "compiler": {"name": "none"}},
            "calibration": {"id": task["calibration"]},
            "error": task["error"],
        }

    def do_POST(self) -> None:
        self.seen()
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        platform, parts = (
            self.platform,
            self.path.removeprefix("/api/v1/jobs").strip("/").split("/"),
        )
        if parts == [""]:
            for job in platform.jobs.values():
                if job["ref"] == body["client_ref"]:
                    break
            else:
                name = f"j{len(platform.jobs)}"
                job = {"id": name, "ref": body["client_ref"], "name": body["name"], "refs": {}}
                job |= {"shots": body["shots"], "tasks": []}
                platform.jobs[name] = job
            self.lose_or(lambda: self.answer({"job_id": job["id"], "open": True}))
            return
        if parts[1] == "close":
            platform.jobs[parts[0]]["closed"] = True
            self.answer({"open": False, "status": "Finished"})
            return
        if platform.refuses:
            platform.refuses -= 1
            vars_ = {"hard_limit": 1000, "used": 1000, "limit": 500, "wait_s": 3600}
            self.answer({"error": "quota", "code": "runtime.quotaExhausted", "vars": vars_}, 429)
            return
        ids = platform.send(platform.jobs[parts[0]], body)
        platform.taken()
        self.lose_or(lambda: self.answer({"task_ids": ids}))

    def lose_or(self, answer: Callable[[], None]) -> None:
        if self.platform.drops:
            self.platform.drops -= 1
            self.connection.close()
        else:
            answer()

    def seen(self) -> None:
        self.platform.requests.append(f"{self.command} {self.path}")
        self.platform.keys.add(self.headers.get("Authorization", ""))


@contextmanager
def serving(**behaviour: Any) -> Iterator[tuple[Platform, dict[str, str]]]:
    """A platform, and the environment in which the SDK finds it."""
    platform = Platform(**behaviour)
    handler = type("Own", (Handler,), {"platform": platform})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_port}"
        yield platform, {"QUAFU_BASE_URL": url, "QUAFU_API_KEY": KEY}
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
