"""A run on a processor, by the real SDK against a platform on loopback: each thing sent once."""

import _thread
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_sweep
from checkout import ROOT
from commands import here
from quafu_double import KEY, QUBITS, Platform, measured, serving
from small_sweep import SmallSweep

from jobs import kinds
from jobs.devices import plan, run, runs
from jobs.devices.drive import Lacking
from jobs.devices.runs import RunFolder
from jobs.store import Record, Store
from orchestrator.steps import lock
from qdllm.errors import ConfigError, DeviceError
from qdllm.processors.spec import MeasurementSpec

ROWS, SHOTS = 6, 4096
SPEC = MeasurementSpec.parse({"target": "quafu:Six", "rows": ROWS, "shots": SHOTS})
CIRCUITS = 2 + 2 + 2 * ROWS + 2
"""Bits, readout, both chains of each text, readout once more."""


class Killed(BaseException):
    """Nothing of ours catches it: what a process leaves that is killed."""


@pytest.fixture(scope="module")
def swept(tmp_path_factory) -> SmallSweep:
    """A student of four qubits."""
    return small_sweep.sweep(
        tmp_path_factory.mktemp("swept"),
        {"circuit.layers": [1]},
        {"circuit": {"qubits": 4}, "fit": {"epochs": 4, "batch_size": 16, "lr": 0.05}},
        left_out=0,
        evaluations=["engine"],
    )


@pytest.fixture(autouse=True)
def parts(monkeypatch, tmp_path):
    """Chunks of five, so that a run has several; no configuration of the user's."""
    monkeypatch.setattr(plan, "CHUNK", 5)
    monkeypatch.setenv("QUAFU_CONFIG_DIR", str(tmp_path / "config"))


@pytest.fixture
def platform(monkeypatch) -> Iterator[Platform]:
    with serving() as (platform, environment):
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        yield platform


@pytest.fixture
def store(swept, tmp_path) -> Store:
    """A store of the test's own, with the student in it."""
    source = Path(swept.store.uri.removeprefix("file://"))
    subprocess.run(["cp", "-r", source, tmp_path / "store"], check=True)
    return Store(str(tmp_path / "store"))


def student(swept: SmallSweep) -> str:
    return swept.trials[0].fingerprint


def prepared(swept: SmallSweep, store: Store, spec: MeasurementSpec = SPEC) -> run.Shown:
    return run.prepare(store, student(swept), spec, swept.dataset, run.processor(spec.target))


def went(
    swept: SmallSweep, store: Store, folder: RunFolder, send: bool = True, processor: Any = None
) -> Record | Lacking:
    asked = processor or run.processor(folder.plan().measurement.target)
    again = RunFolder(store, folder.name)
    ignore: Callable[..., None] = lambda *_: None  # noqa: E731
    return run.go(store, again, swept.dataset, asked, ignore, send, ignore)


def sent_once(platform: Platform) -> None:
    names = [task["name"] for task in platform.tasks]
    assert len(names) == len(set(names)) == CIRCUITS


def test_what_comes_back_is_what_the_student_says(swept, store, platform):
    plan = prepared(swept, store)
    assert plan.plan.tasks == CIRCUITS
    assert plan.limits.quota == "497 tasks left of today's, 1000 at most"
    assert not platform.jobs
    record = went(swept, store, plan.folder)
    sent_once(platform)
    (job,) = platform.jobs.values()
    assert job["name"] == f"qdllm-{plan.folder.name}-0"
    assert job["closed"]
    _, tensors = store.load(record.kind, record.fingerprint)
    apart = tensors["raw"] - tensors["exact"]
    assert tensors["raw"].shape == (1, ROWS, 4)
    assert 0 < np.abs(apart).max() < 5 / SHOTS**0.5
    assert record.summary["run"]["read_right"] == [[1.0, 1.0, 1.0]]
    assert record.summary["errors"].keys() == {"shots", "texts"}
    before = len(platform.requests)
    assert went(swept, store, plan.folder).fingerprint == record.fingerprint
    assert len(platform.requests) == before


def test_more_circuits_than_a_job_takes_make_several(swept, store, platform):
    platform.most = 7
    plan = prepared(swept, store)
    assert plan.plan.chunks == (4, 5, 5, 4)
    assert plan.plan.jobs == (0, 1, 2, 3)
    assert isinstance(went(swept, store, plan.folder), Record)
    sent_once(platform)
    assert [len(job["tasks"]) for job in platform.jobs.values()] == [4, 5, 5, 4]
    platform.most = 4
    few = prepared(swept, store, SPEC.model_copy(update={"label": "few"})).plan
    assert few.chunks == (4, 4, 4, 4, 2)
    platform.most = 3
    with pytest.raises(ConfigError, match="takes 3 circuits a job, but the first 4, by which bits"):
        prepared(swept, store, SPEC.model_copy(update={"label": "none"}))


def test_as_what_each_circuit_was_run_stays_with_its_counts_and_is_told(swept, store, platform):
    plan = prepared(swept, store)
    record = went(swept, store, plan.folder)
    sent = iter(platform.tasks)
    for chunk in range(len(plan.plan.chunks)):
        for kept in RunFolder(store, plan.folder.name).counted(chunk):
            task = next(sent)
            assert kept.executed == task["qasm"]
            assert kept.qubits == tuple(measured(task["qasm"]))
            assert kept.calibration == "cal-2026-11-26T10:00:00"
            assert kept.raw["compiler"] == {"name": "none"}
    told = kinds.kind(record.kind).opinion(record, record)
    assert told.endswith("run by calibration cal-2026-11-26T10:00:00")
    assert record.summary["calibration"]["source"].startswith("Quafu's snapshot cal-2026-11-26T10")


def test_a_platform_that_compiles_or_calibrates_on_its_own_is_told_of(swept, store, platform):
    """Though it was told to do neither: the mirrored chip, with two gates more."""

    def other(qasm: str) -> str:
        platform.calibrated = "2026-11-26T11:00:00"
        moved = re.sub(r"q\[(\d)\]([;,]| ->)", lambda m: f"q[{5 - int(m[1])}]{m[2]}", qasm)
        moved = moved.replace(f"qreg q[{5 - QUBITS}]", f"qreg q[{QUBITS}]")
        return re.sub(r"(cz .*;)", r"\1 \n\1\n\1", moved, count=1)

    plan = prepared(swept, store)
    platform.compiles = other
    record = went(swept, store, plan.folder)
    run = record.summary["run"]
    assert run["calibrations"] == ["cal-2026-11-26T11:00:00"]
    assert (run["moved"], run["changed"]) == (CIRCUITS, 2 * ROWS)
    told = kinds.kind(record.kind).opinion(record, record)
    assert f"{CIRCUITS} of {CIRCUITS} circuits were read from other qubits than those" in told
    assert f"{2 * ROWS} of {CIRCUITS} circuits were run with another number of two-qubit" in told


def test_lost_answers_make_nothing_twice(swept, store, platform):
    plan = prepared(swept, store)
    platform.drops = 3
    went(swept, store, plan.folder)
    sent_once(platform)
    assert len(platform.jobs) == 1


class Dying:
    """Kills at the n-th thing that it is asked, before it or after."""

    def __init__(self, inner: Any, names: tuple[str, ...], at: int, before: bool) -> None:
        self._inner, self._names, self._before, self.left = inner, names, before, at

    def __getattr__(self, name: str) -> Any:
        inner = getattr(self._inner, name)
        if name not in self._names:
            return inner

        def call(*args: Any, **kwargs: Any) -> Any:
            self.left -= 1
            if self.left == -1 and self._before:
                raise Killed
            found = inner(*args, **kwargs)
            if self.left == -1:
                raise Killed
            return found

        return call


@pytest.mark.parametrize("before", [True, False])
def test_killed_at_every_event_it_sends_nothing_twice(swept, store, monkeypatch, before):
    """At everything that is written down, and at every call that sends."""
    whole = None
    for names, of_store in ((("put",), True), (("open", "append"), False)):
        for at in range(40):
            folder = Path(store.uri.removeprefix("file://"))
            for kind in ("device_runs", "device_labels", "measurements"):
                subprocess.run(["rm", "-rf", folder / kind], check=True)
            with serving() as (platform, environment):
                for name, value in environment.items():
                    monkeypatch.setenv(name, value)
                plan = prepared(swept, store)
                asked = run.processor(SPEC.target)
                dying = Dying(store if of_store else asked, names, at, before)
                killed = False
                try:
                    if of_store:
                        went(swept, dying, plan.folder)
                    else:
                        went(swept, store, plan.folder, processor=dying)
                except Killed:
                    killed = True
                record = went(swept, store, plan.folder)
                sent_once(platform)
                # A job whose id was lost stays empty.
                assert sum(bool(job["tasks"]) for job in platform.jobs.values()) == 1
                whole = whole or record.fingerprint
                assert record.fingerprint == whole
            if not killed:
                break
        assert at > 4, "there was hardly anything to be killed at"


def test_begun_on_one_machine_and_fetched_on_another(swept, store, platform, tmp_path):
    plan = prepared(swept, store)
    asked = Dying(run.processor(SPEC.target), ("append",), 3, before=False)
    with pytest.raises(Killed):
        went(swept, store, plan.folder, processor=asked)
    elsewhere = Store(store.uri)
    assert isinstance(went(swept, elsewhere, plan.folder, send=False), Record)
    sent_once(platform)


def test_what_was_never_sent_is_told_and_not_sent_by_a_fetch(swept, store, platform):
    plan = prepared(swept, store)
    asked = Dying(run.processor(SPEC.target), ("append",), 1, before=True)
    with pytest.raises(Killed):
        went(swept, store, plan.folder, processor=asked)
    sent = len(platform.tasks)
    assert went(swept, store, plan.folder, send=False) == Lacking(CIRCUITS - sent, 0)
    assert len(platform.tasks) == sent


def test_a_failure_that_may_pass_is_sent_again_and_another_ends_the_run(swept, store, platform):
    platform.fails = {"r0-t3": True}
    record = went(swept, store, prepared(swept, store).folder)
    assert isinstance(record, Record)
    assert len(platform.tasks) == CIRCUITS + 1
    assert [(len(job["tasks"]), job["closed"]) for job in platform.jobs.values()] == [
        (CIRCUITS, True),
        (1, True),
    ]
    platform.fails |= {"r0-t4": False}
    other = SPEC.model_copy(update={"label": "second"})
    plan, before = prepared(swept, store, other), len(platform.tasks)
    with pytest.raises(DeviceError, match="1 of 5 circuits of chunk 1 failed for good: hardware"):
        went(swept, store, plan.folder)
    # What else was sent has been counted, and is kept.
    assert len(platform.tasks) == before + CIRCUITS
    assert all(RunFolder(store, plan.folder.name).counted(chunk) for chunk in range(4))


def test_fewer_shots_are_divided_by_what_came_back(swept, store, platform):
    platform.share = 0.5
    record = went(swept, store, prepared(swept, store).folder)
    _, tensors = store.load(record.kind, record.fingerprint)
    assert 0 < np.abs(tensors["raw"] - tensors["exact"]).max() < 5 / (SHOTS / 2) ** 0.5


@pytest.mark.parametrize(
    ("behaviour", "told"),
    [
        ({"reverse": True}, "only bit 0 should be 1, but"),
        ({"order": "c0_leftmost"}, "only bit 0 should be 1, but"),
        ({"order": None}, "bits came in an unknown order, None"),
        ({"order": "msb"}, "bits came in an unknown order, 'msb'"),
        ({"share": 0.0}, "a circuit came back without a single bit string"),
    ],
)
def test_wrong_bits_stop_the_run_after_the_first_circuits(swept, store, platform, behaviour, told):
    for name, value in behaviour.items():
        setattr(platform, name, value)
    with pytest.raises(DeviceError, match=f"nothing more was sent: {told}"):
        went(swept, store, prepared(swept, store).folder)
    assert len(platform.tasks) == 4


def test_a_bit_that_cannot_be_read_stops_the_run_before_its_texts(swept, store, platform):
    """Unless nobody asks for errors of reading to be undone."""
    platform.dead = 1
    with pytest.raises(DeviceError, match="nothing more was sent: qubit 1 is read right hardly"):
        went(swept, store, prepared(swept, store).folder)
    assert len(platform.tasks) == 4
    raw = SPEC.model_copy(update={"label": "raw", "mitigation": "none"})
    assert isinstance(went(swept, store, prepared(swept, store, raw).folder), Record)


def test_a_run_that_was_begun_goes_on_where_sums_differ_in_their_last_bits(
    swept, store, platform, monkeypatch
):
    """Another machine, or another number of threads; before anything is sent it is another plan."""
    folder = prepared(swept, store).folder
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(plan.Work, "digest", property(lambda work: "another"))
        with pytest.raises(ConfigError, match="has changed: the circuits"):
            went(swept, store, folder)
    platform.refuses = 1
    with pytest.raises(DeviceError):
        went(swept, store, folder)
    monkeypatch.setattr(plan.Work, "digest", property(lambda work: "another"))
    with monkeypatch.context() as otherwise:
        otherwise.setattr(plan.Work, "circuits", property(lambda work: "others"))
        with pytest.raises(ConfigError, match="has changed: the circuits"):
            went(swept, store, folder)
    assert isinstance(went(swept, store, folder), Record)
    sent_once(platform)


def test_a_quota_that_is_used_up_is_told_and_the_same_command_goes_on(swept, store, platform):
    platform.refuses = 1
    plan = prepared(swept, store)
    with pytest.raises(DeviceError, match="Quafu did not take 4 circuits"):
        went(swept, store, plan.folder)
    assert isinstance(went(swept, store, plan.folder), Record)
    sent_once(platform)


def test_what_cannot_be_sent_is_refused_before(swept, store, platform, monkeypatch):
    def refused(told: str, **changes: Any) -> None:
        with pytest.raises(ConfigError, match=told):
            prepared(swept, store, SPEC.model_copy(update=changes))

    platform.status = "calibrating"
    refused("quafu:Six is calibrating now, and would take nothing")
    platform.status, platform.step = "online", 1000
    refused("takes 1 to 100,000 in steps of 1,000; the nearest are 4,000")
    platform.step = 1
    refused("rows=999 were asked for, but the test split has 24 texts", rows=999)
    refused("runs on whichever device is free", target="quafu:all-race")
    refused(
        "has no target 'six'; did you mean 'Six'\\? There are: Six, Six-sim, sim",
        target="quafu:six",
    )
    monkeypatch.delenv("QUAFU_API_KEY")
    refused("needs a key: set QUAFU_API_KEY, or log in once")
    assert not platform.jobs


def test_another_package_of_the_sdks_name_is_told_of(monkeypatch, tmp_path):
    """As earlier clients of the platform are called."""
    (tmp_path / "quafu").mkdir()
    (tmp_path / "quafu" / "__init__.py").write_text("class Task: ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "quafu"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ConfigError, match="other packages are called quafu too: uninstall them"):
        run.processor("quafu:Six")


def test_a_plan_that_has_changed_or_another_runs_label_sends_nothing(swept, store, platform):
    plan = prepared(swept, store)
    platform.calibrated = "2026-11-26T16:00:00"
    with pytest.raises(ConfigError, match="has changed: quafu:Six was calibrated anew since"):
        went(swept, store, plan.folder)
    assert not platform.jobs
    with pytest.raises(ConfigError, match="no plan is called '0123456789abcdef'"):
        RunFolder(store, "0123456789abcdef").plan()
    went(swept, store, prepared(swept, store).folder)
    others = SPEC.model_copy(update={"rows": 3})
    with pytest.raises(ConfigError, match="label 'first' was used for quafu:Six before, by run"):
        prepared(swept, store, others)
    assert prepared(swept, store, others.model_copy(update={"label": "second"}))


def test_of_two_runs_with_one_label_one_goes(swept, store, platform, tmp_path):
    """Two plans that were confirmed, neither of them begun; the other's driver is at work."""
    first = prepared(swept, store)
    second = prepared(swept, store, SPEC.model_copy(update={"rows": 3}))
    place = ["--home", str(tmp_path / "home"), "--store", store.uri]
    asks = [student(swept), "--target", "quafu:Six", "--rows", "3", "--set", f"shots={SHOTS}"]
    with lock.held(store, f"device-{runs.label(first.plan)}"):
        told = here("orchestrator.device", [*asks, "--confirm", second.folder.name, *place], 2)
        assert f"run {second.folder.name} is held by process" in told
    went(swept, store, first.folder)
    told = here("orchestrator.device", [*asks, "--confirm", second.folder.name, *place], 2)
    assert f"label 'first' was used for quafu:Six before, by run {first.folder.name}" in told
    sent_once(platform)


def test_ctrl_c_detaches_and_the_same_command_goes_on(swept, store, platform, tmp_path):
    place = ["--home", str(tmp_path / "home"), "--store", store.uri]
    asks = [student(swept), "--target", "quafu:Six", "--rows", str(ROWS), "--set", f"shots={SHOTS}"]
    planned = here("orchestrator.device", [*asks, "--dry-run", *place])
    command = [*asks, "--confirm", planned.split("--confirm ")[1].split()[0], *place]
    platform.taken = _thread.interrupt_main
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job behind `&` ignores it
    try:
        output = here("orchestrator.device", command, 130)
    finally:
        signal.signal(signal.SIGINT, before)
    assert "detached; what a processor was sent runs on" in output
    platform.taken = lambda: None
    assert 0 < len(platform.tasks) < CIRCUITS
    here("orchestrator.device", command)
    sent_once(platform)


def test_the_command_plans_is_confirmed_and_survives_a_kill(swept, store, platform, tmp_path):
    """The real command, killed with −9 once the second chunk was taken, then run again."""
    place = ["--home", str(tmp_path / "home"), "--store", store.uri]
    asks = [student(swept), "--target", "quafu:Six", "--rows", str(ROWS), "--set", f"shots={SHOTS}"]
    planned = here("orchestrator.device", [*asks, "--dry-run", *place])
    assert f"{CIRCUITS} circuits in 4 parts" in planned
    assert "497 tasks left of today's" in planned
    name = planned.split("--confirm ")[1].split()[0]
    assert "nothing was sent" in here("orchestrator.device", [*asks, *place], 2)
    assert not platform.jobs
    command = [*asks, "--confirm", name, *place]
    changed = here("orchestrator.device", [*command, "--set", "seed=1"], 2)
    assert "the confirmed plan has seed 0, but 1 was asked for" in changed
    both = here("orchestrator.device", [*command, "--dry-run"], 2)
    assert "--dry-run sends nothing, and --confirm sends" in both
    odd = here("orchestrator.device", [*asks, "--confirm", "../x", *place], 2)
    assert "no plan is called '../x'" in odd
    assert not platform.jobs
    program = (
        "import sys\nfrom jobs.devices import plan\nplan.CHUNK = 5\n"
        "from orchestrator.device import main\nsys.exit(main())"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, *command], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )

    def kill() -> None:
        if len(platform.tasks) > 4:
            os.kill(process.pid, signal.SIGKILL)

    platform.taken = kill
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert len(platform.tasks) == 9
    platform.taken = lambda: None
    assert "circuits were never sent" in here("orchestrator.device", ["--fetch", *place], 1)
    printed = here("orchestrator.device", command)
    sent_once(platform)
    assert "readout inverted), raw 0." in printed
    assert "is whole: measurements/" in here("orchestrator.device", ["--fetch", *place])
    for path in [*tmp_path.rglob("*")]:
        if path.is_file():
            assert KEY.encode() not in path.read_bytes(), path
    assert KEY not in planned + printed
    assert platform.keys <= {"", f"Bearer {KEY}"}
