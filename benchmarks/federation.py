"""How near federated training comes to training on all rows: ``python -m benchmarks.federation``.

Digits are dealt to clients, each of which trains some epochs on its own rows in each round; then their weights are
averaged by the number of rows. Scored is on held-out rows, means over seeds; "central" trains as many epochs on all
rows. Reached is the first round after which the mean is within two points of it, the slowest of the seeds.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from benchmarks.environment import begin_again_without_hobbles
from benchmarks.peers import not_converged
from benchmarks.timing import threads
from skbig import BigMLPClassifier

Deal = Callable[[np.ndarray, np.random.RandomState], list[np.ndarray]]
"""Returns the rows of each client."""

POINTS = 0.02


def alike(y: np.ndarray, random: np.random.RandomState) -> list[np.ndarray]:
    """Deal rows to three clients by chance."""
    return np.array_split(random.permutation(len(y)), 3)


def by_shares(y: np.ndarray, random: np.random.RandomState) -> list[np.ndarray]:
    """Deal each class to three clients, by shares that Dirichlet's distribution draws: classes may be missing."""
    owner = np.empty(len(y), dtype=int)
    for digit in np.unique(y):
        rows = np.flatnonzero(y == digit)
        owner[rows] = random.choice(3, len(rows), p=random.dirichlet([0.5] * 3))
    return [np.flatnonzero(owner == client) for client in range(3)]


def by_halves(y: np.ndarray, random: np.random.RandomState) -> list[np.ndarray]:
    """Give one of two clients half of the classes, and the other the rest."""
    first = np.isin(y, random.permutation(10)[:5])
    return [np.flatnonzero(first), np.flatnonzero(~first)]


DEALS: dict[str, Deal] = {"by chance": alike, "by Dirichlet's shares": by_shares, "half of the classes": by_halves}


def estimator(**parameters: Any) -> BigMLPClassifier:
    settings = {"optimizer": "sgd", "learning_rate": 0.05, "batch_size": 32, "alpha": 0.0, "random_state": 0}
    return BigMLPClassifier((32,), **settings | parameters)


def rounds(
    split: Sequence[np.ndarray], clients: list[np.ndarray], n_rounds: int, n_epochs: int, fedprox: float
) -> list[float]:
    """Return the accuracy of the mean after each round."""
    X, X_test, y, y_test = split
    server = estimator(fedprox=fedprox).initialize(n_features=X.shape[1], classes=range(10))
    members = [copy.deepcopy(server) for _ in clients]
    scores = []
    for _ in range(n_rounds):
        for member, rows in zip(members, clients, strict=True):
            member.set_weights(server.get_weights())
            for _ in range(n_epochs):
                member.partial_fit(X[rows], y[rows])
        all_weights = zip(*(member.get_weights() for member in members), strict=True)
        sizes = [len(rows) for rows in clients]
        server.set_weights([np.average(arrays, axis=0, weights=sizes) for arrays in all_weights])
        scores.append(server.score(X_test, y_test))
    return scores


def central(split: Sequence[np.ndarray], n_epochs: int) -> float:
    """Return the accuracy of a network that is trained on all rows."""
    X, X_test, y, y_test = split
    model = estimator().initialize(n_features=X.shape[1], classes=range(10))
    for _ in range(n_epochs):
        model.partial_fit(X, y)
    return model.score(X_test, y_test)


def compare(deal: Deal, n_rounds: int, n_epochs: int, fedprox: float, n_seeds: int) -> tuple[float, float, int | None]:
    """Return the accuracy of central training and of the last round, and after how many rounds all seeds are near."""
    wanted, reached, found = [], [], []
    for seed in range(n_seeds):
        X, y = load_digits(return_X_y=True)
        split = train_test_split(X / 16, y, random_state=seed, stratify=y)
        wanted.append(central(split, n_rounds * n_epochs))
        scores = rounds(split, deal(split[2], np.random.RandomState(seed)), n_rounds, n_epochs, fedprox)
        reached.append(scores[-1])
        found.append(next((i + 1 for i, score in enumerate(scores) if score >= wanted[-1] - POINTS), None))
    slowest = None if None in found else max(each for each in found if each is not None)
    return float(np.mean(wanted)), float(np.mean(reached)), slowest


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a line for each way to deal rows, as they come."""
    made = argparse.ArgumentParser(prog="python -m benchmarks.federation", description=__doc__.splitlines()[0])
    made.add_argument("--seeds", type=int, default=3, help="how many (default: %(default)s)")
    made.add_argument("--rounds", type=int, default=50, help="how many (default: %(default)s)")
    made.add_argument("--threads", type=int, default=2, help="for torch and for NumPy's BLAS (default: %(default)s)")
    given = made.parse_args(arguments)
    columns = f"{'rows are dealt':26}{'local epochs':>14}{'fedprox':>9}{'central':>9}{'mean':>8}{'reached':>9}"
    print(f"{given.seeds} seeds, {given.rounds} rounds\n{columns}", flush=True)
    with threads(given.threads), not_converged():
        for name, deal in DEALS.items():
            for n_epochs, fedprox in ((1, 0.0), (5, 0.0), (5, 0.1)):
                wanted, mean, first = compare(deal, given.rounds, n_epochs, fedprox, given.seeds)
                after = "never" if first is None else str(first)
                print(f"{name:26}{n_epochs:>14}{fedprox:>9}{wanted:>9.3f}{mean:>8.3f}{after:>9}", flush=True)


if __name__ == "__main__":
    begin_again_without_hobbles("benchmarks.federation")
    main()
