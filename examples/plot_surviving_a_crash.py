"""
Surviving a crash
=================

With ``checkpoint_dir`` a fit saves itself while it trains. Here a process is killed in the midst of it, as by a lack of
memory or a lost machine, and the same call goes on where it was: to the same weights, bit for bit.
"""

# %%
# A script that trains a network, and saves it after each epoch. In earnest every minute is enough, which is the
# default: ``checkpoint_every=60.0``.
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

folder = tempfile.TemporaryDirectory()
checkpoints = Path(folder.name) / "checkpoints"
script = Path(folder.name) / "train_digits.py"
script.write_text("""
import sys

from sklearn.datasets import load_digits

from skbig import BigMLPClassifier

X, y = load_digits(return_X_y=True)
X = X / 16


def train(directory):
    model = BigMLPClassifier(
        (64,), learning_rate=0.003, schedule="cosine", dropout=0.3, augmentation="mixup", batch_size=64,
        early_stopping=True, n_iter_no_change=100, max_iter=100, random_state=0,
        checkpoint_dir=directory, checkpoint_every=1,
    )
    return model.fit(X, y)


if __name__ == "__main__":
    train(sys.argv[1])
""")

# %%
# A process runs it, and once some epochs are saved it is killed, by a signal that cannot be caught.
environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
process = subprocess.Popen([sys.executable, str(script), str(checkpoints)], env=environment)
while process.poll() is None and len(list(checkpoints.glob("checkpoint-*[2-9]?"))) < 2:
    time.sleep(0.01)
process.kill()
process.wait()
print(sorted(path.name for path in checkpoints.glob("checkpoint-*")))

# %%
# What is left are the last two checkpoints; the older of them is there in case that the newer one gets damaged. One was
# written after each epoch, so that their numbers are those of the epochs. The same call goes on from the newest.
sys.path.insert(0, folder.name)
from train_digits import X, train

n_saved = max(int(path.name.rpartition("-")[2]) for path in checkpoints.glob("checkpoint-*"))
began = time.perf_counter()
resumed = train(checkpoints)
print(f"{n_saved} epochs were saved, {resumed.n_iter_ - n_saved} were left: {time.perf_counter() - began:.1f} s")

# %%
# A model that nobody disturbs is the same one: its weights, its curves, the epoch that was best.
undisturbed = train(None)
for one, other in zip(resumed.coefs_, undisturbed.coefs_, strict=True):
    assert np.array_equal(one, other)
assert resumed.validation_scores_ == undisturbed.validation_scores_
assert np.array_equal(resumed.predict_proba(X), undisturbed.predict_proba(X))

figure, axes = plt.subplots()
epochs = np.arange(1, resumed.n_iter_ + 1)
axes.plot(epochs, undisturbed.loss_curve_, color="lightgray", linewidth=6, label="undisturbed")
axes.plot(epochs[:n_saved], resumed.loss_curve_[:n_saved], label="the process that was killed")
axes.plot(epochs[n_saved:], resumed.loss_curve_[n_saved:], label="the one that went on")
axes.axvline(n_saved + 0.5, color="black", linestyle=":")
axes.annotate("kill -9", (n_saved + 0.5, max(resumed.loss_curve_)), xytext=(6, -12), textcoords="offset points")
axes.set(xlabel="epoch", ylabel="training loss")
axes.legend()
folder.cleanup()
plt.show()
