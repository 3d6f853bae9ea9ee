"""Tries the installed package, and nothing else that lies around: `make dist` runs it in a clean environment."""

from __future__ import annotations

import importlib.metadata
import pickle
import subprocess
import sys
from pathlib import Path

from sklearn.datasets import load_iris
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skbig
from skbig import BigGridSearchCV, BigMLPClassifier

EXTRAS = ("matplotlib", "tqdm", "pyarrow", "ray", "pandas")

place = Path(skbig.__file__).resolve()
assert place.is_relative_to(Path(sys.prefix).resolve()), f"skbig was imported from {place}, not as installed"
assert (place.parent / "py.typed").exists(), "the mark that says that there are annotations is missing"
files = importlib.metadata.files("skbig") or ()
command = next(file for file in files if file.stem == "skbig" and file.suffix in ("", ".exe"))
spread = {file.parts[0] for file in files if file != command}
assert spread <= {"skbig", f"skbig-{importlib.metadata.version('skbig')}.dist-info"}, f"more was installed: {spread}"
said = subprocess.run([command.locate(), "versions"], capture_output=True, text=True, check=True).stdout
assert importlib.metadata.version("skbig") in said, f"the command says {said}"
for name in EXTRAS:
    assert name not in sys.modules, f"{name} belongs to an extra, and was imported without being asked for"

X_train, X_test, y_train, y_test = train_test_split(*load_iris(return_X_y=True), random_state=0)
network = BigMLPClassifier((16,), learning_rate=0.02, max_iter=100, schedule="cosine", random_state=0)
model = make_pipeline(StandardScaler(), network).fit(X_train, y_train)
again = pickle.loads(pickle.dumps(model))
assert (again.predict(X_test) == model.predict(X_test)).all()
search = BigGridSearchCV(model, {"bigmlpclassifier__alpha": [1e-4, 1e-2]}, cv=2).fit(X_train, y_train)
accuracy = search.score(X_test, y_test)
assert accuracy > 0.9, f"accuracy {accuracy}"
print(f"skbig {importlib.metadata.version('skbig')} from {place.parent}: accuracy {accuracy:.3f}")
