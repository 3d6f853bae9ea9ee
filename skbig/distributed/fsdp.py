"""Fully sharded training: every process computes its part of each batch, and keeps a part of the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from skbig.distributed.backend import Backend


@dataclass(frozen=True)
class FSDP(Backend, name="fsdp"):
    """Train in several processes that share rows and memory, by torch's ``fully_shard`` [1]_: a `backend`.

    Each worker computes its part of every batch, as with `DDP`, but holds only its part of the weights, of their
    gradients and of the optimizer's state. One layer after another is put together where it is needed, and let go
    again. So a network of P parameters with Adam takes about 4 P / n numbers on each of n devices instead of 4 P, and
    a step sends half as much again.

    The result is that of one process, as with `DDP`: random numbers, moments of a batch norm, clipping by norm and
    penalties are those of the whole batch and the whole model. The fitted estimator is whole, in the memory of the
    host, and so is what `fit` begins with; it is the devices that need to hold a part only.

    `fit` starts the workers itself, or joins the ranks of a launch by others, as `DDP` says.

    Parameters
    ----------
    n_workers : int or None, default=None
        How many processes to start, as for `DDP`.
    timeout : float, default=1800
        Seconds without progress after which a worker is given up.
    max_restarts : int, default=0
        How many times all workers are started again when one dies, as for `DDP`.

    Notes
    -----
    The optimizer must move each number by itself: all do but 'muon', which needs whole matrices, and 'lbfgs'.

    References
    ----------
    .. [1] Zhao et al., "PyTorch FSDP: Experiences on Scaling Fully Sharded Data Parallel", VLDB 2023.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skbig import FSDP, BigMLPClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> classifier = BigMLPClassifier(backend=FSDP(n_workers=2), device="cpu", learning_rate=0.01, random_state=0)
    >>> bool(classifier.fit(X, y).score(X, y) > 0.95)
    True
    """

    shares_rows: ClassVar[bool] = True
    shares_parameters: ClassVar[bool] = True
