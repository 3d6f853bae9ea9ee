"""What Prometheus reads is what has happened."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from tests.fitting import X, trained
from tests.serving.clients import Client, running


def numbers(client: Client) -> dict[tuple[str, ...], float]:
    """Return the samples of the metrics by name and the values of their labels."""
    answer = client.ask("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    families = text_string_to_metric_families(answer.content.decode())
    order = ("protocol", "model", "version", "code", "le")
    return {
        (sample.name, *(sample.labels[label] for label in order if label in sample.labels)): sample.value
        for family in families
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def test_requests_rows_and_batches_are_counted() -> None:
    """Requests by protocol, model and status, their seconds, and the rows that went through the model."""
    with running({"values": trained("regression")}) as client:
        for n_rows in (1, 5):
            client.predict("values", instances=X[:n_rows].tolist())
        client.infer("values", {"X": X[:4]})
        client.ask("/v1/models/values:predict", {"instances": [[1]]})
        for name in ("a", "b", "c"):
            client.ask(f"/v1/models/{name}:predict", {"instances": [[1]]})
        client.ask("/nowhere")
        found = numbers(client)
    requests = {key[1:]: value for key, value in found.items() if key[0] == "skbig_requests_total"}
    assert requests == {
        ("v1", "values", "200"): 2,
        ("v1", "values", "400"): 1,
        ("v2", "values", "200"): 1,
        ("v1", "", "404"): 3,  # a name that is no model's makes no label
        ("", "", "404"): 1,
    }
    assert found["skbig_rows_total", "values"] == 1 + 5 + 4
    assert found["skbig_batch_requests_sum", "values"] == 3
    assert found["skbig_request_seconds_count", "v1", "values"] == 3
    assert found["skbig_model_served", "values", "1"] == 1


def test_two_servers_count_for_themselves() -> None:
    """Two servers in one process share no number."""
    with running({"a": trained("regression")}) as first, running({"b": trained("regression")}) as second:
        first.predict("a", instances=X[:1].tolist())
        assert ("skbig_model_served", "a", "1") not in numbers(second)
        assert ("skbig_rows_total", "a") in numbers(first)
