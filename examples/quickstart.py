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
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_diabetes, load_digits
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from skbig import BigMLPClassifier, BigMLPRegressor
from skbig.components import AdamW, Cosine
from skbig.plots import TrainingDisplay

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)


def report(name, model, *data):
    """Fit a model on the first half of the data, and print its score on the second and how long the fit took."""
    X_train, X_test, y_train, y_test = data
    start = perf_counter()
    model.fit(X_train, y_train)
    seconds = perf_counter() - start
    print(f"{name:<34} {model.score(X_test, y_test):.3f}    {seconds:6.2f} s")
    return model


# %%
# The same settings, both classes as they are. The very first fit of a process also sets torch up, so a small one
# goes before.
BigMLPClassifier(max_iter=20, early_stopping=True).fit(X_train[:200], y_train[:200])

print("digits                         accuracy     seconds")
digits = X_train, X_test, y_train, y_test
report("MLPClassifier", make_pipeline(StandardScaler(), MLPClassifier(random_state=0)), *digits)
report("BigMLPClassifier", make_pipeline(StandardScaler(), BigMLPClassifier(random_state=0)), *digits)

# %%
# Tuned over the learning rate, the strength of the penalty, the schedule, the optimizer, and the numbers of the
# optimizer itself. A name, a class and an object are all values of ``optimizer``.
model = Pipeline([("scale", StandardScaler()), ("mlp", BigMLPClassifier(early_stopping=True, random_state=0))])
grid = [
    {
        "mlp__optimizer": ["adam", AdamW(weight_decay=0.1)],
        "mlp__optimizer__betas": [(0.9, 0.95), (0.9, 0.999)],
        "mlp__learning_rate": [0.001, 0.01],
        "mlp__alpha": [1e-4, 1.0],
    },
    {
        "mlp__optimizer": ["sgd"],
        "mlp__optimizer__momentum": [0.9, 0.95],
        "mlp__schedule": ["plateau", Cosine(warmup=0.05)],
        "mlp__learning_rate": [0.03, 0.1],
    },
]
search = report("tuned by GridSearchCV (24 x 3 fits)", GridSearchCV(model, grid, cv=3), *digits)
for name, value in search.best_params_.items():
    print(f"    {name} = {value}")

# %%
# A regressor: how far diabetes has gone after a year. So little data is best fitted with all rows at once, by L-BFGS.
diabetes = train_test_split(*load_diabetes(return_X_y=True), random_state=0)


def standardised(regressor):
    """Scale the columns and the target."""
    return TransformedTargetRegressor(make_pipeline(StandardScaler(), regressor), transformer=StandardScaler())


print("diabetes                             R2     seconds")
theirs = MLPRegressor((20,), solver="lbfgs", alpha=30, max_iter=500, random_state=0)
ours = BigMLPRegressor((20,), optimizer="lbfgs", alpha=30, max_iter=500, random_state=0)
report("MLPRegressor", standardised(theirs), *diabetes)
report("BigMLPRegressor", standardised(ours), *diabetes)

# %%
# Saved, and loaded by a second process, which gives the same predictions.
joblib.dump(search.best_estimator_, "quickstart.joblib")
np.save("quickstart_rows.npy", X_test)
elsewhere = """
import joblib, numpy as np
model = joblib.load("quickstart.joblib")
np.save("quickstart_predictions.npy", model.predict_proba(np.load("quickstart_rows.npy")))
"""
subprocess.run([sys.executable, "-c", elsewhere], check=True)
same = np.array_equal(np.load("quickstart_predictions.npy"), search.predict_proba(X_test))
print("a second process predicts the same:", same)

# %%
# How the training went.
display = TrainingDisplay.from_estimator(search.best_estimator_[-1])
display.figure_.savefig("learning_curve.png")
print("learning curve: learning_curve.png")
