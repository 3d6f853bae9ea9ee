"""
Coming from MLPClassifier
=========================

``BigMLPClassifier`` keeps the names and meanings of ``MLPClassifier``, but for those that say how the weights are
updated. A fitted model can be taken over with its weights.
"""

# %%
# A model of scikit-learn's, as it may stand in a script today.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_wine
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler

from skbig import BigMLPClassifier, from_sklearn
from skbig.components import SGD

X, y = load_wine(return_X_y=True)
X = StandardScaler().fit_transform(X)
theirs = MLPClassifier(
    (30,), solver="sgd", learning_rate="adaptive", learning_rate_init=0.05, momentum=0.95, max_iter=500, random_state=0
).fit(X, y)

# %%
# Converted, it has the same settings under our names, and the same weights, so it predicts the same.
ours = from_sklearn(theirs)
print(ours)
print("largest difference of a probability:", np.abs(ours.predict_proba(X) - theirs.predict_proba(X)).max())

# %%
# The same by hand. ``optimizer`` stands for ``solver``, ``schedule`` for the word that ``learning_rate`` was, and
# ``learning_rate`` is the number.
by_hand = BigMLPClassifier(
    (30,), optimizer=SGD(momentum=0.95), schedule="plateau", learning_rate=0.05, max_iter=500, random_state=0
).fit(X, y)
print("accuracy on the training rows:", by_hand.score(X, y))

# %%
# Both take the same steps: their losses lie on one line.
figure, axes = plt.subplots(figsize=(6.4, 3.2), layout="constrained")
axes.semilogy(theirs.loss_curve_, color="lightgray", linewidth=7, label="MLPClassifier")
axes.semilogy(by_hand.loss_curve_, label="BigMLPClassifier")
axes.set(xlabel="epoch", ylabel="training loss")
axes.legend()

# %%
# A name from there is answered with the one from here.
for wrong in ({"solver": "sgd"}, {"learning_rate_init": 0.05}, {"learning_rate": "adaptive"}):
    try:
        BigMLPClassifier(**wrong).fit(X, y)
    except (TypeError, ValueError) as error:
        print(f"{wrong}: {error}\n")
plt.show()
