"""
Quickstart
==========

Tune a network inside a ``Pipeline``, look at it beside scikit-learn's ``MLPClassifier``, save it, load it in another
process, and draw its learning curve. Everything here runs on a CPU, in less than a minute.
"""

# %%
# The data: handwritten digits, 8 x 8 pixels, that come with scikit-learn.
import subprocess
import sys
from time import perf_counter

import joblib
import numpy as np
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_diabetes, load_digits
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from skbig import BigMLPClassifier, BigMLPRegressor
from skbig.components import AdamW, Exponential
from skbig.plots import TrainingDisplay

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)


def report(name, model, *data):
    """Fit a model on the first half of the data, and print its score on the second and how long the fit took."""
    X_train, X_test, y_train, y_test = data
    start = perf_counter()
    model.fit(X_train, y_train)
    seconds = perf_counter() - start
    print(f"{name:<35} {model.score(X_test, y_test):.3f}    {seconds:6.2f} s")
    return model


# %%
# The same settings, both classes as they are.
print("digits                           accuracy     seconds")
digits = X_train, X_test, y_train, y_test
report("MLPClassifier", make_pipeline(StandardScaler(), MLPClassifier(random_state=0)), *digits)
report("BigMLPClassifier", make_pipeline(StandardScaler(), BigMLPClassifier(random_state=0)), *digits)

# %%
# Tuned over the learning rate, the strength of the penalty, the schedule, the optimizer, and the numbers of the
# optimizer itself. A name and an object are both values of ``optimizer`` and ``schedule``.
model = Pipeline([("scale", StandardScaler()), ("mlp", BigMLPClassifier(random_state=0))])
grid = [
    {
        "mlp__optimizer": ["adam", "muon"],
        "mlp__learning_rate": [0.003, 0.01],
        "mlp__alpha": [1e-4, 0.1],
    },
    {
        "mlp__optimizer": [AdamW(weight_decay=0.1)],
        "mlp__optimizer__betas": [(0.9, 0.95), (0.9, 0.999)],
        "mlp__schedule": ["constant", Exponential(gamma=0.98)],
        "mlp__learning_rate": [0.01],
    },
]
search = report("tuned by GridSearchCV, 12 x 3 fits", GridSearchCV(model, grid, cv=3), *digits)
for name, value in search.best_params_.items():
    print(f"    {name} = {value}")

# %%
# A regressor: how far diabetes has gone after a year. So little data is best fitted with all rows at once, by L-BFGS.
diabetes = train_test_split(*load_diabetes(return_X_y=True), random_state=0)


def standardised(regressor):
    """Scale the columns and the target."""
    return TransformedTargetRegressor(make_pipeline(StandardScaler(), regressor), transformer=StandardScaler())


print("diabetes                               R2     seconds")
theirs = MLPRegressor(hidden_layer_sizes=(20,), solver="lbfgs", alpha=30, max_iter=500, random_state=0)
ours = BigMLPRegressor((20,), optimizer="lbfgs", alpha=30, max_iter=500, random_state=0)
report("MLPRegressor", standardised(theirs), *diabetes)
report("BigMLPRegressor", standardised(ours), *diabetes)

# %%
# Saved, and loaded by a second process, which gives the same predictions.
joblib.dump(search.best_estimator_, "quickstart.joblib")
joblib.dump(X_test, "rows.joblib")
elsewhere = """
import joblib
model, rows = joblib.load("quickstart.joblib"), joblib.load("rows.joblib")
joblib.dump(model.predict_proba(rows), "probabilities.joblib")
"""
subprocess.run([sys.executable, "-c", elsewhere], check=True)
same = np.array_equal(joblib.load("probabilities.joblib"), search.predict_proba(X_test))
print("a second process predicts the same:", same)

# %%
# How a training goes, with a tenth of the rows held out to stop by.
tuned = clone(search.best_estimator_).set_params(mlp__early_stopping=True).fit(X_train, y_train)
display = TrainingDisplay.from_estimator(tuned[-1])
display.figure_.savefig("learning_curve.png")
print("learning curve: learning_curve.png")
