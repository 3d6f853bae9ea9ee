"""Training, of one network or of many: it knows no estimator.

Read `step.py` first: one update, as its formula. `train.py` is the loop, `minibatch.py`, `epochs_ahead.py` and
`line_search.py` its epochs, `executors/` how steps are executed. A training is a `recipe.py` (what to do), `members.py`
(where we are) and rows; `stopping.py` decides when it ends, `history.py` keeps its curves. `stacking.py` and
`population.py` train many as one; `state_dict.py` and `checkpoint.py` save; `microbatch.py` goes on when memory runs
out. There is one process: `processes.py` and `reductions.py` say what several would do otherwise, which is the room
`distributed`.
"""
