"""A sweep without Ray: the same results, in one process that a debugger can hold."""

import shutil
import subprocess
import sys
from pathlib import Path

import driven
import pytest
from checkout import ROOT
from commands import here
from driven import ALONE, BASE, SOURCES, Driver, Sweep
from waiting import DEADLINE

pytestmark = pytest.mark.slow

TINY = f"{BASE}axes: {{circuit.layers: [1, 2]}}\n"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Sweep:
    """A whole sweep of another grid, which ran without Ray."""
    return driven.undisturbed(tmp_path_factory)[0]


def fresh(undisturbed: Sweep, folder: Path, grid: str, *kinds: str) -> Sweep:
    """A sweep of a grid in a home that has results of these kinds only."""
    (folder / "tiny.yaml").write_text(grid)
    for kind in kinds:
        shutil.copytree(undisturbed.home / "store" / kind, folder / "a home" / "store" / kind)
    return Sweep(folder / "tiny.yaml", undisturbed.texts, folder / "a home")


def test_a_search_needs_neither_ray_nor_another_process_and_nothing_stops_it(undisturbed, tmp_path):
    """Its space has four points. That results equal those under Ray to the bit, test_survival and
    cluster/test_ray_up hold, since what they compare with ran like this."""
    space = "search: {space: {circuit.layers: [1, 2], fit.lr: [0.003, 0.02]}, trials: 9}\n"
    sweep = fresh(undisturbed, tmp_path, BASE + space, *SOURCES)
    arguments = ["--grid", str(sweep.grid), "--task", str(sweep.texts), "--home", str(sweep.home)]
    arguments += ["--set", "fit.epochs=2", "--set", "scheduler=asha", *ALONE]
    code = (
        "import sys, psutil\n"
        "from orchestrator.sweep import main\n"
        f"status = main({arguments!r})\n"
        "print(status, 'ray' in sys.modules, psutil.Process().children(recursive=True))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "0 False []"
    assert "scheduler asha stops nothing without Ray: all run to their end" in done.stdout
    assert len(sweep.created()) == 4
    assert sweep.created("stopped") == {}
    assert set(sweep.runs().values()) == {("FINISHED", "")}


def test_a_breakpoint_in_a_trial_stops_there(undisturbed, tmp_path):
    sweep = fresh(undisturbed, tmp_path, TINY, *SOURCES)
    arguments = ["--grid", str(sweep.grid), "--task", str(sweep.texts), "--home", str(sweep.home)]
    arguments += ["--set", "fit.epochs=2", "--set", "circuit.layers=1", *ALONE]
    stops = ["-c", "import jobs.trial", "-c", "break jobs.trial.train", "-c", "continue"]
    done = subprocess.run(
        [sys.executable, "-m", "pdb", *stops, "-m", "orchestrator.sweep", *arguments],
        cwd=ROOT,
        input="print('stopped at', job.kind, job.spec.fit.epochs)\nquit\n",
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert "stopped at students 2" in done.stdout, done.stdout + done.stderr


def test_an_interrupt_and_the_same_command_again_lose_nothing(undisturbed, tmp_path):
    settings = ("--set", "fit.lr=0.02", *ALONE)
    sweep = fresh(undisturbed, tmp_path, TINY, *SOURCES)
    driver = sweep.start(*settings)
    driver.wait_for(lambda: driver.results_beyond({}))
    driver.interrupt()
    assert driver.ended(130).endswith(
        "interrupted; run the same command again to go on from here\n"
    )
    before = sweep.created()
    printed = sweep.here(*settings)
    assert driven.planned(printed)[0] >= len(before) > 0
    assert before.items() <= sweep.created().items()
    assert len(sweep.results()) == 2
    assert sweep.results().items() <= undisturbed.results().items()


def test_a_teacher_goes_on_from_its_checkpoint(undisturbed, tmp_path):
    sweep = fresh(undisturbed, tmp_path, TINY, "features")
    settings = ("--set", "fit.epochs=2", *ALONE)
    driver = sweep.start(*settings)
    driver.wait_for(lambda: list(sweep.home.glob("store/checkpoints/*/record.json")))
    kill(driver)
    output = sweep.here(*settings)
    assert not sweep.store.files("checkpoints")
    assert sweep.results("soft-labels") == undisturbed.results("soft-labels")
    assert "epoch 1 of 3" not in output


def kill(driver: Driver) -> None:
    driver.process.kill()
    driver.process.communicate()


def test_the_doctor_has_nobody_to_examine(tmp_path):
    printed = here("orchestrator.doctor", ["--home", str(tmp_path), *ALONE], status=2)
    assert printed.startswith("error: --address none is a sweep in one process")
