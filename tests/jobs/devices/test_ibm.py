"""SamplerV2 on one of IBM's fake chips, and jobs that are found again by their tags."""

from types import SimpleNamespace

import numpy as np
import pytest

from jobs.devices.ibm import Ibm
from jobs.devices.protocol import Task
from qdllm.circuits.gates import Angle, Circuit, Gate, constant
from qdllm.errors import ConfigError
from qdllm.processors import readout
from qdllm.processors.native import Native, flipped

MEASURED = (3, 1, 2)


@pytest.fixture(scope="module")
def chip() -> Ibm:
    """Five qubits."""
    return Ibm("fake_manila")


@pytest.mark.filterwarnings("ignore")
def test_circuits_run_bound_by_a_table_and_bits_are_whose_they_are(chip):
    """One-hot circuits for every bit; and a rotation at three points, two circuits mixed."""
    size = chip.limits().qubits
    gates = (
        Gate("ry", (1,), (Angle(angle=0),)),
        Gate("cz", (1, 2)),
        Gate("rz", (1,), (constant(0.3),)),
        Gate("ry", (3,), (Angle(angle=1),)),
    )
    turned = Native(Circuit(size, gates, ("x0", "x1"), ()), MEASURED)
    hot = [Task(flipped(MEASURED, [bit], size)) for bit in range(3)]
    points = [(0.5, 2.0), (1.5, 1.0), (2.5, 0.2)]
    tasks = [Task(turned, points[0]), hot[0], Task(turned, points[1]), *hot[1:]]
    tasks += [Task(turned, points[2])]
    job = chip.open("qdllm-test", 512)
    ids = chip.append(job, 7, tasks, 512)
    assert chip.accepted(job) == {7: ids}
    while (found := chip.results(job, 7, ids, tasks)) is None:
        pass
    masks = [1, 2, 4]
    z_TQ = np.array([readout.counted(each.counts, each.order, masks, 3) for each in found])
    for number, bit in ((1, 0), (3, 1), (4, 2)):
        assert z_TQ[number].argmin() == bit
        assert z_TQ[number, bit] < -0.6
    for number, (one, other) in zip((0, 2, 5), points, strict=True):
        # Bit 1 reads qubit 1, and bit 0 qubit 3.
        assert abs(z_TQ[number, 1] - np.cos(one)) < 0.25
        assert abs(z_TQ[number, 0] - np.cos(other)) < 0.25
    lost = Ibm("fake_manila").results(job, 7, ids, tasks)
    assert lost is not None
    assert all(each.counts is None and each.retryable for each in lost)


def test_what_was_sent_is_found_by_its_tags():
    """The service's own answers, as far as we read them."""
    found = object.__new__(Ibm)
    found.free, found._local = False, {}
    asked = []

    def jobs(**how):
        asked.append(how)
        tags = [["qdllm-a", "qdllm-a-c0"], ["qdllm-a", "qdllm-a-c12"]]
        return [
            SimpleNamespace(tags=each, job_id=lambda n=n: f"d{n}") for n, each in enumerate(tags)
        ]

    found._service = SimpleNamespace(jobs=jobs)
    assert found.accepted("qdllm-a") == {0: ["d0"], 12: ["d1"]}
    assert asked == [{"limit": None, "job_tags": ["qdllm-a"]}]


def test_without_an_account_it_is_said_how_to_have_one(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ConfigError, match="unknown fake chip 'fake_none'"):
        Ibm("fake_none")
    import qiskit_ibm_runtime
    from qiskit_ibm_runtime.accounts.exceptions import AccountNotFoundError

    def none() -> None:
        raise AccountNotFoundError("Unable to find account.")

    monkeypatch.setattr(qiskit_ibm_runtime, "QiskitRuntimeService", none)
    with pytest.raises(ConfigError, match=r"ibm:ibm_fez needs an account: save one with"):
        Ibm("ibm_fez")
