"""Callbacks where scikit-learn has none, before version 1.9: its protocol, for an estimator on its own.

A callback is told when a fit, and each epoch of it, begins and ends. What it asks for by keyword (`X`, `y`, `metadata`,
`fitted_estimator`) it is given, and what nobody asks for is not made.
"""

from __future__ import annotations

import copy
import functools
import inspect
import uuid
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

_HOOKS = ("setup", "teardown", "on_fit_task_begin", "on_fit_task_end")


class FitContext:
    """A task of a fit, as scikit-learn's CallbackContext: where it stands among others, and whom to tell."""

    source_estimator_name = source_task_name = None
    sequential_subtasks = True

    def __init__(
        self, callbacks: list[Any], estimator_name: str, task_name: str, task_id: int, parent: FitContext | None
    ) -> None:
        self._callbacks = callbacks
        self.estimator_name, self.task_name, self.task_id, self.parent = estimator_name, task_name, task_id, parent
        self.root_uuid: uuid.UUID = uuid.uuid4() if parent is None else parent.root_uuid
        self.init_time = datetime.now(UTC)
        self.max_subtasks = 0
        self._n_subtasks = 0

    def subcontext(self, task_name: str = "") -> FitContext:
        """Return the next task within this one."""
        self._n_subtasks += 1
        return FitContext(self._callbacks, self.estimator_name, task_name, self._n_subtasks - 1, self)

    def call_on_fit_task_begin(self, **facts: Any) -> FitContext:
        """Tell all callbacks that the task begins."""
        self._call("on_fit_task_begin", facts)
        return self

    def call_on_fit_task_end(self, **facts: Any) -> bool:
        """Tell all callbacks that the task has ended, and return whether one of them wants no more."""
        return self._call("on_fit_task_end", facts)

    def _call(self, hook: str, facts: dict[str, Any]) -> bool:
        estimator, made = facts["estimator"], dict[str, Any]()
        stop = False
        for callback in self._callbacks:
            method = getattr(callback, hook)
            wanted = [
                name for name, each in inspect.signature(method).parameters.items() if each.kind == each.KEYWORD_ONLY
            ]
            made |= {name: _made(name, facts) for name in wanted if name not in made}
            stop |= bool(method(estimator, self, **{name: made[name] for name in wanted}))
        return stop


def _made(name: str, facts: dict[str, Any]) -> Any:
    """Return what a callback asks for: of the fitted estimator, a copy with the attributes that it would have now."""
    if name not in ("X", "y", "metadata", "fitted_estimator"):
        raise TypeError(f"A callback may ask for X, y, metadata and fitted_estimator. It asks for {name}.")
    if name != "fitted_estimator":
        return facts.get(name)
    attributes = facts.get("reconstruction_attributes")
    if attributes is None:
        return None
    fitted = copy.copy(facts["estimator"])
    vars(fitted).update(attributes())
    return fitted


class CallbackSupportMixin:
    """What scikit-learn's mixin of this name does, but for callbacks that a surrounding estimator hands on."""

    def set_callbacks(self, *callbacks: Any) -> Any:
        """Set callbacks for the estimator.

        Parameters
        ----------
        *callbacks : callback instances
            Objects with the methods `setup`, `teardown`, `on_fit_task_begin` and `on_fit_task_end`.

        Returns
        -------
        self : estimator instance
        """
        for callback in callbacks:
            if isinstance(callback, type) or not all(callable(getattr(callback, hook, None)) for hook in _HOOKS):
                raise TypeError(
                    f"A callback must be an instance with the methods {', '.join(_HOOKS)}. Got {callback!r}."
                )
        if callbacks:
            self._skl_callbacks = list(callbacks)
        else:
            vars(self).pop("_skl_callbacks", None)
        return self

    def __sklearn_clone__(self) -> Any:
        clone: Any = super().__sklearn_clone__()  # type: ignore[misc]
        with suppress(AttributeError):
            clone._skl_callbacks = self._skl_callbacks
        return clone

    def _init_callback_context(self, max_subtasks: int = 0) -> FitContext:
        """Return the task of a fit that begins, and let the callbacks get ready."""
        callbacks = getattr(self, "_skl_callbacks", [])
        context = FitContext(callbacks, type(self).__name__, "fit", 0, None)
        context.max_subtasks = max_subtasks
        self._callback_fit_ctx, self._skl_callbacks_to_teardown = context, []
        for callback in callbacks:
            self._skl_callbacks_to_teardown.append(callback)
            callback.setup(self, context)
        return context


def with_callbacks(method: Callable[..., Any]) -> Callable[..., Any]:
    """Let callbacks that have got ready for a fit know when it is over, whatever happens in it."""

    @functools.wraps(method)
    def managed(estimator: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return method(estimator, *args, **kwargs)
        finally:
            _tear_down(estimator)

    return managed


def _tear_down(estimator: Any) -> None:
    context = vars(estimator).pop("_callback_fit_ctx", None)
    errors = []
    for callback in vars(estimator).pop("_skl_callbacks_to_teardown", []):
        try:
            callback.teardown(estimator, context)
        except Exception as error:  # the others are torn down all the same
            errors.append(error)
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise ExceptionGroup("Callbacks have failed at their teardown.", errors)
