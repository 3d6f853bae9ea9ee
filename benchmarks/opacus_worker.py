"""Trains with Opacus whenever it is told to, in a Python that has it: a line of JSON in, a line out when it is done."""

from __future__ import annotations

import json
import sys
import warnings
from typing import Any

import torch
from opacus import PrivacyEngine
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def train(task: dict[str, Any], X: torch.Tensor, y: torch.Tensor) -> None:
    """Train a network of one hidden layer with Adam, batches drawn by chance."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Linear(X.shape[1], task["width"]), nn.ReLU(), nn.Linear(task["width"], task["n_classes"])
    )
    module, optimizer, loader = PrivacyEngine().make_private(
        module=network,
        optimizer=torch.optim.Adam(network.parameters(), lr=0.001),
        data_loader=DataLoader(TensorDataset(X, y), batch_size=task["batch_size"]),
        noise_multiplier=task["noise_multiplier"],
        max_grad_norm=1.0,
    )
    loss = nn.CrossEntropyLoss()
    for _ in range(task["n_epochs"]):
        for rows, classes in loader:
            optimizer.zero_grad()
            loss(module(rows), classes).backward()
            optimizer.step()


def main() -> None:
    warnings.simplefilter("ignore")
    for line in sys.stdin:
        task = json.loads(line)
        torch.set_num_threads(task["threads"])
        generator = torch.Generator().manual_seed(0)
        X = torch.randn(task["n_rows"], task["n_features"], generator=generator)
        train(task, X, torch.randint(task["n_classes"], (task["n_rows"],), generator=generator))
        print("done", flush=True)


if __name__ == "__main__":
    main()
