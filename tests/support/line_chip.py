"""A small chip whose qubits lie in a line, and what a circuit can be given on it."""

from pathlib import Path

import torch

from qdllm.circuits.circuit import angle_count, weight_count
from qdllm.circuits.spec import CircuitSpec
from qdllm.processors.calibration import Calibration


def line(qubits: int, worse: float = 1.0) -> Calibration:
    """A chip in a line whose qubits differ. `worse`: 0 for a perfect one."""
    return Calibration.parse(
        {
            "chip": "line",
            "time": "now",
            "one_qubit_ns": 64,
            "two_qubit_ns": 224,
            "readout": {"reads_0_as_1": 0.03, "reads_1_as_0": 0.1},
            "qubits": [
                {
                    "index": q,
                    "t1_us": (60.0 + 5 * q) if worse else 1e9,
                    "t2_us": (18.0 + 3 * q) if worse else 1e9,
                    "fidelity": 1 - worse * (0.002 + 0.001 * q),
                }
                for q in range(qubits)
            ],
            "couplers": [
                {"qubits": [q, q + 1], "fidelity": 1 - worse * (0.015 + 0.004 * q)}
                for q in range(qubits - 1)
            ],
        }
    )


def turned_bit(folder: Path) -> str:
    """A circuit's file in which texts turn nothing but a qubit that is but a bit."""
    (folder / "bit.qasm").write_text(
        'OPENQASM 3.0;\ninclude "stdgates.inc";\ninput float[64] x;\ninput float[64] a;\n'
        "input float[64] b;\nqubit[3] q;\nrx(x) q[2];\nry(a) q[0];\nry(b) q[1];\n"
        "cx q[2], q[0];\ncz q[0], q[1];\n"
    )
    return str(folder / "bit.qasm")


def inputs(made: CircuitSpec, examples: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    """Angles (N, A) and weights (W,), without symmetry."""
    generator = torch.Generator().manual_seed(3)
    angles, weights = angle_count(made), weight_count(made)
    return (
        torch.randn(examples, angles, generator=generator, dtype=torch.float64),
        torch.randn(weights, generator=generator, dtype=torch.float64),
    )
