"""Chips as records: the one that ships, IBM's fake ones, a user's file, and what is refused."""

import json
import statistics

import pytest

from qdllm.errors import ConfigError
from qdllm.processors import chips
from qdllm.processors.calibration import Calibration
from qdllm.processors.spec import MeasurementSpec, named
from qdllm.spec import fingerprint

BAIHUA = chips.calibration("baihua")
SMALL = {
    "chip": "mine",
    "time": "today",
    "one_qubit_ns": 30,
    "two_qubit_ns": 70,
    "readout": {"reads_0_as_1": 0.01, "reads_1_as_0": 0.02},
    "qubits": [
        {"index": 3, "t1_us": 100.0, "t2_us": 80.0, "fidelity": 0.999},
        {"index": 7, "t1_us": 100.0, "t2_us": 80.0, "fidelity": 0.999},
        {"index": 9, "t1_us": 0.0, "t2_us": 0.0, "fidelity": 0.0},
    ],
    "couplers": [
        {"qubits": [3, 7], "fidelity": 0.99},
        {"qubits": [7, 9], "fidelity": 0.99},
    ],
}


def test_baihua_is_the_public_snapshot():
    """By the summary that its operator published beside the figures."""
    known = [one for one in BAIHUA.qubits if one.t1_us]
    assert len(BAIHUA.qubits) == 156
    assert len(BAIHUA.couplers) == 182
    assert round(statistics.median(one.t1_us for one in known), 3) == 70.578
    assert round(statistics.mean(one.t1_us for one in known), 3) == 73.086
    assert round(statistics.median(one.t2_us for one in known), 3) == 23.79
    assert round(statistics.mean(one.t2_us for one in known), 3) == 26.359
    assert sum(one.fidelity == 0 for one in BAIHUA.couplers) == 42
    assert BAIHUA.digest == "97b05abe73003125"


def test_what_is_not_known_is_not_used():
    usable = BAIHUA.usable()
    assert len(usable) == 2 * 131
    assert min(usable.values()) >= 0.93
    assert all(66 not in pair and 111 not in pair for pair in usable)
    assert list(Calibration.parse(SMALL).usable()) == [(3, 7), (7, 3)]


def test_one_of_ibms_fake_chips():
    found = chips.calibration("fake_fez")
    assert found.chip == "fake_fez"
    assert len(found.qubits) == 156
    errors = [1 - fidelity for fidelity in found.usable().values()]
    assert 0.002 < statistics.median(errors) < 0.006
    assert 50 < found.two_qubit_ns < 100
    with pytest.raises(ConfigError, match="unknown fake chip 'fake_fezz'; did you mean 'fake_fez'"):
        chips.calibration("fake_fezz")


def test_a_users_own_file(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(SMALL))
    assert chips.calibration(str(path)).digest == Calibration.parse(SMALL).digest
    assert MeasurementSpec.parse({"target": f"{path}-noise"}).form == "two-chains"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"two_qubit_ns": None}, "two_qubit_ns must be a number"),
        ({"readout": None}, "qubit 3 has none; give it one, or the calibration one for all"),
        ({"couplers": [{"qubits": [3, 4], "fidelity": 1}]}, r"\[3, 4\] must be two qubits that"),
        ({"qubits": [SMALL["qubits"][0]] * 2}, "a qubit's index may stand once"),
        ({"qubits": [{"index": 3, "t1_us": 1.0, "t2_us": 1.0}]}, "qubits.0.fidelity is missing"),
        ({"colour": "red"}, "unknown key 'colour'"),
    ],
)
def test_a_file_with_something_missing_is_told_by_its_name(tmp_path, change, told):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(SMALL | change))
    with pytest.raises(ConfigError, match=told) as refused:
        chips.calibration(str(path))
    assert all(line.startswith(f"calibration {path}: ") for line in str(refused.value).splitlines())


def test_a_files_absence_and_nonsense(tmp_path):
    with pytest.raises(ConfigError, match="No such file"):
        chips.calibration(str(tmp_path / "none.json"))
    (tmp_path / "list.json").write_text("[1]")
    with pytest.raises(ConfigError, match="must hold one JSON object, but \\[1\\] is there"):
        chips.calibration(str(tmp_path / "list.json"))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"target": "baihau-noise"}, "did you mean 'baihua-noise'"),
        ({"target": "quafu:"}, "unknown target 'quafu:'"),
        ({"target": "baihua-noise", "shots": 100}, "it changes nothing of what baihua-noise"),
        ({"target": "shots", "form": "as-is"}, "it changes nothing of what shots measures"),
        ({"target": "shots", "shots": 0}, "shots must be at least 1"),
        ({"target": "baihua-sim", "calibration_texts": 50}, "it changes nothing"),
        ({"target": "baihua-sim", "mitigation": "zne"}, "unknown mitigation 'zne'"),
        ({"target": "shots", "rows": 0}, "rows must be at least 1"),
    ],
)
def test_a_measurement_that_cannot_be(given, told):
    with pytest.raises(ConfigError, match=told):
        MeasurementSpec.parse(given)


def test_what_is_not_said_has_its_default_and_what_cannot_matter_is_left_out():
    assert named("shots:1024").model_dump(exclude_none=True) == {
        "target": "shots",
        "split": "test",
        "shots": 1024,
        "seed": 0,
    }
    affine = MeasurementSpec.parse({"target": "baihua-sim", "mitigation": "affine"})
    assert (affine.shots, affine.trajectories, affine.calibration_texts) == (10_240, 128, 200)
    again = MeasurementSpec.parse(affine.model_dump(mode="json"))
    assert fingerprint(again) == fingerprint(affine)
    assert fingerprint(named("shots")) == "bd8013855a9b901f"
    with pytest.raises(ConfigError, match="shots are a whole number, as in shots:1024"):
        named("shots:many")
