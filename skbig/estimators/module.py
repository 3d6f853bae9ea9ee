"""Estimators for a torch module of the user's own."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from os import PathLike
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from scipy.sparse import issparse
from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import check_is_fitted
from torch import nn

from skbig._utils.device import SingleDevice, choose_backend
from skbig._utils.threads import thread_count
from skbig._utils.validation import Constraint, Each, Instance, Options
from skbig.components.losses.base import Loss
from skbig.data.array_rows import ArrayRows
from skbig.data.rows import as_tensor
from skbig.data.streaming.lazy_rows import LazyRows
from skbig.data.streaming.reader import whole_numbers
from skbig.data.tensor_rows import TensorRows, torch_dtype
from skbig.estimators.attributes import ModuleAttributes
from skbig.estimators.choices import Choices
from skbig.estimators.classification import Classifier
from skbig.estimators.declaration import estimator, parameter, positional
from skbig.estimators.given import Given
from skbig.estimators.module_settings import ModuleSettings
from skbig.estimators.named_weights import NamedWeights
from skbig.estimators.row_checks import WHOLE
from skbig.estimators.standardized import StandardizedRegressor
from skbig.estimators.tensors import on_host
from skbig.networks.modules.layer import ModuleLayer
from skbig.networks.modules.loading import laid_over, named_arrays
from skbig.networks.modules.network import ModuleNetwork
from skbig.networks.modules.trial import ROWS
from skbig.networks.network import BuiltNetwork, Network

TEXT = Instance((str,), "a str")


class FittedModule(Constraint):
    """A fitted estimator with a module, also a frozen one of scikit-learn's."""

    def accepts(self, value: Any) -> bool:
        own = _thawed(value)
        return isinstance(own, BigModule) and own.__sklearn_is_fitted__()

    def __str__(self) -> str:
        return "a fitted estimator with a module (within a grid as FrozenEstimator(estimator), since a search clones)"


def _thawed(value: Any) -> Any:
    return value.estimator if isinstance(value, FrozenEstimator) else value


@estimator
class BigModule(ModuleAttributes, NamedWeights, ModuleSettings):
    """What the estimators for a module share."""

    module: type[nn.Module] | Callable[..., nn.Module] | nn.Module | None = positional(
        default=None,
        words="class of nn.Module, callable or nn.Module",
        doc="""The network: a class, or a function that returns a module, whose own parameters are given, and searched,
        as ``module__width``; or an instance, which is copied and whose weights are the first ones. Where its signature
        asks for them it is given ``n_features`` (``X.shape[1]``), ``n_outputs`` (columns of the raw prediction) and
        ``input_shape`` (``X.shape[1:]``). Its forward takes X and returns raw predictions, (rows, n_outputs).""",
        kw_only=False,
    )
    freeze: Sequence[str] | None = parameter(
        None,
        Options((None,)),
        Each(TEXT),
        words="list of str or None",
        doc="""Patterns, as ``["encoder.*"]``, of the names of parameters and buffers that stay as they are. A batch
        norm whose running moments are frozen normalises by them while training, too.""",
    )
    init_from: Mapping[str, Any] | str | PathLike[str] | BigModule | None = parameter(
        None,
        Options((None,)),
        Instance((Mapping,), "a state dict"),
        Instance((str, PathLike), "the path of a safetensors file"),
        FittedModule(),
        words="dict, path, estimator or None",
        doc="""First weights: a state dict, the path of a safetensors file, or a fitted estimator with a module. A
        warning lists the names that are missing, which begin as drawn, and those that are of no use.""",
    )

    _takes_any_shape = True

    if TYPE_CHECKING:

        def __init__(self, module: Any = None, **parameters: Any) -> None: ...

    def __sklearn_clone__(self) -> Self:
        """A clone begins from the same weights; that of an estimator alone would have forgotten them."""
        copy: Self = super().__sklearn_clone__()
        copy.init_from = self.init_from
        return copy

    def _module_defaults(self) -> Mapping[str, Any]:
        return {} if self.module is None else self._network_choice().source.defaults

    # What the base asks for.

    def _network_choice(self) -> ModuleNetwork:
        settings = tuple(sorted(self._settings.items()))
        return ModuleNetwork(self.module, settings, tuple(self.freeze or ()), two_columns=self._for_classes)

    def _make_network(self) -> Network:
        network = self._network_choice()
        network.check()
        return network

    def _check_training_rows(
        self, X: Any, y: Any, weight: np.ndarray | None, dtypes: list[Any], *, reset: bool, incremental: bool
    ) -> tuple[Any, Any]:
        """Let whole numbers stay, which the module may take."""
        accepted = dtypes if issparse(X) else [*dtypes, *WHOLE]
        return super()._check_training_rows(X, y, weight, accepted, reset=reset, incremental=incremental)

    def _check_rows(self, X: Any, dtype: Any, *, finite: bool = True) -> Any:
        if vars(self).get("_takes_encoded"):  # in the midst of a fit: rows that are checked, each in a line
            return X
        return super()._check_rows(X, dtype, finite=finite)

    def _met(
        self, choices: Choices, checked: Given, n_outputs: int, backend: SingleDevice, *, goes_on: bool
    ) -> tuple[Choices, Given, SingleDevice]:
        network = choices.network
        assert isinstance(network, ModuleNetwork)
        _check_picklable(network)
        if goes_on:
            checked, row_dtype = replace(checked, X=_of_dtype(checked.X, self._row_dtype())), self._row_dtype()
            if row_dtype.kind != "f":  # of which X says nothing of the numbers that are trained
                backend = choose_backend(backend.device, self.precision, self._dtype == "float64")
        with thread_count(1):
            network, checked, backend = self._tried(network, checked, n_outputs, backend)
        return replace(choices, network=network), checked, backend

    def _shaped(self, network: Network, n_features: int, n_outputs: int) -> BuiltNetwork:
        fitted = vars(self).get("_network")
        if fitted is not None and (fitted.network, fitted.n_outputs) == (network, n_outputs):
            return fitted  # which is built already
        return super()._shaped(network, n_features, n_outputs)

    def _tried(
        self, network: ModuleNetwork, given: Given, n_outputs: int, backend: SingleDevice
    ) -> tuple[ModuleNetwork, Given, SingleDevice]:
        """Try the module with some rows: as whole numbers, if they are and it takes them, or else as real ones."""
        if given.X.dtype.kind == "f":
            return network.tried(self._some_rows(given.X), n_outputs, backend.dtype), given, backend
        refusals = []
        for dtype in dict.fromkeys((given.X.dtype, np.dtype(np.int64))):
            X = _of_dtype(given.X, dtype)
            try:
                tried = replace(network, row_dtype=dtype.name).tried(self._some_rows(X), n_outputs, backend.dtype)
            except ValueError as error:
                refusals.append(error)
            else:
                return tried, replace(given, X=X), backend
        backend = choose_backend(backend.device, self.precision, True)
        X = _of_dtype(given.X, np.dtype(np.float64 if backend.dtype == torch.float64 else np.float32))
        try:
            return network.tried(self._some_rows(X), n_outputs, backend.dtype), replace(given, X=X), backend
        except ValueError as error:
            raise refusals[-1] from error

    def _begun(
        self, network: BuiltNetwork, arrays: dict[str, np.ndarray], checked: Given, targets: Any, loss: Loss
    ) -> dict[str, np.ndarray]:
        first, begin = super()._begun(network, arrays, checked, targets, loss), _thawed(self.init_from)
        if begin is None:
            return first
        n_members = len(next(iter(first.values())))
        given = _members_of(begin, n_members) if isinstance(begin, BigModule) else [named_arrays(begin)]
        (layer,) = network.layers
        assert isinstance(layer, ModuleLayer) and isinstance(network.network, ModuleNetwork)
        return laid_over(first, given, layer.first_names, network.network.source.name)

    def _some_rows(self, X: Any) -> torch.Tensor:
        """Return the first rows, (R, *input_shape)."""
        n_rows = min(ROWS, X.shape[0])
        rows = X.take(np.arange(n_rows)).load() if isinstance(X, LazyRows) else X[:n_rows]
        if isinstance(rows, torch.Tensor):
            return rows.reshape(n_rows, *self.input_shape_).cpu()
        dense = rows if isinstance(rows, np.ndarray) else rows.toarray()
        return as_tensor(dense.reshape(n_rows, *self.input_shape_))

    @property
    def module_(self) -> nn.Module | list[nn.Module]:
        """The module with the fitted weights, in its mode of prediction; of each member one where there are several."""
        check_is_fitted(self)
        network, arrays = self._network.network, self._network_arrays()
        assert isinstance(network, ModuleNetwork)
        modules = [
            network.module_with({name: value[m] for name, value in arrays.items()}, self.n_outputs_)
            for m in range(len(self._progress["seeds"]))
        ]
        return modules[0] if len(modules) == 1 else modules

    def _row_dtype(self) -> np.dtype[Any]:
        network = self._network.network
        assert isinstance(network, ModuleNetwork)
        return np.dtype(network.row_dtype or self._dtype)


def _members_of(fitted: BigModule, n_members: int) -> list[dict[str, np.ndarray]]:
    """Return the weights of each member of a fitted estimator, or of its only one."""
    arrays, n_fitted = fitted._network_arrays(), len(fitted._progress["seeds"])
    if n_fitted not in (1, n_members):
        raise ValueError(
            f"init_from has {n_fitted} members, and n_members={n_members}: one each, or one for all, can begin."
        )
    return [{name: value[m] for name, value in arrays.items()} for m in range(n_fitted)]


def _of_dtype(X: Any, dtype: np.dtype[Any]) -> Any:
    if isinstance(X, LazyRows):
        return replace(X, dtype=dtype)
    if isinstance(X, TensorRows):
        return _tensor_of_dtype(X, dtype)
    if isinstance(X, ArrayRows):
        return replace(X, values=_of_dtype(X.values, dtype), dtype=dtype)
    return whole_numbers(X, dtype, "X") if dtype.kind != "f" and X.dtype != dtype else X.astype(dtype, copy=False)


def _tensor_of_dtype(X: TensorRows, dtype: np.dtype[Any]) -> Any:
    if dtype.kind == "f" or bool((X.values.to(torch_dtype(dtype)) == X.values).all()):
        return replace(X, dtype=dtype)
    return whole_numbers(on_host(X.values, "X"), dtype, "X")  # says which number is none


def _check_picklable(network: ModuleNetwork) -> None:
    """Refuse at once what could not be saved later: a class within a function, a lambda."""
    try:
        pickle.dumps((network.source.form, network.settings))
    except Exception as error:
        raise ValueError(
            f"The 'module' parameter must be picklable, so that the fitted model is: {error}. Define the class, and "
            "functions that it is given, at the top level of a module or of the main program; for parameters use "
            "module__name=... or functools.partial in the place of a lambda."
        ) from error


@estimator
class BigModuleClassifier(Classifier, BigModule):
    """A torch module of your own as a classifier.

    The module gives raw outputs, one for each class, or one alone for two classes, without a softmax: the loss has it.
    (For two classes it may also give two columns.) All else is as for the other classifiers: losses, optimizers,
    schedules, early stopping, weights of rows and classes, checkpoints, several processes, and searches in which
    candidates are trained as one stack.

    X may have any shape, (n_samples, ...). Real numbers come to the module in the dtype of its weights, which is that
    of X on a CPU; whole numbers as they are if the module takes them, as one that begins with an embedding does.

    Parameters
    ----------
    ...
    **module__name : object
        Parameters of the module's class, as ``module__width=64``.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels, sorted.
    weights_, buffers_ : dict of ndarray
        Parameters and buffers by their names in the module; with several members, they are the first dim of each.
    module_ : nn.Module, or list of nn.Module
        The module with the fitted weights, made anew each time; with several members a list.
    input_shape_ : tuple of int
        The shape of a row of X.
    loss_curve_, validation_loss_curve_, validation_scores_, learning_rates_ : list of float
        One entry for each epoch; the validation curves are None without validation rows.
    n_iter_, t_ : int
        Epochs run, and training rows seen.

    See Also
    --------
    BigModuleRegressor : The same for numbers.
    BigNetworkClassifier : Networks of layers that know of members.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from torch import nn
    >>> from skbig import BigModuleClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> network = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 3))
    >>> classifier = BigModuleClassifier(network, learning_rate=0.02, random_state=0)
    >>> bool(classifier.fit(X, y).score(X, y) > 0.95)
    True
    """


@estimator
class BigModuleRegressor(StandardizedRegressor, BigModule):
    """A torch module of your own as a regressor.

    The module gives a column for each target. All else is as for the other regressors: losses, optimizers, schedules,
    early stopping, weights of rows, checkpoints, several processes, and searches in which candidates are trained as one
    stack.

    X may have any shape, (n_samples, ...). Real numbers come to the module in the dtype of its weights, which is that
    of X on a CPU; whole numbers as they are if the module takes them, as one that begins with an embedding does.

    Parameters
    ----------
    ...
    **module__name : object
        Parameters of the module's class, as ``module__width=64``.

    Attributes
    ----------
    weights_, buffers_ : dict of ndarray
        Parameters and buffers by their names in the module; with several members, they are the first dim of each.
    module_ : nn.Module, or list of nn.Module
        The module with the fitted weights, made anew each time; with several members a list.
    input_shape_ : tuple of int
        The shape of a row of X.
    loss_curve_, validation_loss_curve_, validation_scores_, learning_rates_ : list of float
        One entry for each epoch; the validation curves are None without validation rows.
    n_iter_, t_ : int
        Epochs run, and training rows seen.

    See Also
    --------
    BigModuleClassifier : The same for classes.
    BigNetworkRegressor : Networks of layers that know of members.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.preprocessing import scale
    >>> from torch import nn
    >>> from skbig import BigModuleRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> network = nn.Sequential(nn.Linear(10, 16), nn.Tanh(), nn.Linear(16, 1))
    >>> regressor = BigModuleRegressor(network, learning_rate=0.3, schedule="cosine", random_state=0)
    >>> bool(regressor.fit(scale(X), y).score(scale(X), y) > 0.5)
    True
    """
