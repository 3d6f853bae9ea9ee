"""
Smaller models, and what they cost
==================================

One good network, and ways to a smaller one: fewer units, fewer weights, narrow matrices, or a small student that the
network teaches. Accuracy on held-out rows against the number of weights.
"""

# %%
# The network to start from.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import train_test_split

from skbig import BigMLPClassifier
from skbig.compress import Distilled, low_rank, prune

X, y = load_digits(return_X_y=True)
X, X_test, y, y_test = train_test_split(X / 16, y, random_state=0, stratify=y)
settings = {"learning_rate": 0.01, "schedule": "cosine", "n_iter_no_change": np.inf, "random_state": 0}
wide = BigMLPClassifier((128, 128), max_iter=20, **settings).fit(X, y)


def n_weights(model):
    """Return how many weights and biases are not zero."""
    return sum(np.count_nonzero(array) for array in model.get_weights())


# %%
# Each way with more and more taken away.
curves = {
    "half of the units, and half again": [prune(wide, X, y, share, structured=True) for share in (0.5, 0.75, 0.875)],
    "zeros": [prune(wide, X, y, share) for share in (0.8, 0.9, 0.95)],
    "matrices of low rank": [low_rank(wide, rank) for rank in (32, 16, 8)],
}
students = [BigMLPClassifier((units,), max_iter=40, **settings) for units in (8, 16, 32)]
curves["a student, taught"] = [
    Distilled(student, FrozenEstimator(wide), share=1.0, n_made=4, random_state=0).fit(X, y).student_
    for student in students
]
curves["the same, alone"] = [student.fit(X, y) for student in students]

# %%
# What is left of the accuracy.
figure, axis = plt.subplots(layout="constrained")
axis.axhline(wide.score(X_test, y_test), color="0.7", label=f"the whole network, {n_weights(wide):,} weights")
for name, models in curves.items():
    scores = [model.score(X_test, y_test) for model in models]
    axis.plot([n_weights(model) for model in models], scores, marker="o", label=name)
axis.set(xscale="log", xlabel="weights that are not zero", ylabel="accuracy on held-out rows", ylim=(0.85, 1.0))
axis.legend(loc="lower right")
plt.show()
