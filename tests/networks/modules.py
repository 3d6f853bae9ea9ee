"""Modules as users write them: a perceptron, convolutions, attention, embeddings, and some that are hard to stack."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor, nn


class Perceptron(nn.Module):
    """Hidden layers, with a normalization and dropout."""

    def __init__(
        self, n_features: int, n_outputs: int, width: int = 8, dropout: float = 0.0, norm: Any = None, depth: int = 1
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for i in range(depth):
            layers += [nn.Linear(width if i else n_features, width)]
            layers += [nn.Identity() if norm is None else norm(width), nn.ReLU(), nn.Dropout(dropout)]
        self.hidden = nn.Sequential(*layers)
        self.out = nn.Linear(width, n_outputs)

    def forward(self, X: Tensor) -> Tensor:
        return self.out(self.hidden(X))


class Convolutions(nn.Module):
    """Images (channels, height, width): a convolution, a batch norm, dropout of whole channels."""

    def __init__(self, input_shape: tuple[int, ...], n_outputs: int, channels: int = 3) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(input_shape[0], channels, 3), nn.BatchNorm2d(channels), nn.ReLU(), nn.Dropout2d(0.1)
        )
        self.head = nn.LazyLinear(n_outputs)

    def forward(self, X: Tensor) -> Tensor:
        return self.head(self.encoder(X).flatten(1))


class Words(nn.Module):
    """Sequences of whole numbers: the mean of their embeddings."""

    def __init__(self, n_outputs: int, n_words: int = 12, width: int = 5) -> None:
        super().__init__()
        self.embedding = nn.Embedding(n_words, width)
        self.out = nn.Linear(width, n_outputs)

    def forward(self, X: Tensor) -> Tensor:
        return self.out(self.embedding(X.long()).mean(1))


class Attention(nn.Module):
    """Sequences of vectors: a transformer's layer with its dropout."""

    def __init__(self, input_shape: tuple[int, ...], n_outputs: int, dropout: float = 0.2) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(input_shape[1], 2, 8, dropout, batch_first=True)
        self.out = nn.Linear(input_shape[1], n_outputs)

    def forward(self, X: Tensor) -> Tensor:
        return self.out(self.layer(X).mean(1))


class Recurrent(nn.Module):
    """Sequences of vectors, read one after another."""

    def __init__(self, input_shape: tuple[int, ...], n_outputs: int) -> None:
        super().__init__()
        self.reader = nn.GRU(input_shape[1], 4, batch_first=True)
        self.out = nn.Linear(4, n_outputs)

    def forward(self, X: Tensor) -> Tensor:
        return self.out(self.reader(X)[0][:, -1])


class Deciding(nn.Module):
    """Looks at values: the operations of a step depend on them."""

    def __init__(self, n_features: int, n_outputs: int) -> None:
        super().__init__()
        self.inner = nn.Linear(n_features, n_outputs)

    def forward(self, X: Tensor) -> Tensor:
        raw = self.inner(X)
        return raw if raw.mean().item() > 0 else 2 * raw


random = np.random.default_rng(0)
N_ROWS = 40
TABLE = random.normal(size=(N_ROWS, 4))
IMAGES = random.normal(size=(N_ROWS, 2, 6, 5))
SEQUENCES = random.normal(size=(N_ROWS, 3, 4))
TOKENS = random.integers(0, 12, size=(N_ROWS, 6))


def labels(X: np.ndarray) -> np.ndarray:
    """Three classes that a module can learn from rows of any shape."""
    total = X.reshape(len(X), -1)[:, :3].sum(1)
    return np.array(["low", "middle", "high"])[np.searchsorted(np.quantile(total, [1 / 3, 2 / 3]), total)]


MODULES: dict[str, tuple[Any, dict[str, Any], np.ndarray]] = {
    "perceptron": (Perceptron, {}, TABLE),
    "with dropout and layer norm": (Perceptron, {"dropout": 0.3, "norm": nn.LayerNorm}, TABLE),
    "with batch norm": (Perceptron, {"norm": nn.BatchNorm1d}, TABLE),
    "convolutions": (Convolutions, {}, IMAGES),
    "words": (Words, {}, TOKENS),
    "attention": (Attention, {}, SEQUENCES),
    "recurrent": (Recurrent, {}, SEQUENCES),
    "deciding": (Deciding, {}, TABLE),
}
