"""
L1: features that are switched off
==================================

An L1 penalty with its proximal step sets weights to exactly zero. A feature all of whose weights are zero is not used,
and need not be measured any more. A group lasso sets all weights of a feature to zero together.
"""

# %%
# Made data: five features of thirty matter, each in its own way.
import matplotlib.pyplot as plt
import numpy as np

from skbig import BigMLPRegressor
from skbig.components import ElasticNet

random = np.random.default_rng(0)
X = random.normal(size=(1000, 30))
y = np.tanh(2 * X[:, 0]) + X[:, 1] - 0.7 * X[:, 2] + np.exp(X[:, 3] / 2) + 0.7 * X[:, 4] * (X[:, 0] > 0)
y += 0.3 * random.normal(size=1000)
y = (y - y.mean()) / y.std()


def strengths(model):
    """Return the sum of the absolute first weights of every feature."""
    return np.abs(model.coefs_[0]).sum(axis=1)


# %%
# The same network with four penalties.
figure, axes = plt.subplots(4, figsize=(6.4, 6.4), sharex=True, layout="constrained")
for axis, penalty in zip(axes, ("l2", ElasticNet(l1_ratio=0.5), "l1", "group_l1"), strict=True):
    model = BigMLPRegressor((32,), penalty=penalty, alpha=5.0, learning_rate=0.01, max_iter=500, random_state=0)
    model.fit(X, y)
    used = np.flatnonzero(strengths(model))
    zeros = np.mean(model.coefs_[0] == 0)
    print(f"{penalty}: {len(used)} features used, {zeros:.0%} of first weights zero, R2 {model.score(X, y):.2f}")
    axis.bar(np.arange(X.shape[1]), strengths(model))
    axis.set_title(str(penalty))
axes[-1].set_xlabel("feature; the first five matter")
plt.show()
