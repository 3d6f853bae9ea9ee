"""
How much a model tells of its rows
==================================

An attacker who holds a model asks of a row: was it among those that the model was trained on? We give him the strongest
attack that is known, by shadow models, against models that are trained with more and more noise.
"""

# %%
# Labels of which every fifth is wrong: a network learns the wrong ones by heart, and that can be told from it.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import make_classification
from sklearn.metrics import roc_curve

from skbig import BigMLPClassifier
from skbig.components import DPSGD
from skbig.privacy import membership_attack

X, y = make_classification(1400, 20, n_informative=6, flip_y=0.2, class_sep=1.5, random_state=0)
X_in, X_out, X_test = X[:400], X[400:800], X[800:]
y_in, y_out, y_test = y[:400], y[400:800], y[800:]

plain = BigMLPClassifier((64,), learning_rate=0.01, max_iter=60, n_iter_no_change=60, schedule="cosine", random_state=0)
models = {"no noise": plain}
for noise in (0.5, 2.0, 8.0):
    models[f"noise {noise:g}"] = BigMLPClassifier(
        (64,), privacy=DPSGD(noise_multiplier=noise), learning_rate=0.01, max_iter=60, schedule="cosine", random_state=0
    )

# %%
# Twelve shadows of each model are trained as one stack.

accuracies, attacks = [], []
for name, model in models.items():
    model.fit(X_in, y_in)
    accuracies.append(model.score(X_test, y_test))
    attacks.append(membership_attack(model, X_in, X_out, y_in, y_out, n_shadows=12, random_state=0))
    print(f"{name}: accuracy {accuracies[-1]:.3f}, {attacks[-1]}")

# %%
# On the left, how often the attacker is right about rows of the model, at each rate of false alarms: along the diagonal
# he guesses. On the right, what it costs. Some noise even helps here, since what is learnt by heart is wrong; noise
# that leaves the attacker guessing costs some points of the best.

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
colours = plt.get_cmap("viridis")(np.linspace(0, 0.9, len(models)))
for (name, attack), colour in zip(zip(models, attacks, strict=True), colours, strict=True):
    members = np.r_[np.ones(len(attack.scores_in)), np.zeros(len(attack.scores_out))]
    false, true, _ = roc_curve(members, np.r_[attack.scores_in, attack.scores_out])
    left.plot(false, true, color=colour, label=name)
left.plot([0, 1], [0, 1], color="0.7", linestyle="--")
left.set(xlabel="false alarms", ylabel="rows found", title="What an attacker finds out")
left.legend(frameon=False)
for (name, accuracy), attack, colour in zip(zip(models, accuracies, strict=True), attacks, colours, strict=True):
    right.scatter(attack.auc, accuracy, color=colour, s=60)
    right.annotate(name, (attack.auc, accuracy), textcoords="offset points", xytext=(7, 4))
right.axvline(0.5, color="0.7", linestyle="--")
right.margins(x=0.35, y=0.15)
right.set(xlabel="AUC of the attack", ylabel="accuracy on new rows", title="What it costs")
plt.show()

# %%
# An attack that fails proves nothing: a better one may come. What holds against all of them is ``epsilon_``, which an
# estimator has after a private fit, with ``pip install "skbig[privacy]"``.
