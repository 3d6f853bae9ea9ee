"""Tensor parallel training: every process computes its part of each layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from skbig.distributed.backend import Backend
from skbig.networks.modules.layer import ModuleLayer
from skbig.networks.modules.network import ModuleNetwork
from skbig.networks.network import BuiltNetwork


@dataclass(frozen=True)
class TensorParallel(Backend, name="tensor"):
    """Train in several processes that split the layers of the network, by torch's ``DTensor`` [1]_: a `backend`.

    Of two layers that follow one another the first is split by its outputs and the second by its inputs [2]_: each
    worker has the units between them that are its own, for all rows, and the results of the second layer are summed.
    So weights, optimizer state and activations of a wide network are shared, and what is sent grows with the rows of
    a batch, not with the weights. That pays for layers too wide for one device, over a fast connection; otherwise
    `DDP` or `FSDP` are faster.

    The result is that of one process: random numbers, clipping by norm and penalties are those of the whole model.
    The fitted estimator is whole, in the memory of the host.

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
    The optimizer must move each number by itself: all do but 'muon', which needs whole matrices, and 'lbfgs'. Batches
    of sparse rows are made dense.

    References
    ----------
    .. [1] "Tensor Parallelism", PyTorch documentation, torch.distributed.tensor.
    .. [2] Shoeybi et al., "Megatron-LM: Training Multi-Billion Parameter Language Models Using Model Parallelism",
       2019.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skbig import BigMLPClassifier, TensorParallel
    >>> X, y = load_iris(return_X_y=True)
    >>> backend = TensorParallel(n_workers=2)
    >>> classifier = BigMLPClassifier((64, 64), backend=backend, device="cpu", learning_rate=0.01, random_state=0)
    >>> bool(classifier.fit(X, y).score(X, y) > 0.95)
    True
    """

    shares_rows: ClassVar[bool] = False
    shares_parameters: ClassVar[bool] = True

    def check_network(self, network: BuiltNetwork) -> None:
        """Raise ValueError when a layer does not say how it can be cut."""
        for layer in network.layers:
            if layer.cuts(by_outputs=False) is None:
                advice = "" if isinstance(layer, ModuleLayer) else ", or define its `cuts`"
                whole = network.network
                name = whole.source.name if isinstance(whole, ModuleNetwork) else type(layer).__name__
                raise ValueError(
                    f"backend='tensor' splits every layer, and {name} does not say how it is split. Use "
                    f"backend='fsdp', which splits any network{advice}."
                )
