"""
Choosing optimizer, schedule, clipping and loss
===============================================

A component is a choice that has numbers of its own. It is given by name, with the numbers it has by default, or as an
object. Here each kind is varied while the others stay.
"""

# %%
# Made data with a curved border between three classes.
import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import make_classification
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split

from skbig import BigMLPClassifier, BigMLPRegressor
from skbig.components import SGD, AdamW, ClipNorm, Cosine, Huber, LogLoss, OneCycle, Quantile
from skbig.plots import TrainingDisplay

X, y = make_classification(1500, 20, n_informative=10, n_classes=3, class_sep=0.8, flip_y=0.05, random_state=0)
X_train, X_test, y_train, y_test = train_test_split(X.astype(np.float32), y, random_state=0)
EPOCHS = 40
# Every training here ends after that, converged or not, so that the curves can be compared.
warnings.simplefilter("ignore", ConvergenceWarning)


def train(**choices):
    """Fit for a fixed number of epochs."""
    model = BigMLPClassifier((64, 64), max_iter=EPOCHS, n_iter_no_change=EPOCHS, tol=0, random_state=0, **choices)
    return model.fit(X_train, y_train, X_val=X_test, y_val=y_test)


# %%
# Optimizers: ``"auto"`` is each one's own default rate.
figure, axes = plt.subplots()
for optimizer in ("sgd", "rmsprop", "adam", AdamW(weight_decay=0.05), "lion", "muon"):
    model = train(optimizer=optimizer)
    axes.plot(model.loss_curve_, label=optimizer if isinstance(optimizer, str) else "AdamW(weight_decay=0.05)")
axes.set(xlabel="epoch", ylabel="training loss", yscale="log")
axes.legend()

# %%
# Schedules: the rate of every epoch, and what comes of it.
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
schedules = {
    "constant": "constant",
    "inverse_time": "inverse_time",
    "cosine with warm-up": Cosine(warmup=0.1),
    "one_cycle": OneCycle(peak_at=0.3),
}
for name, schedule in schedules.items():
    model = train(schedule=schedule, learning_rate=0.01)
    left.plot(model.learning_rates_, label=name)
    right.plot(model.validation_loss_curve_)
left.set(xlabel="epoch", ylabel="rate")
right.set(xlabel="epoch", ylabel="validation loss")
left.legend(loc="lower left")

# %%
# Clipping: a high rate with momentum jumps about, unless the norm of the gradient has a bound.
for clipping in (None, ClipNorm(0.5)):
    model = train(optimizer=SGD(momentum=0.9), learning_rate=0.5, clipping=clipping)
    print(f"clipping={clipping}: accuracy {model.score(X_test, y_test):.3f}")

# %%
# Losses: softer labels give less sure probabilities.
for loss in ("log_loss", LogLoss(label_smoothing=0.1), "hinge"):
    model = train(loss=loss)
    print(f"loss={loss}: accuracy {model.score(X_test, y_test):.3f}")

# %%
# And for numbers: a few targets are wild. The squared error follows them, Huber's loss does not, and a quantile marks
# the lower edge of the range.
rng = np.random.default_rng(0)
x = np.sort(rng.uniform(-3, 3, 300))
target = np.sin(x) + 0.1 * rng.normal(size=300)
target[::15] += 4
figure, axes = plt.subplots()
axes.plot(x, target, ".", color="lightgray")
for loss in ("squared_error", Huber(delta=0.2), Quantile(0.1)):
    fit = BigMLPRegressor(
        (32, 32), loss=loss, learning_rate=0.01, early_stopping=True, n_iter_no_change=40, random_state=0
    )
    axes.plot(x, fit.fit(x.reshape(-1, 1), target).predict(x.reshape(-1, 1)), label=str(loss))
axes.set_ylim(-1.5, 3)
axes.legend()

# %%
# All curves of one training at once.
TrainingDisplay.from_estimator(train(schedule=Cosine(warmup=0.1), learning_rate=0.01))
plt.show()
