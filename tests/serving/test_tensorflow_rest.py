"""TensorFlow Serving's REST API: each form of a request gives what the model itself gives."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from tests.fitting import WORDS, X, fitted, small, trained
from tests.serving.clients import Client, running

TABLE = pd.DataFrame({"size": X[:, 0], "city": np.where(X[:, 1] > 0, "Bern", "Köln"), "age": X[:, 2]})


def table_model() -> Any:
    columns = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["city"]), remainder=StandardScaler())
    return make_pipeline(columns, LogisticRegression()).fit(TABLE, WORDS)


MODELS = {
    "words": fitted(make_pipeline(StandardScaler(), small("multiclass")), X, WORDS),
    "values": trained("regression"),
    "two values": trained("multi-output"),
    "table": table_model(),
}


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with running(MODELS) as client:
        yield client


def test_rows_come_back_as_rows(client: Client) -> None:
    """Predictions by rows are the model's labels and probabilities."""
    rows = client.predict("words", instances=X[:5].tolist())["predictions"]
    assert [row["predict"] for row in rows] == MODELS["words"].predict(X[:5]).tolist()
    np.testing.assert_allclose([row["predict_proba"] for row in rows], MODELS["words"].predict_proba(X[:5]))


def test_columns_come_back_as_columns(client: Client) -> None:
    """Predictions by columns are the model's labels and probabilities."""
    columns = client.predict("words", inputs={"X": X[:5].tolist()})["outputs"]
    assert columns["predict"] == MODELS["words"].predict(X[:5]).tolist()
    np.testing.assert_allclose(columns["predict_proba"], MODELS["words"].predict_proba(X[:5]))
    assert client.predict("words", inputs=X[:5].tolist())["outputs"] == columns


def test_an_only_output_goes_without_its_name(client: Client) -> None:
    """A signature of one output gives the values alone."""
    expected = MODELS["words"].predict(X[:5]).tolist()
    assert client.predict("words", instances=X[:5].tolist(), signature_name="predict") == {"predictions": expected}
    assert client.predict("words", inputs=X[:5].tolist(), signature_name="predict") == {"outputs": expected}
    np.testing.assert_allclose(
        client.predict("values", instances=X[:5].tolist())["predictions"], MODELS["values"].predict(X[:5])
    )
    np.testing.assert_allclose(
        client.predict("two%20values", instances=X[:5].tolist())["predictions"], MODELS["two values"].predict(X[:5])
    )


@pytest.mark.parametrize("form", ["named rows", "rows", "named columns"])
def test_a_table_with_text_is_predicted(client: Client, form: str) -> None:
    """Columns of text and of numbers go in by name or by place, and a value that is missing is null."""
    table = TABLE[:6].astype(object)
    table.iloc[3, 1] = "elsewhere"
    body = {
        "named rows": {"instances": table.to_dict("records")},
        "rows": {"instances": table.to_numpy().tolist()},
        "named columns": {"inputs": table.to_dict("list")},
    }[form]
    answer = client.predict("table", **body, signature_name="predict_proba")
    found = answer["predictions" if "instances" in body else "outputs"]
    np.testing.assert_allclose(found, MODELS["table"].predict_proba(table.infer_objects()))


def test_text_may_come_in_base64(client: Client) -> None:
    """A text may be sent as bytes."""
    city = {"b64": base64.b64encode("Köln".encode()).decode()}
    answers = [
        client.predict("table", instances=[{"size": 1.0, "city": each, "age": 2}])["predictions"]
        for each in ("Köln", city)
    ]
    assert answers[0] == answers[1]


def test_classes_come_with_their_scores(client: Client) -> None:
    """:classify gives each label with its probability, in the order of classes_."""
    examples = [{"X": row} for row in X[:3].tolist()]
    result = client.ask("/v1/models/words:classify", {"examples": examples}).content["result"]
    assert [[label for label, _ in row] for row in result] == [["low", "mid", "top"]] * 3
    expected = MODELS["words"].predict_proba(X[:3])
    np.testing.assert_allclose([[score for _, score in row] for row in result], expected)


def test_examples_share_a_context(client: Client) -> None:
    """Features in the context are those of every example that has none of its own."""
    context = {"city": "Bern", "age": 1.0}
    body = {"context": context, "examples": [{"size": 0.5}, {"size": 0.5, "city": "Köln"}]}
    result = client.ask("/v1/models/table:classify", body).content["result"]
    table = pd.DataFrame({"size": [0.5, 0.5], "city": ["Bern", "Köln"], "age": [1.0, 1.0]})
    np.testing.assert_allclose([[score for _, score in row] for row in result], MODELS["table"].predict_proba(table))


def test_regression_gives_numbers(client: Client) -> None:
    """:regress gives one number for each example."""
    examples = [{"X": row} for row in X[:3].tolist()]
    result = client.ask("/v1/models/values:regress", {"examples": examples}).content["result"]
    np.testing.assert_allclose(result, MODELS["values"].predict(X[:3]))


@pytest.mark.parametrize(("name", "verb"), [("values", "classify"), ("words", "regress"), ("two%20values", "regress")])
def test_what_a_model_cannot_do_is_said(client: Client, name: str, verb: str) -> None:
    """A regressor has no classes, a classifier and one with several outputs no single number."""
    answer = client.ask(f"/v1/models/{name}:{verb}", {"examples": [{"X": [0.0] * 4}]})
    assert answer.status == 400
    assert "use :predict" in answer.content["error"]


def test_the_status_lists_the_versions(client: Client) -> None:
    """A model that is served is available."""
    fine = {"error_code": "OK", "error_message": ""}
    expected = {"model_version_status": [{"version": "1", "state": "AVAILABLE", "status": fine}]}
    for path in ("/v1/models/words", "/v1/models/words/versions/1"):
        assert client.ask(path).content == expected


def test_the_metadata_describes_the_signatures(client: Client) -> None:
    """The metadata has the names, types and shapes of what goes in and comes out."""
    content = client.ask("/v1/models/table/metadata").content
    assert content["model_spec"] == {"name": "table", "signature_name": "", "version": "1"}
    signatures = content["metadata"]["signature_def"]["signature_def"]
    assert signatures.keys() == {"serving_default", "predict", "predict_proba"}
    inputs, outputs = signatures["serving_default"]["inputs"], signatures["serving_default"]["outputs"]
    assert {name: info["dtype"] for name, info in inputs.items()} == {
        "size": "DT_DOUBLE",
        "city": "DT_STRING",
        "age": "DT_DOUBLE",
    }
    sizes = {name: [dim["size"] for dim in info["tensor_shape"]["dim"]] for name, info in outputs.items()}
    assert sizes == {"predict": ["-1"], "predict_proba": ["-1", "3"]}
    assert signatures["predict"]["outputs"].keys() == {"predict"}


def test_a_version_is_asked_by_its_number(client: Client) -> None:
    """The only version is asked with and without its number, and no other is there."""
    body = {"instances": X[:2].tolist()}
    assert client.ask("/v1/models/values/versions/1:predict", body).content == client.predict("values", **body)
    answer = client.ask("/v1/models/values/versions/2:predict", body)
    assert (answer.status, answer.content) == (
        404,
        {"error": "Version '2' of model 'values' is not served. Versions: 1."},
    )
    answer = client.ask("/v1/models/nobody:predict", body)
    assert answer.status == 404
    assert answer.content["error"] == (
        "There is no model 'nobody' here. Models: 'table', 'two values', 'values', 'words'."
    )
