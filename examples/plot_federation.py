"""
A federation: several owners, one model
=======================================

Three clients have digits of their own, and send weights, not rows. More training between two averages saves rounds; a
proximal term holds the clients near the common weights, for when they drift apart, and here it only costs rounds.
"""

# %%
# Who has which digits: each client mostly four of the ten.
import copy

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from skbig import BigMLPClassifier
from skbig.components import SGD

X, y = load_digits(return_X_y=True)
X, X_test, y, y_test = train_test_split(X / 16, y, random_state=0, stratify=y)
random = np.random.RandomState(0)
owner = np.where(random.uniform(size=len(y)) < 0.9, y // 4, random.randint(3, size=len(y)))
print(np.array([np.bincount(y[owner == client], minlength=10) for client in range(3)]))


# %%
# A round: all clients begin with the server's weights, train on their own, and the server takes the mean.
def federation(n_rounds, n_epochs, fedprox=0.0):
    """Return the accuracy on held-out rows after each round."""
    server = BigMLPClassifier(
        (32,), optimizer=SGD(momentum=0.0), learning_rate=0.5, batch_size=32, fedprox=fedprox, random_state=0
    )
    server.initialize(n_features=64, classes=range(10))
    clients, scores = [copy.deepcopy(server) for _ in range(3)], []
    for _ in range(n_rounds):
        for number, client in enumerate(clients):
            client.set_weights(server.get_weights())
            for _ in range(n_epochs):
                client.partial_fit(X[owner == number], y[owner == number])
        weights = zip(*(client.get_weights() for client in clients), strict=True)
        server.set_weights([np.average(arrays, axis=0, weights=np.bincount(owner)) for arrays in weights])
        scores.append(server.score(X_test, y_test))
    return scores


# %%
# Central training on all rows is the line to come to.
central = BigMLPClassifier((32,), learning_rate=0.01, max_iter=40, schedule="cosine", random_state=0).fit(X, y)
figure, axis = plt.subplots(layout="constrained")
axis.axhline(central.score(X_test, y_test), color="0.7", label="all rows in one place")
for n_epochs, fedprox in ((1, 0.0), (4, 0.0), (4, 0.1)):
    scores = federation(10, n_epochs, fedprox)
    axis.plot(np.arange(1, 11), scores, marker=".", label=f"{n_epochs} epoch(s) a round, fedprox={fedprox}")
axis.set(xlabel="round", ylabel="accuracy on held-out rows", ylim=(0.4, 1.0))
axis.legend(loc="lower right")
plt.show()
