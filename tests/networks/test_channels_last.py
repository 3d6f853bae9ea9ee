"""Convolutions whose channels lie last in memory come to the same, and are used where a module allows it."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from skbig import BigModuleClassifier
from skbig.networks.modules.network import ModuleNetwork
from tests.networks.modules import MODULES, Perceptron

IMAGES = np.random.default_rng(0).normal(size=(40, 1, 6, 6)).astype(np.float32)
CLASSES = (IMAGES.mean((1, 2, 3)) > 0).astype(int)


class Flattening(nn.Module):
    """Two convolutions and what a test is about: how the result becomes columns."""

    def __init__(self, n_outputs: int, by_view: bool = False, dropout: float = 0.0) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(dropout), nn.MaxPool2d(2)),
            nn.Conv2d(4, 5, 1),
        )
        self.by_view, self.head = by_view, nn.Linear(20, n_outputs)

    def forward(self, X: Tensor) -> Tensor:
        made = self.layers(X)
        return self.head(made.view(len(X), -1) if self.by_view else made.flatten(1))


def channels_last(module: Any, X: np.ndarray, **settings: Any) -> tuple[str, ...]:
    tried = ModuleNetwork(module, tuple(settings.items())).tried(torch.from_numpy(X[:7]), 1, torch.float32)
    assert tried.facts is not None
    return tried.facts.channels_last


def test_which_modules_allow_it() -> None:
    """Those whose results are the same: not one that takes a view of a convolution's result, nor one without any."""
    assert channels_last(Flattening, IMAGES, dropout=0.5) == ("layers.0.weight", "layers.5.weight")
    assert channels_last(Flattening, IMAGES, by_view=True) == ()
    assert channels_last(Perceptron, MODULES["perceptron"][2]) == ()


@pytest.mark.parametrize("parameters", [{}, {"freeze": ["layers.0.*"]}, {"n_members": 2}, {"module__dropout": 0.3}])
def test_a_fit_comes_to_the_same(parameters: dict[str, Any]) -> None:
    """In single precision a fit is that of a module which allows no such layout, but for rounding."""
    one, other = (
        BigModuleClassifier(
            Flattening,
            **{"module__by_view": by_view, "max_iter": 3, "batch_size": 16, "optimizer": "sgd", "random_state": 0},
            **parameters,
        )
        for by_view in (False, True)
    )
    with pytest.warns(match="Maximum iterations"):
        one.fit(IMAGES, CLASSES), other.fit(IMAGES, CLASSES)
    for name, value in one.weights_.items():
        np.testing.assert_allclose(value, other.weights_[name], rtol=1e-3, atol=1e-4, err_msg=name)
    np.testing.assert_allclose(one.predict_proba(IMAGES), other.predict_proba(IMAGES), atol=1e-4)


class LeavesTorch(Flattening):
    """Predicts by what a gradient would forbid."""

    def forward(self, X: Tensor) -> Tensor:
        if self.training:
            return super().forward(X)
        self.head.weight.clamp_(-10, 10)
        return torch.from_numpy(super().forward(X).numpy())


def test_a_module_that_predicts_without_gradients() -> None:
    model = BigModuleClassifier(LeavesTorch, max_iter=1, schedule="cosine", random_state=0).fit(IMAGES, CLASSES)
    assert model.predict(IMAGES).shape == (40,)


def test_modules_are_let_go() -> None:
    """What has been found out of a module does not keep its weights in memory."""
    module = Flattening(1)
    alive = weakref.ref(module)
    BigModuleClassifier(module, max_iter=1, schedule="cosine", random_state=0).fit(IMAGES, CLASSES)
    del module
    gc.collect()
    assert alive() is None
