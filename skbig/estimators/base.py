"""What classifier and regressor share: scikit-learn's face over the one training loop.

A fit is a straight way: check -> resolve -> encode -> place -> train -> keep. Each stop takes values and returns
them; the estimator itself is read at the beginning and written at the end.
"""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted

from skbig.backends.single import SingleDevice, choose_backend, choose_device, plain_torch
from skbig.components.losses.base import Loss
from skbig.data.rows import as_tensor
from skbig.engine.history import History, continued_history
from skbig.engine.members import Members
from skbig.engine.recipe import Recipe
from skbig.engine.stopping import StoppingTracker
from skbig.engine.train import Observer, Training
from skbig.estimators.checkpointing import Saver, directory_of, go_on_from, has_ended
from skbig.estimators.fitted_state import (
    export_progress,
    import_tracker,
    network_arrays,
    normalization_arrays,
    public_weights,
)
from skbig.estimators.hints import PARAMETERS, hint_for
from skbig.estimators.inputs import (
    Given,
    check_memory,
    continued_members,
    hold_out,
    input_dtypes,
    make_recipe,
    network_of,
    new_members,
    placed,
    seeds_of,
)
from skbig.estimators.launching import team_of
from skbig.estimators.parameters import component_of, device_of, resolve_choices
from skbig.estimators.progress import ProgressLine
from skbig.estimators.scoring import Validation, raw_predictions, validation_rows
from skbig.estimators.sklearn_compat import (
    CallbackSupportMixin,
    callback_observer,
    check_rows,
    check_training_rows,
    check_validation_rows,
    check_weight,
    inside_search,
    scorer_of,
)
from skbig.estimators.teams import ALONE, Errand, Team
from skbig.exceptions import DivergenceError
from skbig.networks.mlp import MLP


@dataclass(kw_only=True)
class Session(Training):
    """A training of an estimator that is ready to run."""

    given: Given
    targets: Any
    backend: SingleDevice
    incremental: bool
    saver: Saver | None = None
    held: Given | None = None
    team: Team = ALONE

    def run(self, observers: Sequence[Observer] = ()) -> None:
        """Have it trained, with the best weights in the end."""
        self.team.train(Errand(self, self.backend, self.targets, self.held, self.saver), observers)

    def limit(self, n_epochs: int, schedule_epochs: int) -> None:
        """Train up to so many epochs in all, of a schedule that may go on further."""
        left = n_epochs - (self.members.epochs - self.first_epoch)
        self.recipe = replace(self.recipe, max_epochs=left, schedule_epochs=schedule_epochs)

    @property
    def n_before(self) -> int:
        """Epochs that earlier runs of this fit have done."""
        return 0 if self.incremental else self.members.epochs - self.first_epoch

    def seconds_left(self) -> float | None:
        """How long the training may still take."""
        return None if self.recipe.max_time is None else self.recipe.max_time - self.elapsed

    def reached(self) -> tuple[int, int]:
        """How far the training is: epochs noted down, and steps."""
        return len(self.history.loss), self.members.steps


class BaseBigMLP(CallbackSupportMixin, BaseEstimator):
    """Base of the multi-layer perceptrons; use `BigMLPClassifier` or `BigMLPRegressor`."""

    _for_classes: bool

    def set_params(self, **params: Any) -> BaseBigMLP:
        """Set parameters, also those of components: ``optimizer__betas``.

        A component is replaced, never changed: others may share it.
        """
        names = self._get_param_names()
        for name in params:
            if name.partition("__")[0] not in names:
                raise ValueError(
                    f"Invalid parameter {name!r} for estimator {type(self).__name__}. {hint_for(name)} "
                    f"Valid parameters are: {names!r}."
                )
        for name in sorted(params, key=lambda name: "__" in name):  # whole components first
            if "__" in name:
                self._set_component_param(name, params[name])
            else:
                setattr(self, name, params[name])
        return self

    def _set_component_param(self, name: str, value: Any) -> None:
        parameter, _, field = name.partition("__")
        component = component_of(parameter, getattr(self, parameter), for_classes=self._for_classes)
        if component is None:
            raise ValueError(f"Invalid parameter {name!r}: {parameter}={getattr(self, parameter)!r} has no parameters.")
        setattr(self, parameter, component.replace(**{field: value}))

    # What differs between a classifier and a regressor.

    @abstractmethod
    def _make_targets(self, y: Any, classes: Any, goes_on: bool, incremental: bool, loss: Loss) -> Any:
        """Check y, and return what encodes targets, with its `n_outputs` and `encode(y)`."""

    @abstractmethod
    def _checked_target(self, y: Any) -> Any:
        """Check the targets of validation rows."""

    @abstractmethod
    def _weights(self, given: Given, targets: Any, incremental: bool) -> np.ndarray | None:
        """Return the weight of each row."""

    @abstractmethod
    def _predicted(self, raw: np.ndarray, targets: Any, loss: Loss) -> Any:
        """Return a stand-in for the fitted estimator that answers with these raw predictions (N, K)."""

    @abstractmethod
    def _describe(self, targets: Any, recipe: Recipe) -> dict[str, Any]:
        """Return the fitted attributes of this kind of estimator."""

    # Training.

    def _train(self, given: Given, held: Given, *, incremental: bool, classes: Any = None) -> Any:
        before = dict(vars(self))
        try:
            with plain_torch():
                session = self._prepare(given, held, incremental=incremental, classes=classes)
        except BaseException:
            _put_back(self, before)
            raise
        if session.incremental and session.recipe.keep_best and session.tracker.stopped.all():
            warnings.warn(
                "Early stopping has ended this model's training, so partial_fit leaves it as it is. Set "
                "early_stopping=False to go on, or call fit to begin anew.",
                ConvergenceWarning,
                stacklevel=3,
            )
            return self
        return self._run_and_keep(session, before)

    def _run_and_keep(self, session: Session, before: dict[str, Any]) -> Any:
        """Train; on failure keep what has been learnt, or else be what one was `before`."""
        start = session.reached()
        try:
            self._run(session)
        except BaseException as error:
            epochs, steps = np.greater(session.reached(), start)
            if epochs or (steps and isinstance(error, DivergenceError)):  # what has been learnt is kept
                self._keep(self._fitted(session))
            else:
                _put_back(self, before)
            raise
        self._keep(self._fitted(session))
        self._after(session)
        return self

    def _prepare(self, given: Given, held: Given, *, incremental: bool, classes: Any) -> Session:
        """Check, resolve, encode and place; of the estimator, only the facts about its input are written."""
        # Read as attributes, because a subclass may have other parameters than these.
        parameters = SimpleNamespace(**{name: getattr(self, name) for name in PARAMETERS if hasattr(self, name)})
        choices = resolve_choices(vars(parameters), type(self).__name__, for_classes=self._for_classes)
        goes_on = hasattr(self, "coefs_") and (incremental or self.warm_start)
        team = team_of(self)
        device = team.device(device_of(self.device, type(self).__name__))
        dtypes = input_dtypes(device, self.precision)
        X, y = check_training_rows(self, given.X, given.y, dtypes, reset=not goes_on, numeric=not self._for_classes)
        backend = choose_backend(device, self.precision, X.dtype == np.float64)
        checked = Given(X, y, check_weight(given.weight, X.shape[0])).without_weightless()
        targets = self._make_targets(checked.y, classes, goes_on, incremental, choices.loss)
        home = team.home(backend)
        network = network_of(parameters, choices, checked.X.shape[1], targets.n_outputs)
        check_memory(network, self.n_members, choices.optimizer, home)
        validation = self._checked_validation(held, X.dtype, choices.loss)
        saves = directory_of(vars(parameters), checked, validation) if not incremental else None
        saved = None if saves is None else team.first(saves.newest)
        if goes_on:
            seeds = list(self._progress["seeds"])
        else:
            drawn = seeds_of(self.random_state, self.n_members)  # a RandomState moves on, however often a fit is killed
            seeds = team.first(lambda: drawn) if saved is None else list(saved.facts["seeds"])
        if validation is None and self.early_stopping:
            if incremental:
                raise ValueError(
                    "partial_fit with early_stopping=True needs X_val and y_val, so that all calls are judged alike."
                )
            stratify = self._for_classes and np.shape(checked.y)[1:] in ((), (1,))
            checked, validation = hold_out(checked, self.validation_fraction, seeds[0], stratify)
        weight = check_weight(self._weights(checked, targets, incremental), checked.X.shape[0])
        checked = Given(checked.X, checked.y, weight).without_weightless()  # a class may have the weight zero
        recipe = make_recipe(
            parameters,
            choices,
            backend,
            checked.X,
            targets.n_outputs,
            one_epoch=incremental,
            judged=validation is not None,
        )
        rows = placed(checked.X, targets.encode(checked.y), checked.weight, home.device, home.dtype)
        members = self._members(recipe, home, seeds, goes_on)
        session = Session(
            given=given,
            targets=targets,
            members=members,
            rows=rows,
            recipe=recipe,
            backend=backend,
            tracker=import_tracker(members, recipe, self._progress, incremental)
            if goes_on
            else StoppingTracker(members, recipe),
            history=continued_history(self._curves) if goes_on else History(),
            validation=self._validation(validation, targets, choices.loss, home),
            first_epoch=0 if incremental else members.epochs,
            incremental=incremental,
            held=validation,
            team=team,
            stacks=team is ALONE,
        )
        if saved is not None:
            go_on_from(session, saved)
            session.limit(session.n_before if has_ended(session) else self.max_iter, self.max_iter)
        if saves is not None:
            session.saver = Saver(saves, self.checkpoint_every, session)
        return session

    def _checked_validation(self, held: Given, dtype: Any, loss: Loss) -> Given | None:
        if held.X is None and held.y is None:
            if held.weight is not None:
                raise ValueError("sample_weight_val was given without X_val and y_val.")
            return None
        if held.X is None or held.y is None:
            given, missing = ("X_val", "y_val") if held.y is None else ("y_val", "X_val")
            raise ValueError(f"{given} was given without {missing}. Pass both, or none.")
        X = check_validation_rows(self, held.X, dtype)
        y = self._checked_target(held.y)
        loss.check_targets(y)
        if X.shape[0] != len(y):
            raise ValueError(f"X_val and y_val have inconsistent numbers of samples: {[X.shape[0], len(y)]}.")
        return Given(X, y, check_weight(held.weight, X.shape[0], "sample_weight_val")).without_weightless()

    def _members(self, recipe: Recipe, backend: SingleDevice, seeds: list[int], goes_on: bool) -> Members:
        if not goes_on:
            return new_members(recipe, backend, seeds)
        arrays = network_arrays(self.coefs_, self.intercepts_, self._normalization)
        return continued_members(recipe, backend, arrays, self._progress, self.n_members)

    def _validation(
        self, validation: Given | None, targets: Any, loss: Loss, backend: SingleDevice
    ) -> Validation | None:
        if validation is None:
            return None
        X, y, weight = validation.X, validation.y, validation.weight
        rows = validation_rows(X, targets.encode(y), weight, backend.device, backend.dtype)
        if self.scoring == "loss":
            return Validation(rows, None)
        scorer, keywords = scorer_of(self.scoring), {} if weight is None else {"sample_weight": weight}

        def score(raw: np.ndarray) -> float:
            predicted = self._predicted(raw, targets, loss)
            return float(predicted.score(X, y, **keywords) if scorer is None else scorer(predicted, X, y, **keywords))

        return Validation(rows, score)

    def _run(self, session: Session) -> None:
        given, n_epochs = session.given, session.recipe.max_epochs
        with ExitStack() as stack:
            stack.enter_context(plain_torch())
            stack.enter_context(session.backend.products())
            calls = callback_observer(self, given.X, given.y, given.weight, n_epochs, lambda: self._fitted(session))
            observers = [stack.enter_context(calls)]
            if session.saver is not None:
                stack.enter_context(session.saver.on_sigterm())
                observers.append(session.saver)
            if self.verbose:
                line = ProgressLine(max_time=session.seconds_left(), n_before=session.n_before)
                stack.callback(line.close)
                observers.append(line)
            if n_epochs:  # none are left of a fit that an earlier run has ended
                session.run([observer for observer in observers if observer is not None])
                if session.saver is not None and has_ended(session):
                    session.team.first(session.saver.save)

    def _after(self, session: Session) -> None:
        planned = session.incremental or session.recipe.schedule.ends
        if session.history.stop_reason == "max_iter" and not planned:
            warnings.warn(
                f"Maximum iterations ({self.max_iter}) reached and the optimization hasn't converged yet. Increase "
                "max_iter, or raise tol.",
                ConvergenceWarning,
                stacklevel=4,
            )
        over = session.incremental and session.members.epochs > self.max_iter
        if over and not session.history.rate[-1].any():
            warnings.warn(
                f"The schedule has run out: it ends after max_iter={self.max_iter} epochs with a rate of zero, so this "
                "call of partial_fit changed nothing. Increase max_iter, or use a schedule without an end.",
                ConvergenceWarning,
                stacklevel=4,
            )
        if session.history.stop_reason == "interrupted" and inside_search():
            raise KeyboardInterrupt

    # What is kept: NumPy and plain Python.

    def _keep(self, attributes: dict[str, Any]) -> None:
        for name, value in attributes.items():
            setattr(self, name, value)

    def _fitted(self, session: Session) -> dict[str, Any]:
        """Return every fitted attribute as training stands now."""
        session.catch_up()
        members, history, recipe, tracker = session.members, session.history, session.recipe, session.tracker
        arrays = members.arrays()
        coefs, intercepts = public_weights(arrays)
        loss, scores = _means(history.loss), _means(history.validation_score)
        return {
            "coefs_": coefs,
            "intercepts_": intercepts,
            "loss_curve_": loss,
            "loss_": loss[-1] if loss else np.nan,
            "best_loss_": None if recipe.keep_best else float(tracker.best_loss.mean()),
            "validation_loss_curve_": _means(history.validation_loss) or None,
            "validation_scores_": scores or None,
            "best_validation_score_": float(tracker.best_score.mean()) if scores else None,
            "learning_rates_": _means(history.rate),
            "n_iter_": members.epochs - session.first_epoch,
            "t_": members.rows,
            "n_layers_": len(recipe.network.hidden) + 2,
            "n_outputs_": recipe.network.n_outputs,
            "stop_reason_": history.stop_reason,
            "device_": str(session.backend.device),
            "_dtype": str(session.backend.dtype).removeprefix("torch."),
            "_normalization": normalization_arrays(arrays),
            "_progress": export_progress(members, tracker, recipe, session.incremental),
            "_curves": {name: list(curve) for name, curve in history.curves().items()},
            **self._describe(session.targets, recipe),
        }

    # Prediction.

    def _raw(self, X: Any) -> np.ndarray:
        """Return raw predictions (M, N, K)."""
        check_is_fitted(self, "coefs_")
        X = check_rows(self, X, [getattr(np, self._dtype)])
        with plain_torch():
            device, parameters, statistics = self._on_device()
            rows = as_tensor(X).to(device) if isinstance(X, np.ndarray) else X
            return raw_predictions(self._network(), parameters, statistics, rows).cpu().numpy()

    def _on_device(self) -> tuple[torch.device, dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        """The fitted arrays as tensors, without a copy where they are on a CPU."""
        device = _device_for_prediction(self.device, self._dtype)
        one = self.coefs_[0].ndim == 2
        named = {f"weight{i}": coef for i, coef in enumerate(self.coefs_)}
        named |= {f"bias{i}": np.expand_dims(bias, -2) for i, bias in enumerate(self.intercepts_)}
        named |= {name: value[0] if one else value for name, value in self._normalization.items()}
        tensors = {name: as_tensor(array).to(device) for name, array in named.items()}
        moments = {name: value for name, value in tensors.items() if name.startswith(("mean", "variance"))}
        return device, tensors, moments

    def _network(self) -> MLP:
        hidden = tuple(coef.shape[-1] for coef in self.coefs_[:-1])
        n_features, n_outputs = self.coefs_[0].shape[-2], self.coefs_[-1].shape[-1]
        normalization = None if not self._normalization else "batch" if "mean0" in self._normalization else "layer"
        return MLP(n_features, hidden, n_outputs, self.activation, 0.0, normalization)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "coefs_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def _means(curve: list[np.ndarray]) -> list[float]:
    return [float(value.mean()) for value in curve]


def _device_for_prediction(name: str, dtype: str) -> torch.device:
    """The device asked for, or the CPU where the model was loaded on a machine without it, or one without its dtype."""
    try:
        device = choose_device(name)
    except ValueError:
        return torch.device("cpu")
    return torch.device("cpu") if device.type == "mps" and dtype == "float64" else device


def _put_back(estimator: Any, before: dict[str, Any]) -> None:
    """Give back the attributes from before: fitted values are replaced, never changed in place."""
    for name in [name for name in vars(estimator) if name.endswith("_") and name not in before]:
        delattr(estimator, name)
    vars(estimator).update(before)
