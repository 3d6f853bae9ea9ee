"""A fitted network as a module of torch.

Legend: N rows, F features, K raw outputs, C columns of a prediction.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from skbig.components.losses.base import INVERSE_LINKS, Loss
from skbig.data.targets import RegressionTargets
from skbig.inference.fitted_network import FittedNetwork
from skbig.inference.torch_layers import layer_module
from skbig.networks.modules.layer import ModuleLayer
from skbig.networks.modules.network import ModuleNetwork

_LINK_MODULES = {"identity": nn.Identity, "logistic": nn.Sigmoid}


class FittedModule(nn.Module):
    """A fitted network that predicts: (N, F) -> (N, C).

    Attributes
    ----------
    raw : nn.Module
        Raw predictions, (N, F) -> (N, K): of a classifier log-odds. `Pooled` or `Mean` of several members.
    link : nn.Module
        From raw predictions to predictions, (N, K) -> (N, C).
    """

    def __init__(self, raw: nn.Module, link: nn.Module) -> None:
        super().__init__()
        self.raw, self.link = raw, link

    def forward(self, X: Tensor) -> Tensor:
        if isinstance(self.raw, Mean):
            return torch.stack([self.link(member(X)) for member in self.raw.members]).mean(0)
        return self.link(self.raw(X))


class Mean(nn.Module):
    """The mean of what several modules give."""

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, X: Tensor) -> Tensor:
        return torch.stack([member(X) for member in self.members]).mean(0)


class Pooled(nn.Module):
    """The log-odds of the mean of several modules' probabilities, or, of several classes, their logarithms."""

    def __init__(self, members: Sequence[nn.Module], multiclass: bool) -> None:
        super().__init__()
        self.members, self.multiclass = nn.ModuleList(members), multiclass

    def forward(self, X: Tensor) -> Tensor:
        raw = torch.stack([member(X) for member in self.members])
        if self.multiclass:
            return raw.log_softmax(-1).logsumexp(0) - math.log(len(self.members))
        return functional.logsigmoid(raw).logsumexp(0) - functional.logsigmoid(-raw).logsumexp(0)


class _Divided(nn.Module):
    """Raw predictions over a temperature."""

    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, raw: Tensor) -> Tensor:
        return raw / self.temperature

    def extra_repr(self) -> str:
        return f"temperature={self.temperature:.4g}"


class _Decoded(nn.Module):
    """Predictions in the unit of y: scaled, shifted and kept between bounds."""

    scale: Tensor
    centre: Tensor
    low: Tensor
    high: Tensor

    def __init__(self, targets: RegressionTargets) -> None:
        super().__init__()
        for name in ("scale", "centre", "low", "high"):
            value = torch.as_tensor(np.array(getattr(targets, name), dtype=np.float64))
            self.register_buffer(name, value)

    def forward(self, prediction: Tensor) -> Tensor:
        return (prediction * self.scale + self.centre).clamp(self.low, self.high)


class _Named(nn.Module):
    """An inverse link of which torch has no module."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def forward(self, raw: Tensor) -> Tensor:
        return INVERSE_LINKS[self.name](raw)

    def extra_repr(self) -> str:
        return self.name


class _Own(nn.Module):
    """What a loss with a formula of its own makes of raw predictions."""

    def __init__(self, fitted: FittedNetwork) -> None:
        super().__init__()
        self.loss: Loss = fitted.loss
        self.for_classes, self.multiclass = fitted.for_classes, fitted.multiclass

    def forward(self, raw: Tensor) -> Tensor:
        return self.loss.probabilities(raw, self.multiclass) if self.for_classes else self.loss.predict(raw)


class _TwoColumns(nn.Module):
    """The probabilities of both classes, from that of the second one."""

    def forward(self, probability: Tensor) -> Tensor:
        return torch.cat([1 - probability, probability], -1)


class _Sure(nn.Module):
    """The probability of the only class."""

    def forward(self, probability: Tensor) -> Tensor:
        return torch.ones_like(probability)


def torch_module(fitted: FittedNetwork) -> FittedModule:
    """Return a fitted network as a module, in evaluation mode."""
    members = [member_module(fitted, i) for i in range(fitted.n_members)]
    raw = members[0]
    if len(members) > 1:
        raw = Pooled(members, fitted.multiclass) if fitted.pools else Mean(members)
    return FittedModule(raw, _link_module(fitted)).eval()


class UserModule(nn.Module):
    """A module of the user's own, from rows (N, F) or of its own shape to raw predictions (N, K)."""

    def __init__(self, module: nn.Module, layer: ModuleLayer) -> None:
        super().__init__()
        self.module, self.layer = module, layer

    def forward(self, X: Tensor) -> Tensor:
        raw = self.module(X.reshape(X.shape[0], *self.layer.row_shape))
        return self.layer.outputs(raw, raw.dtype, 1)


def member_module(fitted: FittedNetwork, member: int) -> nn.Module:
    """Return the raw predictions of a member as a module, (N, F) -> (N, K)."""
    network = fitted.network
    if isinstance(network.network, ModuleNetwork):
        arrays = {name: array[member] for name, array in fitted.arrays.items()}
        (layer,) = network.layers
        assert isinstance(layer, ModuleLayer)
        return UserModule(network.network.module_with(arrays, network.n_outputs), layer)
    parts = [layer_module(layer, fitted.of_layer(i, member)) for i, layer in enumerate(network.layers)]
    return nn.Sequential(*parts, *([_Divided(fitted.temperature)] if fitted.temperature != 1.0 else []))


def _link_module(fitted: FittedNetwork) -> nn.Module:
    name = fitted.link
    if name is None:
        link: nn.Module = _Own(fitted)
    elif name == "softmax":
        link = nn.Softmax(-1)
    else:
        link = _LINK_MODULES[name]() if name in _LINK_MODULES else _Named(name)
    if fitted.two_classes and fitted.loss.probabilistic:
        return nn.Sequential(link, _Sure() if fitted.one_class else _TwoColumns())
    if fitted.decodes:
        assert isinstance(fitted.targets, RegressionTargets)
        return nn.Sequential(link, _Decoded(fitted.targets))
    return link
