"""Data parallel training: every process holds the whole model and computes its part of each batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from skbig._utils.validation import Interval
from skbig.distributed.backend import Backend, setting


@dataclass(frozen=True)
class DDP(Backend, name="ddp"):
    r"""Train in several processes by torch's ``DistributedDataParallel`` [1]_: a `backend` of the estimators.

    Each worker holds all weights and computes its part of every batch; the gradients are summed, and all workers take
    the same step. The result is that of one process, since with the weight :math:`W` of the whole batch

    .. math:: \nabla \frac{1}{W} \sum_{i \in \text{batch}} w_i \ell_i =
              \sum_{\text{workers}} \nabla \frac{1}{W} \sum_{i \in \text{part}} w_i \ell_i.

    Random numbers are those of one process too, the moments of a batch norm are taken over the whole batch, and a
    gradient is clipped when it is whole. So `batch_size` and `learning_rate` stay what they are for one process.

    `fit` starts the workers itself, on this machine, and ends them; it needs no main guard and works in notebooks, in
    threads and in workers of joblib. Inside a launch by others (torchrun, a SLURM step, Ray Train, or any process
    group that is initialised) it joins instead: every rank calls `fit` with the same arguments, and all end with the
    same fitted estimator. `predict` never needs the others. A search of this package hands whole fits out to the
    workers, and has all of them train its best candidate.

    Parameters
    ----------
    n_workers : int or None, default=None
        How many processes to start. None is one for each visible GPU; on a CPU one for four threads, at least 2 and
        at most 8. Inside a launch by others it is the number of its ranks that counts.
    timeout : float, default=1800
        Seconds without progress after which a worker is given up: a step, or the scoring of the validation rows, must
        not take longer.
    max_restarts : int, default=0
        How many times all workers are started again when one dies. They go on from the newest checkpoint in the
        `checkpoint_dir` of the estimator; without one they start over.
    sync_every : int, default=1
        1 sums gradients in every step. With more, each worker takes that many steps on its own, each on its part of a
        batch as on a batch of its own, then weights and optimizer states are averaged (local SGD [2]_). That needs
        less communication and is not the training of one process any more.

    References
    ----------
    .. [1] Li et al., "PyTorch Distributed: Experiences on Accelerating Data Parallel Training", VLDB 2020.
    .. [2] Stich, "Local SGD Converges Fast and Communicates Little", ICLR 2019.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skbig import DDP, BigMLPClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> classifier = BigMLPClassifier(backend=DDP(n_workers=2), device="cpu", learning_rate=0.01, random_state=0)
    >>> bool(classifier.fit(X, y).score(X, y) > 0.95)
    True
    """

    shares_rows: ClassVar[bool] = True
    shares_parameters: ClassVar[bool] = False
    spreads_searches: ClassVar[bool] = True

    sync_every: int = setting(1, Interval(1, None, integer=True))

    @property
    def steps_alone(self) -> int:
        return self.sync_every
