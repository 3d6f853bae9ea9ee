"""The parameters that every estimator has: how it is trained, and on what."""

from __future__ import annotations

import os
from collections.abc import Callable as Function
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.metrics import get_scorer_names
from torch import Tensor

from skbig._utils.device import PRECISIONS
from skbig._utils.validation import COUNT, Boolean, Callable, Constraint, Instance, Interval, Options
from skbig.components.augmentations import Augmentation
from skbig.components.averages import Average
from skbig.components.clipping import Clipping
from skbig.components.losses.base import Loss
from skbig.components.optimizers.base import Optimizer
from skbig.components.param_groups import GroupFactors
from skbig.components.penalties import Penalty
from skbig.components.privacy import DPSGD
from skbig.components.schedules.base import Schedule
from skbig.estimators.declaration import declared, estimator, parameter

if TYPE_CHECKING:
    from skbig.distributed.backend import Backend


@dataclass(frozen=True)
class ScorerName(Constraint):
    """The name of a scorer."""

    def accepts(self, value: Any) -> bool:
        return isinstance(value, str) and value in get_scorer_names()

    def __str__(self) -> str:
        return "a name of sklearn.metrics.get_scorer_names()"


@dataclass(frozen=True)
class Several(Constraint):
    """Some values by name in a dict, or in a list or a tuple; each is one that is accepted alone."""

    alone: tuple[Constraint, ...]

    def accepts(self, value: Any) -> bool:
        values = [*value.values()] if isinstance(value, Mapping) else value
        is_list = isinstance(values, list | tuple) and len(values) > 0
        return is_list and all(any(kind.accepts(item) for kind in self.alone) for item in values)

    def __str__(self) -> str:
        return "a list or a dict of these"


@dataclass(frozen=True)
class PathName(Constraint):
    """The path of a file or a directory; the empty one would be the current directory."""

    def accepts(self, value: Any) -> bool:
        return isinstance(value, str | os.PathLike) and bool(os.fspath(value))

    def __str__(self) -> str:
        return "a path that is not empty"


SCORINGS = (Options(("loss", None)), ScorerName(), Callable())


@estimator
class TrainingParameters:
    """How an estimator is trained, and on what."""

    loss: str | Loss | Function[..., Tensor] = parameter(
        "squared_error", words="str, Loss or callable", doc="What training minimises.", kind=Loss
    )
    penalty: str | Penalty | None = parameter(
        "l2",
        words="{'l2', 'l1', 'elasticnet', 'group_l1'}, Penalty or None",
        doc="""What is added to the loss for large weights (biases are free). 'l1' and 'elasticnet' give exact zeros,
        'group_l1' leaves out whole features and hidden units.""",
        kind=Penalty,
    )
    alpha: float = parameter(
        0.0001,
        Interval(0, None),
        words="float",
        doc="""Strength of the penalty, divided by the weight of the batch as in scikit-learn:
        ``loss + alpha / n * penalty``.""",
        stacks=True,
    )
    optimizer: str | Optimizer = parameter(
        "adam",
        words="str or Optimizer",
        doc="""'sgd', 'adagrad', 'rmsprop', 'adam', 'adamw', 'nadam', 'lion', 'muon', 'lbfgs', or a component such as
        ``AdamW(betas=(0.9, 0.95))``. 'lbfgs' reads the whole set in each iteration and is often the best choice for
        a few thousand rows or less.""",
        kind=Optimizer,
    )
    learning_rate: str | float = parameter(
        "auto",
        Options(("auto",)),
        Interval(0, None, "neither"),
        words="'auto' or float",
        doc="Base rate of the steps. 'auto' is the optimizer's own default, 0.001 for adam.",
        stacks=True,
    )
    param_groups: Mapping[str, float | Mapping[str, float]] | None = parameter(
        None,
        Options((None,)),
        GroupFactors(),
        words="dict or None",
        doc="""Parameters that are trained at a rate of their own: by their role ('weight', 'head', which is the last
        layer's weight, 'bias', 'scale', 'offset', 'embedding'), or by a pattern of their names, a number by which
        `learning_rate` is multiplied, as in ``{"encoder.*": 0.1, "bias": 0}``. A dict of two numbers,
        ``{"learning_rate": 0.1, "weight_decay": 0}``, multiplies the weight decay of the optimizer as well. Where
        several fit, the first counts.""",
        stacks=True,
    )
    schedule: str | Schedule | Function[[float], float] = parameter(
        "constant",
        words="str, Schedule or callable",
        doc="""How the rate changes: 'constant', 'exponential', 'linear', 'cosine', 'flat_cosine', 'coslog4', 'step',
        'inverse_time', 'invscaling', 'one_cycle', 'plateau'; a component such as ``Cosine(warmup=0.1)``; or a function
        of the share of training done, in [0, 1], that returns the factor of the base rate.""",
        kind=Schedule,
    )
    clipping: str | Clipping | None = parameter(
        None,
        words="{'norm', 'value'}, Clipping or None",
        doc="""How gradients are kept small: 'norm' shortens a member's gradient to length 1, 'value' cuts each entry to
        [-1, 1]; other bounds by ``ClipNorm(max_norm=5.0)``.""",
        kind=Clipping,
    )
    fedprox: float = parameter(
        0.0,
        Interval(0, None),
        words="float",
        doc="""Strength of FedProx's proximal term, which holds a client of a federation near the weights w0 that it was
        given: ``loss + fedprox / 2 * |w - w0|^2``, over all parameters. w0 are the weights with which the training
        began: those of `fit`, of the first `partial_fit`, or the last of `initialize` and `set_weights`.""",
        stacks=True,
    )
    augmentation: str | Augmentation | None = parameter(
        None,
        words="{'mixup', 'gaussian_noise', 'swap_noise'}, Augmentation or None",
        doc="What changes training batches. Validation and prediction see the rows as they are.",
        kind=Augmentation,
    )
    average: str | Average | None = parameter(
        None,
        words="{'ema'}, Average or None",
        doc="""Whether the model's weights are averaged over the steps: 'ema' is an exponential moving average, with
        another memory ``EMA(decay=0.99)``. Early stopping and callbacks see the averaged weights.""",
        kind=Average,
    )
    privacy: str | DPSGD | None = parameter(
        None,
        words="DPSGD or None",
        doc="""Differential privacy of the training rows: ``DPSGD(noise_multiplier=1.0)`` or
        ``DPSGD(target_epsilon=3.0)``. It reads rows by chance and runs all epochs; what it has spent is `epsilon_`, and
        curves of the training loss are NaN, as they would tell of rows.""",
        kind=DPSGD,
    )
    n_members: int = parameter(
        1,
        COUNT,
        words="int",
        doc="Networks trained side by side from different seeds; their predictions are averaged.",
        stacks=True,
    )
    batch_size: str | int = parameter(
        "auto",
        Options(("auto", "full")),
        COUNT,
        words="int, 'auto' or 'full'",
        doc="Rows per step; 'auto' is ``min(200, n_samples)``, 'full' the whole set.",
    )
    max_iter: int = parameter(
        200,
        COUNT,
        words="int",
        doc="Epochs: how often each row is read (iterations for 'lbfgs').",
        stacks=True,
    )
    max_time: float | None = parameter(
        None,
        Options((None,)),
        Interval(0, None, "neither"),
        words="float or None",
        doc="Seconds after which training ends; the schedule then ends on time too.",
    )
    shuffle: bool = parameter(
        True, Boolean(), words="bool", doc="Whether rows are read in a new random order in each epoch."
    )
    early_stopping: bool = parameter(
        False,
        Boolean(),
        words="bool",
        doc="""Whether training stops when the validation score stops improving; the best weights are kept. The
        validation rows are `X_val` of `fit`, else held out from X.""",
    )
    validation_fraction: float = parameter(
        0.1,
        Interval(0, 1, "neither"),
        words="float in (0, 1)",
        doc="Share of the rows held out for early stopping.",
        stacks=True,
    )
    n_iter_no_change: float = parameter(
        10,
        Interval(0, None, integer=True),
        Options((inf,)),
        words="int",
        doc="Epochs without improvement after which training stops.",
        stacks=True,
    )
    tol: float = parameter(
        1e-4,
        Interval(0, None),
        words="float",
        doc="""By how much the validation score, or without early stopping the training loss, must improve to count.
        For 'lbfgs': training stops when no entry of the gradient is larger.""",
        stacks=True,
    )
    scoring: str | Function[..., float] | Sequence[str] | Mapping[str, str | Function[..., float]] | None = parameter(
        "loss",
        *SCORINGS,
        Several(SCORINGS),
        words="'loss', str, callable, list, dict or None",
        doc="""What validation rows are scored by: their negative loss, any scorer of scikit-learn, or None for the
        estimator's own `score`. A plain ``scorer(estimator, X, y)`` gets the estimator as it stands after the epoch.
        Of several, in a list or in a dict by name, the first decides, and all are in `validation_curves_`.""",
        stacks=True,
    )
    warm_start: bool = parameter(
        False,
        Boolean(),
        words="bool",
        doc="Whether `fit` goes on from the last fit, optimizer state included.",
        stacks=True,
        identifies=False,
    )
    random_state: int | np.random.RandomState | None = parameter(
        None,
        Options((None,)),
        Interval(0, 2**32 - 1, integer=True),
        Instance((np.random.RandomState,), "a numpy.random.RandomState"),
        words="int, RandomState instance or None",
        doc="""The same int gives the same bits, on one device. Initial weights are those of scikit-learn's MLP with
        this seed.""",
        stacks=True,
    )
    device: str = parameter(
        "auto",
        Instance((str,), "a str"),
        words="{'auto', 'cpu', 'cuda', 'cuda:1', 'mps'}",
        doc="Where to compute; 'auto' takes a GPU if there is one.",
        identifies=False,
    )
    precision: str = parameter(
        "auto",
        Options(PRECISIONS),
        words="{'auto', 'float32', 'float64', 'tf32', 'bf16'}",
        doc="""'auto' follows X on a CPU (float64 in, float64 trained) and is float32 on a GPU. 'bf16' computes in
        bfloat16 and keeps the weights in float32.""",
    )
    backend: str | Backend | None = parameter(
        None,
        words="{'ddp', 'fsdp', 'tensor'}, DDP, FSDP, TensorParallel or None",
        doc="""Where training runs: None is this process alone, 'ddp' several processes, one for each GPU, with the same
        result; :class:`~skbig.DDP` says how many, and when to start them again. They are started by `fit`, which joins
        a launch by torchrun, SLURM or Ray instead, if there is one. For networks that one device does not hold,
        :class:`~skbig.FSDP` and :class:`~skbig.TensorParallel` leave to each process a part of the weights.""",
        stacks=True,
        identifies=False,
    )
    verbose: bool | int = parameter(
        False,
        Boolean(),
        Interval(0, None, integer=True),
        words="bool or int",
        doc="Whether a progress line is shown.",
        stacks=True,
        identifies=False,
    )
    checkpoint_dir: str | os.PathLike[str] | None = parameter(
        None,
        Options((None,)),
        PathName(),
        words="path or None",
        doc="""A directory in which `fit` saves its training. A fit that was killed goes on from the newest checkpoint,
        bit by bit, when it is repeated with the same data and parameters; one that has ended returns its model at once.
        `partial_fit` saves nothing.""",
        stacks=True,
        identifies=False,
    )
    checkpoint_every: float = parameter(
        60.0,
        COUNT,
        Interval(0, None, "neither"),
        words="int or float",
        doc="How often: an int counts epochs, a float seconds.",
        stacks=True,
        identifies=False,
    )


FREE = frozenset(name for name, field in declared(TrainingParameters).items() if not field.metadata["identifies"])
"""Parameters that may change from run to run of one fit."""
