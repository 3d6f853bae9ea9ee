"""
From a Pipeline to a server
===========================

A Pipeline that reads a table is trained, leaves Python as an ONNX graph that has been seen to predict the same, is
encrypted and signed on its way, and is served from the checked file. Two protocols ask it.

It needs ``pip install "skbig[onnx,secure,serve]"``. It starts a server, so the build of this page does not run it; a
test does.
"""

# %%
# A model of a table with numbers and words.
import json
import threading
import time
import urllib.request
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pandas as pd
import uvicorn
from sklearn.compose import make_column_transformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skbig import BigMLPClassifier
from skbig.onnx import to_onnx
from skbig.secure import decrypt, encrypt, generate_key, generate_signing_keys, sign, verify
from skbig.serving import create_app

random = np.random.RandomState(0)
X = pd.DataFrame({"weight": random.normal(150, 30, 600), "colour": random.choice(["red", "green", "blue"], 600)})
y = np.where((X["weight"] > 150) & (X["colour"] != "green"), "keep", "sort out")
columns = make_column_transformer(
    (StandardScaler(), ["weight"]), (OneHotEncoder(sparse_output=False, handle_unknown="ignore"), ["colour"])
)
model = make_pipeline(columns, BigMLPClassifier((32,), max_iter=60, schedule="cosine", random_state=0)).fit(X, y)
print(f"accuracy {model.score(X, y):.3f}")

# %%
# Where it is trained: the graph is run on these rows, and must predict what the Pipeline does. Then it is encrypted for
# the way, and signed by whoever trained it.
folder = Path(mkdtemp())
to_onnx(model, X, folder / "fruit.onnx")

key = generate_key(folder / "models.key")
private, public = generate_signing_keys(folder / "signer.pem", folder / "signer-public.pem")
sealed = encrypt(folder / "fruit.onnx", key=key)
sign(sealed, private)

# %%
# Where it is used: a file that was changed, cut or exchanged would raise here, before anything is loaded.
verify(sealed, public)
(folder / "served").mkdir()
decrypt(sealed, folder / "served" / "fruit.onnx", key=key)

# As ``skbig serve served/``, on a thread of this script, and on this machine only.
server = uvicorn.Server(uvicorn.Config(create_app(folder / "served"), port=0, log_level="warning"))
thread = threading.Thread(target=server.run)
thread.start()
while not server.started:
    time.sleep(0.01)
port = server.servers[0].sockets[0].getsockname()[1]


def ask(path, body):
    """Post JSON and return JSON."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", json.dumps(body).encode()) as answer:
        return json.load(answer)


# %%
# The protocol of TensorFlow Serving, by rows, and the Open Inference Protocol, by columns.
rows = pd.DataFrame({"weight": [180.0, 90.0], "colour": ["red", "green"]})
by_rows = ask("/v1/models/fruit:predict", {"instances": rows.to_dict("records")})
print(by_rows)

tensors = [
    {"name": "weight", "shape": [2, 1], "datatype": "FP32", "data": rows["weight"].tolist()},
    {"name": "colour", "shape": [2, 1], "datatype": "BYTES", "data": rows["colour"].tolist()},
]
by_columns = ask("/v2/models/fruit/infer", {"inputs": tensors})
print(by_columns["outputs"][0]["data"])

server.should_exit = True
thread.join()
assert by_columns["outputs"][0]["data"] == model.predict(rows).tolist()
