"""Populations: searches that train all their candidates together.

Read `grid.py` first, then `evaluation.py`: a search is scikit-learn's, whose calls `joblib_backend.py` hands over
together. Each is a `fit_task.py`; `search_runners.py` chooses where they are trained: here (`stack_scheduler.py`, by
the sizes of `stack_planning.py`), by workers (`launched_search.py`, `search_worker.py`), or by all ranks of a launch
(`joined_search.py`), which take stacks from one `work_queue.py`. Who wants to hear of it is an `observer.py`.
"""

from skbig.search.grid import BigGridSearchCV, BigRandomizedSearchCV
from skbig.search.halving import BigHalvingGridSearchCV

__all__ = ["BigGridSearchCV", "BigHalvingGridSearchCV", "BigRandomizedSearchCV"]
