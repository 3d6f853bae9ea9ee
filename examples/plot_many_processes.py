"""
Many processes, one training
============================

``backend=DDP(n_workers=2)`` trains by two processes, each of which computes its part of every batch. ``fit`` starts
them itself and ends them, and what comes out is what one process would have trained. On a machine with GPUs there is
one for each.
"""

# %%
# Handwritten digits, in float64, where "the same" can be seen best.
from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from skbig import DDP, BigMLPClassifier

X, y = load_digits(return_X_y=True)
X = X / 16


def train(backend, **parameters):
    """Return a network and the seconds that its fit took."""
    settings = {"hidden_layer_sizes": (64,), "learning_rate": 0.005, "dropout": 0.2, "batch_size": 64, "max_iter": 12}
    settings |= {"schedule": "cosine", "random_state": 0, "device": "cpu"}
    model = BigMLPClassifier(**settings | parameters, backend=backend)
    start = perf_counter()
    return model.fit(X, y), perf_counter() - start


alone, _ = train(None)
together, _ = train(DDP(n_workers=2))
difference = max(abs(one - other).max() for one, other in zip(alone.coefs_, together.coefs_, strict=True))
print(f"The weights differ by {difference:.1g} at most.")

# %%
# With ``sync_every`` the processes agree after so many steps only. That takes fewer messages, and is another training.
apart, _ = train(DDP(n_workers=2, sync_every=8))

figure, axes = plt.subplots(layout="constrained")
epochs = np.arange(1, len(alone.loss_curve_) + 1)
axes.plot(epochs, alone.loss_curve_, color="lightgray", linewidth=7, label="one process")
axes.plot(epochs, together.loss_curve_, label="two processes")
axes.plot(epochs, apart.loss_curve_, linestyle="--", label="two, sync_every=8")
axes.set(xlabel="epoch", ylabel="training loss", title="One training, whoever computes it")
axes.legend()

# %%
# What it costs: starting takes some seconds, mostly for importing torch in each process, and every step waits for a
# message. Here two processes share the cores that one process may use as well, and does where layers are wide. So there
# is little to gain, and for small networks much to lose. A GPU, or a machine, for each process is another matter.
X = X.astype(np.float32)
widths = [16, 128, 512]
seconds = {"one process": [], "two processes": []}
for width in widths:
    for name, backend in zip(seconds, (None, DDP(n_workers=2)), strict=True):
        model, needed = train(backend, hidden_layer_sizes=(width, width), batch_size=256)
        seconds[name].append(needed)

figure, axes = plt.subplots(layout="constrained")
places = np.arange(len(widths))
for shift, (name, needed) in zip((-0.2, 0.2), seconds.items(), strict=True):
    bars = axes.bar(places + shift, needed, 0.4, label=name, color="lightgray" if shift < 0 else "C0")
    axes.bar_label(bars, fmt="%.1f s")
axes.set_xticks(places, [f"({width}, {width})" for width in widths])
axes.set(xlabel="hidden layers", ylabel="seconds of a fit", title="12 epochs of 1797 rows, on the same cores")
axes.legend()
plt.show()
