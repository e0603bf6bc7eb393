"""What ended a trial, told from Ray's account of its failures."""

import pytest
from ray.exceptions import ActorUnavailableError, OutOfMemoryError

from orchestrator.tune.tuner import RETRIES, node_lost, reason

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
