"""The laws of components, for those who make one of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from skbig._utils.component import Component
from skbig.components.augmentations import Augmentation
from skbig.components.averages import Average
from skbig.components.clipping import Clipping
from skbig.components.losses.base import Loss
from skbig.components.optimizers.base import Optimizer
from skbig.components.penalties import Penalty
from skbig.components.privacy import DPSGD
from skbig.components.schedules.base import Schedule
from skbig.networks.network import Network
from skbig.testing.augmentations import check_augmentation
from skbig.testing.averages import check_average
from skbig.testing.clipping import check_clipping
from skbig.testing.losses import check_loss
from skbig.testing.networks import check_network
from skbig.testing.optimizers import check_optimizer
from skbig.testing.penalties import check_penalty
from skbig.testing.privacy import check_privacy
from skbig.testing.recording import check_recordable
from skbig.testing.schedules import check_schedule
from skbig.testing.values import check_value

LAWS: dict[type[Component], Callable[[Any], None]] = {
    Optimizer: check_optimizer,
    Loss: check_loss,
    Penalty: check_penalty,
    Clipping: check_clipping,
    Schedule: check_schedule,
    Augmentation: check_augmentation,
    Average: check_average,
    Network: check_network,
    DPSGD: check_privacy,
}


def check_component(component: Component) -> None:
    """Check that a component keeps the laws of its kind, and say which one it breaks.

    Every component is a frozen dataclass that copies, compares, pickles and stacks by value. It treats a member in a
    population as it treats it alone, in float64 and float32, also where a hyperparameter is zero for some members only.
    What else is checked depends on the kind:

    - *optimizer*: shapes, updates in place, and goes down a quadratic bowl; `elementwise` is true to its word, and
      who moves a role reads the same factors.
    - *loss*: one number per row, which depends on that row only, with the right gradient.
    - *penalty*: smallest at zero, the right gradient, and a proximal step that never lets a weight grow.
    - *clipping*: a gradient never grows.
    - *schedule*: finite, not negative, a function of the progress.
    - *average*: a share in [0, 1], a function of the step.
    - *augmentation*: new rows of the same shape, a function of the noise.
    - *privacy*: no row moves the sum of gradients by more than it may.
    - *network*: shapes, the right gradient, rows apart unless it says that it couples them, and two processes that
      share a batch come to what one comes to.

    One that claims to be `recordable` gives the same parameters whether its steps are recorded or not.

    Parameters
    ----------
    component : Component
        An instance, with the hyperparameters that it is to be checked with.

    Raises
    ------
    AssertionError
        If a law is broken; the message says which.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> from skbig.components import Optimizer
    >>> from skbig.testing import check_component
    >>> @dataclass(frozen=True)
    ... class SignDescent(Optimizer):
    ...     def init(self, param):
    ...         return {}
    ...     def update(self, param, grad, state, rate, factors):
    ...         param.addcmul_(grad.sign_(), rate, value=-1)
    >>> check_component(SignDescent())

    An optimizer that mixes its members is found out:

    >>> @dataclass(frozen=True)
    ... class Mixing(SignDescent):
    ...     def update(self, param, grad, state, rate, factors):
    ...         param.sub_(rate * grad.mean(0))
    >>> check_component(Mixing())
    Traceback (most recent call last):
        ...
    AssertionError: Mixing must treat a member in a population as it treats it alone, but its update does not.
    """
    laws = [check for interface, check in LAWS.items() if isinstance(component, interface)]
    if not laws:
        kinds = ", ".join(interface.__name__ for interface in LAWS)
        raise AssertionError(f"A component must be an instance of one of {kinds}. Got {component!r} instead.")
    check_value(component)
    laws[0](component)
    check_recordable(component)
