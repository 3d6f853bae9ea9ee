"""ONNX files are served by ONNX Runtime, as the pipelines that they were made of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skbig.exceptions import IntegrityError, ModelFileError
from skbig.secure import encrypt, generate_key, generate_signing_keys, sign
from skbig.serving import Trust
from skbig.serving.loading import load_model
from tests.fitting import WORDS, X
from tests.serving.clients import running
from tests.serving.test_tensorflow_rest import MODELS, TABLE, table_model

pytestmark = pytest.mark.filterwarnings("default")

skl2onnx = pytest.importorskip("skl2onnx")
pytest.importorskip("onnxruntime")

MODEL = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, WORDS)


def graph(zipmap: bool) -> Any:
    return skl2onnx.to_onnx(MODEL, X[:1].astype(np.float32), options={"zipmap": zipmap})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = graph(zipmap=False)
    made.metadata_props.add(key="classes", value=json.dumps(MODEL.classes_.tolist()))
    (tmp_path / "words.onnx").write_bytes(made.SerializeToString())
    return tmp_path / "words.onnx"


def test_a_graph_is_served(path: Path) -> None:
    """Labels, probabilities and classes are those of the pipeline, by both protocols."""
    with running(path) as client:
        metadata = client.ask("/v2/models/words").content
        assert metadata["platform"] == "onnxruntime"
        assert metadata["inputs"] == [{"name": "X", "datatype": "FP32", "shape": [-1, 4]}]
        assert [entry["datatype"] for entry in metadata["outputs"]] == ["BYTES", "FP32"]
        found = client.infer("words", {"X": X[:6]})
        assert found["label"].tolist() == MODEL.predict(X[:6]).tolist()
        np.testing.assert_allclose(found["probabilities"], MODEL.predict_proba(X[:6]), rtol=1e-4, atol=1e-6)
        (row,) = client.ask("/v1/models/words:classify", {"examples": [{"X": X[0].tolist()}]}).content["result"]
        assert [label for label, _ in row] == ["low", "mid", "top"]


def test_maps_become_columns(tmp_path: Path) -> None:
    """The maps of a ZipMap are columns, and their keys the classes."""
    (tmp_path / "words.onnx").write_bytes(graph(zipmap=True).SerializeToString())
    model = load_model(tmp_path / "words.onnx", Trust())
    assert model.classes == ["low", "mid", "top"]
    found = model.run({"X": X[:5].astype(np.float32)}, ["output_probability"])["output_probability"]
    np.testing.assert_allclose(found, MODEL.predict_proba(X[:5]), rtol=1e-4, atol=1e-6)


def test_a_graph_reads_columns_of_text(tmp_path: Path) -> None:
    """A pipeline with text has an input for each column."""
    sample = TABLE[:1].astype({"size": np.float32, "age": np.float32})
    made = skl2onnx.to_onnx(table_model(), sample, options={"zipmap": False})
    (tmp_path / "table.onnx").write_bytes(made.SerializeToString())
    with running(tmp_path) as client:
        answer = client.predict("table", instances=TABLE[:5].to_dict("records"), signature_name="probabilities")
        np.testing.assert_allclose(answer["predictions"], MODELS["table"].predict_proba(TABLE[:5]), rtol=1e-4)
        missing = {"instances": [{"size": 1.0, "city": None, "age": 1.0}]}
        refused = client.ask("/v1/models/table:predict", missing)
        assert (refused.status, refused.content["error"]) == (
            400,
            "The model refuses these rows: A text of 'city' is missing.",
        )


def test_a_graph_is_checked_before_it_is_opened(path: Path) -> None:
    """A graph may be signed and encrypted, as any file."""
    key = generate_key(path.with_name("a.key"))
    private, public = generate_signing_keys(path.with_name("a.pem"), path.with_name("b.pem"))
    hidden = encrypt(path, key=key)
    for file, trust in ((path, Trust(verify_key=public)), (hidden, Trust(key=key, verify_key=public))):
        with pytest.raises(IntegrityError, match="has no signature"):
            load_model(file, trust)
        sign(file, private)
        assert load_model(file, trust).run({"X": X[:2].astype(np.float32)}, ["label"])["label"].tolist() == (
            MODEL.predict(X[:2]).tolist()
        )


def test_what_is_no_graph_is_an_error(tmp_path: Path) -> None:
    """A file that is no ONNX graph is named."""
    (tmp_path / "a.onnx").write_bytes(b"no graph")
    with pytest.raises(ModelFileError, match=r"a\.onnx cannot be loaded"):
        load_model(tmp_path / "a.onnx", Trust())
