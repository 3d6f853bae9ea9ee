"""A child that is made by fork fits and predicts, whatever its parent has computed on how many threads."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# The network and its batches are so large that a step, and a prediction, take all threads.
PROGRAM = """
import json, multiprocessing, os, pickle, threading, time, warnings
from concurrent.futures import ProcessPoolExecutor
import joblib, numpy as np, torch
from skbig import BigMLPClassifier

warnings.simplefilter("ignore")
torch.set_num_threads(2)
X = np.random.RandomState(0).normal(size=(4000, 40))
y = (X[:, 0] > 0).astype(int)

def fit(max_iter=2):
    return BigMLPClassifier((300, 100), batch_size=1000, max_iter=max_iter, device="cpu", random_state=0).fit(X, y)

def work(number):
    found = fit().coefs_[0] if number % 2 else model.predict_proba(X)
    return found, torch.get_num_threads()

def forked(number):
    reading, writing = os.pipe()
    if not (child := os.fork()):
        found, n_threads = work(number)
        with open(writing, "wb") as file:
            pickle.dump(found, file)
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as file:
        found = pickle.load(file)
    os.waitpid(child, 0)
    return found, 1

def while_it_fits():
    stop, begun = threading.Event(), threading.Event()
    def fit_on():
        while not stop.is_set():
            fit(1)
            begun.set()
    thread = threading.Thread(target=fit_on)
    thread.start()
    begun.wait()
    try:
        return [forked(number) for number in range(6)]
    finally:
        stop.set()
        thread.join()

model = fit()
expected = [model.predict_proba(X), model.coefs_[0]]
context = multiprocessing.get_context("fork")
with context.Pool(2) as pool:
    found = {"Pool": pool.map(work, range(2))}
with ProcessPoolExecutor(2, context) as pool:
    found["ProcessPoolExecutor"] = list(pool.map(work, range(2)))
found["joblib"] = joblib.Parallel(2, backend="multiprocessing")(joblib.delayed(work)(i) for i in range(2))
found["while it fits"] = while_it_fits()
same = {
    name: [n_threads == 1 and np.allclose(value, expected[i % 2]) for i, (value, n_threads) in enumerate(values)]
    for name, values in found.items()
}
print(json.dumps([same, torch.get_num_threads()], default=bool))
"""


@pytest.mark.thorough
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_computes() -> None:
    """Pools of forked children, and a child that is forked while a thread fits, have the parent's results."""
    command = [sys.executable, "-c", PROGRAM]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, start_new_session=True)
    try:
        same, n_threads = json.loads(parent.communicate(timeout=120)[0])
    finally:
        with suppress(ProcessLookupError):  # no child is left, unless one hangs
            os.killpg(parent.pid, signal.SIGKILL)
        parent.wait()
    assert {name for name, values in same.items() if all(values)} == set(same) and len(same) == 4
    assert n_threads == 2  # the parent has as many as before
