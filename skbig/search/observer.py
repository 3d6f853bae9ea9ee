"""Who wants to hear how a search goes: the progress line, a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from skbig.engine.train import EpochReport

if TYPE_CHECKING:
    from skbig.search.fit_task import FitTask


class SearchObserver:
    """Hears of a search; does nothing. Threads of several workers call it, one at a time."""

    def begin(self, tasks: Sequence[FitTask]) -> None:
        """Hear of all tasks that are about to be evaluated."""

    def epoch(self, tasks: Sequence[FitTask], report: EpochReport) -> None:
        """Hear of an epoch of the tasks that train together."""

    def result(self, task: FitTask, result: dict[str, Any]) -> None:
        """Hear of a task's result, as scikit-learn gives it."""

    def finished(self, tasks: Sequence[FitTask], results: Sequence[dict[str, Any]]) -> None:
        """Hear that all tasks that were trained together have a result."""

    def known_result(self, task: FitTask) -> dict[str, Any] | None:
        """Say what a task's result is, where it is known already: then it is not trained."""
        del task
        return None

    def prepared(self, task: FitTask) -> None:
        """Hear of a training that is about to begin, and perhaps put it further on."""

    def wants_rest(self, tasks: Sequence[FitTask]) -> bool:
        """Say whether tasks that train together should stand still after this epoch, for `rests`."""
        del tasks
        return False

    def rests(self, tasks: Sequence[FitTask]) -> None:
        """Hear that these trainings stand still; they may be read."""

    def close(self) -> None:
        """Hear that the search has ended, or has failed."""
