"""What ended a trial, told from Ray's account of its failures."""

from types import SimpleNamespace

import pytest
from ray.exceptions import ActorUnavailableError, OutOfMemoryError

from jobs.store import Store
from orchestrator.grid import Grid
from orchestrator.plan import Trial
from orchestrator.tune.group import Group
from orchestrator.tune.watch import RETRIES, Watch, node_lost, reason
from qdllm.families.tanh import TanhSpec

HEADING = "Failure # 1 (occurred at 2026-11-20_21-25-57)\n"
CUT_OFF = ActorUnavailableError(
    "The actor is temporarily unavailable: RpcError: RPC error: Socket closed rpc_code: 14", None
)
DIED = "The actor died unexpectedly before finishing this task.\n\tclass_name: ImplicitFunc\n"
FULL = OutOfMemoryError("Task was killed due to the node running low on memory.")


@pytest.mark.parametrize(
    "failures",
    [
        [CUT_OFF],
        [DIED, CUT_OFF],
        [f"{DIED}The actor died because its node has died. Node Id: 4f"],
        [f"{DIED}\tThe node was terminated expectedly"],
    ],
)
def test_a_trial_whose_node_is_gone_has_not_failed(failures):
    assert node_lost("".join(f"{HEADING}{failure}\n" for failure in failures))


@pytest.mark.parametrize("published", [False, True])
def test_a_worker_that_died_when_its_work_was_done_has_not_failed(published, tmp_path):
    store, trial, told = Store(str(tmp_path / "store")), Trial.of("tanh", TanhSpec(), {}), []
    if published:
        parts = {"tensors": {}, "spec": {}, "made_from": {}, "summary": {}, "seconds": 0.0}
        store.publish(trial.kind, trial.fingerprint, **parts)
    (tmp_path / "error.txt").write_text(f"{HEADING}{DIED}\n")
    group = Group(
        Grid(name="g"), {}, store, lambda *end: told.append("ended"), lambda *end: told.append(end)
    )
    watch = Watch(lambda config: trial, group)
    watch.on_trial_error(0, [], SimpleNamespace(config={}, error_file=str(tmp_path / "error.txt")))
    reason = f"its worker died, {RETRIES + 1} times; see the log"
    assert told == (["ended"] if published else [(trial, reason)])


@pytest.mark.parametrize(
    ("failures", "told"),
    [
        ([DIED] * (RETRIES + 1), "its worker died, 3 times; see the log"),
        ([f"ray.exceptions.OutOfMemoryError: {FULL}"], "out of memory, 3 times; give trials more"),
        ([CUT_OFF, f"{DIED}\tout of memory"], "out of memory, 3 times; give trials more"),
        (["Traceback…\nqdllm.errors.TrialError: it diverged"], "TrialError: it diverged"),
    ],
)
def test_one_that_failed_says_why(failures, told):
    text = "".join(f"{HEADING}{failure}\n" for failure in failures)
    assert not node_lost(text)
    assert reason(text).startswith(told)
