"""What carries out the training of a fit: this process alone, all ranks of a launch, or workers that it starts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import torch

from skbig._utils.device import SingleDevice
from skbig.engine.train import Observer, Training
from skbig.estimators.estimator_training import EstimatorTraining
from skbig.estimators.search_context import inside_candidate

if TYPE_CHECKING:
    from skbig.distributed.backend import Backend

T = TypeVar("T")


class FitRunner(Protocol):
    """Trains what has been prepared.

    Attributes
    ----------
    stacks : bool
        Whether the training may be one of a stack.
    """

    @property
    def stacks(self) -> bool: ...

    def device(self, chosen: torch.device) -> torch.device:
        """Return what is trained on, where the estimator's parameter stands for the `chosen` one."""
        ...

    def home(self, backend: SingleDevice) -> SingleDevice:
        """Return where this process itself puts rows and members."""
        ...

    def first(self, function: Callable[[], T]) -> T:
        """Return what a function returns in the process that decides."""
        ...

    def train(self, training: EstimatorTraining, observers: Sequence[Observer]) -> None:
        """Train in place."""
        ...


class LocalFitRunner:
    """The process that calls `fit`, alone."""

    stacks = True

    def device(self, chosen: torch.device) -> torch.device:
        return chosen

    def home(self, backend: SingleDevice) -> SingleDevice:
        return backend

    def first(self, function: Callable[[], T]) -> T:
        return function()

    def train(self, training: EstimatorTraining, observers: Sequence[Observer]) -> None:
        Training.run(training, observers)


LOCAL = LocalFitRunner()


def runner_of(estimator: Any, backend: Backend | None) -> FitRunner:
    """Return what trains an estimator, by its resolved parameter `backend`, and `device`.

    Raises
    ------
    ValueError
        When the workers could not have devices of their own.
    RuntimeError
        When the environment tells of other ranks that do not come.
    """
    if backend is None or (backend.spreads_searches and inside_candidate()):
        return LOCAL
    # Here, for a fit by this process alone knows of no others.
    from skbig.distributed.placement import place_of

    context, device_type = place_of(estimator.device, backend)
    if context is not None:
        from skbig.distributed.ranks import Ranks
        from skbig.estimators.joined_fit import JoinedFitRunner

        return JoinedFitRunner(Ranks(context, backend), estimator)
    from skbig.estimators.launched_fit import LaunchedFitRunner

    return LaunchedFitRunner(backend, device_type)
