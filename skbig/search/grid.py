"""Searches over parameters, as scikit-learn's own, with all candidates and folds trained together."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from joblib.parallel import parallel_config
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV

from skbig.search.calls import Call, Collecting
from skbig.search.tasks import Task
from skbig.search.workers import Workers


class _Together:
    """What makes a search of scikit-learn's train its candidates together."""

    def fit(self, X: Any, y: Any = None, **params: Any) -> Any:
        with ExitStack() as stack:
            stack.enter_context(parallel_config(backend=Collecting(self._evaluate)))
            return super().fit(X, y, **params)

    def _evaluate(self, calls: Sequence[Call]) -> list[Any]:
        return Workers().run([Task(call) for call in calls])


class BigGridSearchCV(_Together, GridSearchCV):
    pass


class BigRandomizedSearchCV(_Together, RandomizedSearchCV):
    pass
