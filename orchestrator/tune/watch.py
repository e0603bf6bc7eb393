"""How the trials of a run end: by themselves, with their worker, or with their node."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ray import tune
from ray.exceptions import ActorDiedError

from orchestrator.plan import Trial
from orchestrator.tune.group import Group
from qdllm.errors import StoreError

RETRIES = 2
"""How often a trial whose worker died is started anew."""
LOST = ("actor is temporarily unavailable", "node has died", "node was terminated")
"""What Ray says where not the worker, but its node or the way there is gone."""


class Watch(tune.Callback):
    """Tells the group's owner of trials that ended. Ray's own signatures."""

    def __init__(self, trial_of: Callable[[Mapping[str, Any]], Trial], group: Group) -> None:
        self._trial_of, self._group = trial_of, group
        self.lost: list[Trial] = []
        self.heard = set[str]()
        """Fingerprints of all that has come to an end, those that are lost among it."""

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune saves its callbacks, and no sweep is ever restored from Tune's state."""
        return {}

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        ended = self._trial_of(trial.config)
        self.heard.add(ended.fingerprint)
        self._group.ended(ended, trial.last_result or {})

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        text = Path(trial.error_file).read_text(encoding="utf-8")
        ended = self._trial_of(trial.config)
        self.heard.add(ended.fingerprint)
        if node_lost(text):
            self.lost.append(ended)
        elif self._published(ended):
            self._group.ended(ended, {})
        else:
            self._group.failed(ended, reason(text))

    def _published(self, trial: Trial) -> bool:
        """Whether its worker died after its work was done, as far as the store can tell now."""
        with suppress(StoreError):
            return self._group.store.has(trial.kind, trial.fingerprint)
        return False


def node_lost(text: str) -> bool:
    """Whether a trial ended with its node, by Ray's account of its failures.

    The way to a worker that had no memory is lost too.
    """
    return any(word in text for word in LOST) and not _memory(text)


def _memory(text: str) -> bool:
    return "OutOfMemoryError" in text or "out of memory" in text.lower()


def reason(text: str) -> str:
    """What ended a trial, out of Ray's account of its failures."""
    if _memory(text):
        return (
            f"out of memory, {RETRIES + 1} times; give trials more cores (resources.cpu), or "
            "bodies smaller batches (tuning.batch_size)"
        )
    if ActorDiedError.BASE_ERROR_MSG in text:
        return f"its worker died, {RETRIES + 1} times; see the log"
    return text.strip().splitlines()[-1].removeprefix("qdllm.errors.")
