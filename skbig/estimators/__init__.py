"""The estimators: scikit-learn's face over the one training.

Read `mlp.py` first, then `base.py`, `preparation.py` and `session.py`: a thin class declares parameters
(`declaration.py`, `parameters.py`), `base.py` has `fit` and prediction, the other two are the way from one to the
other. `choices.py` resolves and checks parameters, `row_checks.py` rows; `classification.py` and `regression.py` are
the tasks; `fitted_state.py` is what is kept, `scoring.py` validates, `checkpointing.py` saves. `fit_runners.py` chooses
where training runs: here, in all ranks of a launch (`joined_fit.py`), or in workers (`launched_fit.py`,
`fit_worker.py`). `sklearn_compat.py` alone knows scikit-learn's private names.
"""
