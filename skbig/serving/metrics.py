"""Numbers for Prometheus.

Metrics live in a registry of their own, so that two servers in one process do not meet. Several worker processes share
theirs through files in the folder that PROMETHEUS_MULTIPROC_DIR names, and each answers for all.
"""

from __future__ import annotations

import os
from typing import Any

from skbig._utils.extras import import_extra

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Metrics:
    """Counts requests, and measures how long they take and how many are run together."""

    def __init__(self) -> None:
        self._library = import_extra("prometheus_client", "serve", "skbig.serving")
        self._registry = registry = self._library.CollectorRegistry()
        counter, histogram, gauge = self._library.Counter, self._library.Histogram, self._library.Gauge
        labels = ["protocol", "model"]
        self._requests = counter("skbig_requests", "Requests answered.", [*labels, "code"], registry=registry)
        self._seconds = histogram(
            "skbig_request_seconds", "From the first byte to the answer.", labels, registry=registry, buckets=_SECONDS
        )
        self._rows = counter("skbig_rows", "Rows that went through a model.", ["model"], registry=registry)
        self._batches = histogram(
            "skbig_batch_requests", "Requests run together.", ["model"], registry=registry, buckets=_COUNTS
        )
        self._served = gauge(
            "skbig_model_served",
            "1 while a version of a model is served.",
            ["model", "version"],
            registry=registry,
            multiprocess_mode="livemax",
        )

    def answered(self, protocol: str, model: str, code: int, seconds: float) -> None:
        """Note a request; `model` is "" where there is no such model, so that nobody invents labels."""
        self._requests.labels(protocol, model, code).inc()
        self._seconds.labels(protocol, model).observe(seconds)

    def batch(self, model: str, n_calls: int, n_rows: int) -> None:
        """Note a run of a model."""
        self._batches.labels(model).observe(n_calls)
        self._rows.labels(model).inc(n_rows)

    def served(self, model: str, version: int, is_served: bool) -> None:
        """Note that a version is served, or not any more."""
        self._served.labels(model, version).set(int(is_served))

    def text(self) -> tuple[bytes, str]:
        """Return all numbers as Prometheus reads them, and their content type."""
        registry: Any = self._registry
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            multiprocess = import_extra("prometheus_client.multiprocess", "serve", "skbig.serving")
            registry = self._library.CollectorRegistry()
            multiprocess.MultiProcessCollector(registry)
        return self._library.generate_latest(registry), self._library.CONTENT_TYPE_LATEST
