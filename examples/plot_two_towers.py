"""
Two towers for a table of pairs
===============================

Who likes what? Each row is a reader and a book, and the target is how much the one liked the other. A net with two
towers makes a vector of each side; that they point the same way is the prediction. The vectors of all books can be
kept, so that the best ones for a new reader are one product away.
"""

# %%
# The table is made up, so that we know what there is to be learnt: both sides have a few hidden tastes, and the rating
# is how well they agree, and some noise.
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from skbig import BigGridSearchCV, BigMLPRegressor, BigModuleRegressor

rng = np.random.default_rng(0)
n_pairs, n_tastes = 4000, 6
reader = rng.normal(size=(n_pairs, 8))
book = rng.normal(size=(n_pairs, 6))
tastes = np.tanh(reader @ rng.normal(size=(8, n_tastes)) / 5)
topics = np.tanh(book @ rng.normal(size=(6, n_tastes)) / 5)
rating = (tastes * topics).sum(axis=1) + 0.2 * rng.normal(size=n_pairs)

columns = [f"reader {i}" for i in range(8)] + [f"book {i}" for i in range(6)]
pairs = pd.DataFrame(np.hstack([reader, book]), columns=columns)
X_train, X_test, y_train, y_test = train_test_split(pairs, rating, random_state=0)


# %%
# The first columns are the reader's, the others the book's. Any module will do whose ``forward`` takes rows and returns
# a column for each target.
class TwoTowers(nn.Module):
    def __init__(self, n_features, n_reader=8, width=64, n_dims=16):
        super().__init__()
        self.n_reader = n_reader
        self.reader = nn.Sequential(nn.Linear(n_reader, width), nn.SiLU(), nn.Linear(width, n_dims))
        self.book = nn.Sequential(nn.Linear(n_features - n_reader, width), nn.SiLU(), nn.Linear(width, n_dims))

    def forward(self, X):
        sides = self.reader(X[:, : self.n_reader]), self.book(X[:, self.n_reader :])
        return (sides[0] * sides[1]).sum(-1, keepdim=True)


# %%
# It stands at the end of a pipeline, and what is searched may be the module's, the optimizer's, or a rate of one tower
# alone. Candidates that differ in numbers only are trained as one stack. The weights are averaged over the last steps.
towers = BigModuleRegressor(
    TwoTowers, optimizer="adamw", schedule="flat_cosine", average="ema", max_iter=12, batch_size=128, random_state=0
)
search = BigGridSearchCV(
    make_pipeline(StandardScaler(), towers),
    {
        "bigmoduleregressor__learning_rate": [0.003, 0.01],
        "bigmoduleregressor__param_groups": [{"book.*": 1.0}, {"book.*": 0.3}],
    },
    cv=3,
).fit(X_train, y_train)
print(search.best_params_)

# %%
# A perceptron sees both sides at once, and has to find out for itself that they are multiplied: that needs more rows.
perceptron = make_pipeline(
    StandardScaler(),
    BigMLPRegressor((128, 128), optimizer="adamw", schedule="cosine", max_iter=12, batch_size=128, random_state=0),
).fit(X_train, y_train)
scores = {"two towers": search.score(X_test, y_test), "perceptron": perceptron.score(X_test, y_test)}
print({name: f"R2 {score:.3f}" for name, score in scores.items()})

# %%
# The towers are modules of the fitted one, so that one side can be asked alone: how much does one reader like each of
# the books of the test set? That is one product of a matrix and a vector.
scaler, fitted = search.best_estimator_[0], search.best_estimator_[-1]
rows = torch.from_numpy(scaler.transform(X_test))
with torch.no_grad():
    shelf = fitted.module_.book(rows[:, 8:])
    likes = (shelf @ fitted.module_.reader(rows[:1, :8])[0]).numpy()
assert np.isclose(likes[0], search.predict(X_test[:1])[0])

figure, axes = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
axes[0].scatter(y_test, search.predict(X_test), s=4, alpha=0.4)
axes[0].axline((0, 0), slope=1, color="black", linewidth=0.8)
axes[0].set(xlabel="rating", ylabel="prediction", title="Pairs that were not trained on")
axes[1].hist(likes, bins=30)
axes[1].axvline(np.sort(likes)[-10], color="black", linewidth=0.8)
axes[1].set(xlabel="how much one reader will like it", ylabel="books", title="A shelf, and its best ten")
plt.show()
