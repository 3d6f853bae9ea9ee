"""What a fit is a part of. A search of this package says so by context variables, which the fits within it read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any

from skbig.estimators.given import Given

Receiver = Callable[[Any, Given, Given], None]
"""``receive(estimator, given, held)``: takes over a fit, in place of training at once."""

_in_search: ContextVar[bool] = ContextVar("skbig_in_search", default=False)
_in_candidate: ContextVar[bool] = ContextVar("skbig_in_candidate", default=False)
_receiver: ContextVar[Receiver | None] = ContextVar("skbig_receiver", default=None)


def searching() -> AbstractContextManager[None]:
    """Let fits know that they belong to a search; the last fit, of the best candidate, does too."""
    return _setting(_in_search, True)


def fitting_candidate() -> AbstractContextManager[None]:
    """Let fits know that they belong to a candidate of a search, which may be trained beside others."""
    return _setting(_in_candidate, True)


def receiving_fits(receive: Receiver) -> AbstractContextManager[None]:
    """Let `fit` hand over what it is given, and return: what is around the network is fitted, the network is not."""
    return _setting(_receiver, receive)


def fitting_at_once() -> AbstractContextManager[None]:
    """Let `fit` train, also where fits are handed over: what is fitted here is needed for what comes next."""
    return _setting(_receiver, None)


def inside_search() -> bool:
    """Whether a search of this package makes the fit."""
    return _in_search.get() or _in_candidate.get()


def inside_candidate() -> bool:
    """Whether a search of this package makes the fit, perhaps beside others: the last fit is none of these."""
    return _in_candidate.get()


def receiver_of_fits() -> Receiver | None:
    """Return who takes over fits; None where they train at once."""
    return _receiver.get()


@contextmanager
def _setting(variable: ContextVar[Any], value: Any) -> Iterator[None]:
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)
