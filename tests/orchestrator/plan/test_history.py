"""What the store knows is read once, and lies in a search's space or not."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_sweep import SmallSweep, made_up

from jobs.kinds import Job
from jobs.kinds.trials import STOPPED
from jobs.store import Store
from jobs.store.record import DamagedError
from orchestrator.grid.space import Search, at, point
from orchestrator.plan import Trial
from orchestrator.report import findings
from orchestrator.report.evaluations import of_student
from qdllm import families
from qdllm.circuits import openqasm
from qdllm.circuits.spec import CircuitSpec

STUDENTS = families.family("quantum").kind
AXES = {"circuit.layers": (1, 2, 3), "fit.lr": (0.01, 0.1), "angles": ("raw", "minmax")}
SEARCH = Search(
    space={"circuit.layers": {"low": 1, "high": 2}, "fit.lr": {"low": 0.01, "high": 0.2}}
)


@pytest.fixture
def small(tmp_path: Path) -> SmallSweep:
    return made_up(tmp_path, AXES, lambda spec: 0.8)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter:
    """How often each record has been asked for."""
    count: Counter = Counter()
    whole = Store.record

    def record(self: Store, kind: str, name: str):
        count[kind, name] += 1
        return whole(self, kind, name)

    monkeypatch.setattr(Store, "record", record)
    return count


def lying(small: SmallSweep, inside: Callable = lambda spec: True) -> list[str]:
    """The fingerprints of the trials in the space around the first one."""
    return sorted(
        trial.fingerprint
        for trial in small.trials
        if trial.spec.angles == "raw" and trial.spec.circuit.layers < 3 and inside(trial.spec)
    )


def names(results: list) -> list[str]:
    return [one.trial.fingerprint for one in results]


def write(store: Store, job: Job, **summary) -> None:
    store.publish(
        job.kind,
        job.fingerprint,
        tensors={"x": np.zeros(1)},
        spec=job.spec.model_dump(mode="json"),
        made_from=job.made_from,
        summary=summary,
        seconds=1.0,
    )


def other(trial: Trial, kind: str = STUDENTS, **made_from: str) -> Trial:
    """The same spec, made from something else."""
    return Job.of(kind, trial.spec, {**trial.made_from, **made_from})


def test_each_record_is_read_once(small, reads):
    history, base = small.history, small.trials[0]
    found = history.in_space(SEARCH, base)
    assert names(found) == lying(small)
    assert len(found) == 4
    narrow = Search(space=SEARCH.space | {"circuit.layers": [2]})
    for _ in range(3):
        assert names(history.in_space(SEARCH, base)) == lying(small)
        near = history.in_space(narrow, base)
        assert names(near) == lying(small, lambda spec: spec.circuit.layers == 2)
        assert names(history.tried(SEARCH, base, "none")) == lying(small)
        assert len(history.in_space(SEARCH, small.trials[1])) == 4
        every = [trial.fingerprint for trial in small.trials]
        assert [one.fingerprint for one in history.records(STUDENTS, every)] == every
        assert names(history.results(STUDENTS, every)) == every
    assert reads == Counter({(STUDENTS, trial.fingerprint): 1 for trial in small.trials})


def test_what_is_written_later_is_read_then(small, reads):
    history, base = small.history, small.trials[0]
    before = history.in_space(SEARCH, base)
    new = Job.of(STUDENTS, base.spec.model_copy(update={"fit": faster(base)}), base.made_from)
    assert history.records(STUDENTS, [new.fingerprint]) == []
    write(small.store, new)
    assert set(names(history.in_space(SEARCH, base))) == {*names(before), new.fingerprint}
    assert max(reads[STUDENTS, name] for name in names(before)) == 1


def faster(trial: Trial):
    return trial.spec.fit.model_copy(update={"lr": 0.15})


def test_records_come_in_the_order_of_their_names_and_none_where_there_is_none(small, reads):
    first, second, *_ = (trial.fingerprint for trial in small.trials)
    history = small.history
    asked = [second, "0" * 16, first, second]
    found = history.records(STUDENTS, asked)
    assert [one.fingerprint for one in found] == [second, first, second]
    assert reads[STUDENTS, second] == 1
    assert history.records("evaluations", [first]) == []


def test_other_sources_and_other_families_lie_outside(small):
    base = small.trials[0]
    write(small.store, other(base, features="e" * 16))
    tanh = families.family("tanh")
    head = tanh.spec(task=base.spec.task, circuit=base.spec.circuit, fit=base.spec.fit)
    write(small.store, Job.of(tanh.kind, head, base.made_from))
    assert names(small.history.in_space(SEARCH, base)) == lying(small)
    around = Job.of(tanh.kind, head, base.made_from)
    assert names(small.history.in_space(SEARCH, around)) == [around.fingerprint]


def test_what_nobody_can_read_is_no_part_of_a_search(small):
    """It may be another sweep's, or another version's; what is asked for by name raises."""
    base, damaged = small.trials[0], lying(small)[-1]
    small.store.put(f"{STUDENTS}/{damaged}/record.json", "{")
    small.store.put(f"{STUDENTS}/{'9' * 16}/record.json", '{"schema": 99}')
    small.store.put(f"evaluations/{'9' * 16}/record.json", "{")
    assert names(small.history.in_space(SEARCH, base)) == lying(small)[:-1]
    assert not of_student(small.history, damaged)
    with pytest.raises(DamagedError):
        small.history.records(STUDENTS, [damaged])


def test_a_circuit_of_ones_own_beside_a_search_is_none_of_it(small, tmp_path):
    """Its ansatz is called `file`, which without one is a mistake."""
    base = small.trials[0]
    (tmp_path / "mine.qasm").write_text(
        "OPENQASM 3.0;\ninput float[64] x;\ninput float[64] a;\nqubit[3] q;\nrx(x) q[0];\n"
        "rx(a) q[0];\n"
    )
    circuit = CircuitSpec.parse({"file": str(tmp_path / "mine.qasm")})
    own = base.spec.model_copy(update={"circuit": circuit})
    write(small.store, Job.of(STUDENTS, own, base.made_from))
    search = Search(space={"circuit.ansatz": ["published", "textbook"], **SEARCH.space})
    assert names(small.history.in_space(search, base)) == lying(small)


def test_a_circuit_that_lay_in_another_file_is_the_same_one(small, tmp_path):
    base, text = small.trials[0], "OPENQASM 3.0;\ninput float[64] a;\nqubit[3] q;\nrx(a) q[0];\n"
    layers = []
    for name in ("first.qasm", "second.qasm"):
        (tmp_path / name).write_text(text)
        layers.append(openqasm.read(str(tmp_path / name)))
    assert layers[0] != layers[1]
    specs = [at(base.spec, {"circuit.ansatz": one, "circuit.qubits": 3}) for one in layers]
    trials = [Job.of(STUDENTS, spec, base.made_from) for spec in specs]
    assert trials[0].fingerprint == trials[1].fingerprint
    write(small.store, trials[0])
    search = Search(space={"circuit.ansatz": ["published", layers[1]]})
    (found,) = small.history.in_space(search, trials[1])
    assert point(search, found.trial.spec) == {"circuit.ansatz": layers[1]}


def test_what_a_scheduler_stopped_is_tried_unless_it_was_finished(small, reads):
    base, finished = small.trials[0], small.trials[4]
    stopped = Job.of(
        STOPPED.name, base.spec.model_copy(update={"fit": faster(base)}), base.made_from
    )
    write(small.store, stopped, reason="stopped by asha after epoch 1")
    write(small.store, replace(finished, kind=STOPPED.name), reason="stopped, but not for long")
    # A head that was stopped is none of the students' search.
    tanh = families.family("tanh")
    head = tanh.spec(task=base.spec.task, circuit=base.spec.circuit, fit=base.spec.fit)
    write(small.store, Job.of(STOPPED.name, head, base.made_from), reason="stopped too")
    history = small.history
    for _ in range(2):
        assert names(history.in_space(SEARCH, base, STOPPED.name)) == [stopped.fingerprint]
        assert names(history.tried(SEARCH, base, "asha")) == [*lying(small), stopped.fingerprint]
        assert names(history.tried(SEARCH, base, "none")) == lying(small)
    assert set(reads.values()) == {1}


def test_findings_gathered_again_read_no_trial_again(small, reads):
    history = small.history
    found = findings.findings(history, small.record)
    assert len(found.order) == len(small.trials)
    reads.clear()
    again = findings.findings(history, small.record)
    assert again.curves.keys() == found.curves.keys()
    assert not [name for kind, name in reads if kind == STUDENTS]
