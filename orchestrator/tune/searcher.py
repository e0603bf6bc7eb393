"""A search as Tune asks it."""

from typing import Any

from ray.tune.search import Searcher

from orchestrator.tune.proposals import Proposals


class TuneSearcher(Searcher):
    """Hands Tune's questions and news on. Ray's own signatures."""

    def __init__(self, proposals: Proposals) -> None:
        super().__init__()
        self._proposals = proposals

    def suggest(self, trial_id: str) -> dict[str, Any] | str:
        """A point that nobody has tried; the search's end where none is left."""
        point = self._proposals.next(trial_id)
        return str(Searcher.FINISHED) if point is None else {"point": point}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tell what became of a point."""
        self._proposals.ended(trial_id, result, error)

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Nothing: no sweep is ever restored from Tune's state."""
