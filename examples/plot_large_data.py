"""
Data larger than memory
=======================

``fit``, ``partial_fit``, ``predict`` and ``score`` take rows that are not in memory: memory maps, HDF5, Zarr and Dask
arrays, Parquet, sparse rows in files, and whatever else has a ``shape``, a ``dtype`` and slices of rows.
"""

# %%
# So a class of one's own will do. Here it stands for a gigabyte of records of eight machines, one machine after the
# other, unpacked when they are asked for. It notes what was asked for.
import matplotlib.pyplot as plt
import numpy as np

from skbig import BigMLPClassifier

rng = np.random.default_rng(0)
noise = rng.standard_normal((100_000, 60), dtype=np.float32)
typical = 0.4 * rng.standard_normal((8, 60), dtype=np.float32)


class Records:
    """Rows that are made when they are asked for."""

    shape, dtype = (4_500_000, 60), np.dtype(np.float32)

    def __init__(self):
        self.asked = []

    def __getitem__(self, rows):
        self.asked.append((rows.start, rows.stop))
        made = np.take(typical, machine[rows], axis=0)
        first = rows.start % (len(noise) - len(made))
        return np.add(made, noise[first : first + len(made)], out=made)


machine = np.sort(rng.integers(8, size=Records.shape[0]))
X = Records()
print(f"{np.prod(X.shape) * X.dtype.itemsize / 1e9:.2f} GB")

# %%
# Training is as ever; the labels are in memory. No more than a block of rows is asked for at once, and of the set a
# buffer is held, one part in twenty or 128 MB, twice.
model = BigMLPClassifier((32,), batch_size=4096, max_iter=1, schedule="cosine", device="cpu", random_state=0)
model.fit(X, machine)
largest = max(stop - start for start, stop in X.asked)
print(f"{len(X.asked)} blocks, the largest of {largest * X.shape[1] * 4 / 1e6:.2f} MB")

# %%
# Records that nobody has seen, in memory this time, since they are few.
test_machine = rng.integers(8, size=20_000)
X_test = rng.standard_normal((len(test_machine), 60), dtype=np.float32) + typical[test_machine]
print(f"accuracy {model.score(X_test, test_machine):.3f}")

# %%
# The records are sorted by their labels, which is the worst order to learn in. Read as they lie, the network forgets
# each machine over the next one.
as_they_lie = BigMLPClassifier(
    (32,), batch_size=4096, max_iter=1, shuffle=False, schedule="cosine", device="cpu", random_state=0
).fit(Records(), machine)
print(f"accuracy {as_they_lie.score(X_test, test_machine):.3f} without shuffling")

# %%
# This is what the epoch asked for. A point is a block, its colour the machine. Chunks of all parts of the set are
# read side by side, so the buffer, whose rows are shuffled together, holds records of every machine at any time. The
# order is a function of ``random_state`` and of the epoch: another fit reads the same.
starts = np.array([start for start, _ in X.asked])
figure, ax = plt.subplots(layout="constrained")
ax.scatter(np.arange(len(starts)), starts / 1e6, c=machine[starts], cmap="tab10", s=8)
ax.set(xlabel="block, in the order of reading", ylabel="first row of the block, millions", title="One epoch")
plt.show()
