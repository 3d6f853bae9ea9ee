"""
Searching hundreds of networks at once
======================================

``BigGridSearchCV`` is scikit-learn's ``GridSearchCV``, but it trains its candidates together: those that differ in
numbers only, on all folds, are one stack of networks. ``BigHalvingGridSearchCV`` also stops the ones that fall behind.
"""

# %%
# Handwritten digits. Seven rates, four penalties and four shares of dropout are 112 candidates; on three folds, 336
# networks. Of a script that has a ``GridSearchCV``, one name changes.
from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from skbig import BigGridSearchCV, BigHalvingGridSearchCV, BigMLPClassifier
from skbig.plots import SearchDisplay

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X.astype(np.float32), y, stratify=y, random_state=0)

network = BigMLPClassifier((32,), batch_size=64, max_iter=27, schedule="cosine", random_state=0)
model = Pipeline([("scale", StandardScaler()), ("mlp", network)])
grid = {
    "mlp__learning_rate": np.logspace(-4, -1, 7),
    "mlp__alpha": [0.01, 0.1, 1, 10],
    "mlp__dropout": [0, 0.2, 0.4, 0.6],
}
start = perf_counter()
search = BigGridSearchCV(model, grid, cv=3).fit(X_train, y_train)
print(f"{3 * len(search.cv_results_['params'])} networks in {perf_counter() - start:.1f} s")
print(f"best score {search.best_score_:.3f}, on rows never seen {search.score(X_test, y_test):.3f}")

# %%
# The scores over the two parameters that they depend on most. A cell is the best candidate that has its two values,
# whatever its dropout is; the best of all is framed.
display = SearchDisplay.from_estimator(search)

# %%
# Any other two can be asked for.
display = SearchDisplay.from_estimator(search, parameters=("learning_rate", "dropout"))

# %%
# The scores are those of scikit-learn's own search, which trains one network after another.
few = {"mlp__learning_rate": [0.001, 0.01], "mlp__dropout": [0, 0.2, 0.4, 0.6]}
for kind in (GridSearchCV, BigGridSearchCV):
    start = perf_counter()
    scores = kind(model, few, cv=3).fit(X_train, y_train).cv_results_["mean_test_score"]
    print(f"{kind.__name__}: {scores.round(4)} in {perf_counter() - start:.1f} s")

# %%
# Halving: all candidates are trained for an epoch, the better third for two more, the better third of these for six
# more, and so on. A rung is a look at trainings that then go on, so nothing is trained twice.
start = perf_counter()
halving = BigHalvingGridSearchCV(model, grid, cv=3).fit(X_train, y_train)
print(f"rungs of {halving.n_candidates_} candidates, after {halving.n_resources_} epochs")
print(f"{perf_counter() - start:.1f} s, best score {halving.best_score_:.3f}")

# %%
# A line is a candidate: grey where it was dropped, in colour where it reached the last rung. What was drawn is
# matplotlib's, and can be changed: most of those dropped first are far below.
display = SearchDisplay.from_estimator(halving)
display.ax_.set_ylim(0.8, 1)
plt.show()
