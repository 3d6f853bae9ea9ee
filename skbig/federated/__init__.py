"""Estimators as clients of a federation, by Flower.

Needs flwr: ``pip install "skbig[federated]"``. What an estimator itself has for federations, `initialize`,
`get_weights`, `set_weights` and `fedprox`, needs nothing.
"""

from skbig.federated.flower_client import client

__all__ = ["client"]
