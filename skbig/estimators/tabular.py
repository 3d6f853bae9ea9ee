"""Estimators that take a table as it is: numbers, categories, missing values.

Legend: M members, N rows, K raw outputs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable as Function
from collections.abc import Mapping, Sequence
from math import inf
from typing import Any

import numpy as np
from scipy import sparse
from scipy.optimize import minimize_scalar
from scipy.special import logit
from torch import Tensor

from skbig._utils.component import constraints_of
from skbig._utils.validation import Boolean, Options
from skbig.components.clipping import Clipping
from skbig.components.losses.base import Loss
from skbig.components.losses.units import InUnits
from skbig.components.optimizers.base import Optimizer
from skbig.components.penalties import Penalty
from skbig.components.schedules import Constant, Schedule
from skbig.data.sources.base import Source
from skbig.data.streaming.lazy_rows import LazyRows
from skbig.data.targets import ClassTargets, RegressionTargets
from skbig.engine.train import Training
from skbig.estimators import presets
from skbig.estimators.attributes import TabularAttributes
from skbig.estimators.choices import Choices
from skbig.estimators.classification import Classifier
from skbig.estimators.declaration import estimator, parameter
from skbig.estimators.encoded_source import EncodedSource, sample
from skbig.estimators.given import Given
from skbig.estimators.mlp import hidden_sizes
from skbig.estimators.network import NetworkWeights
from skbig.estimators.parameters import TrainingParameters
from skbig.estimators.prediction import raw_predictions
from skbig.estimators.presets import PRESETS, Preset
from skbig.estimators.regression import Regressor
from skbig.estimators.sklearn_compat import check_table, check_training_table, check_weight, loaded_if_small
from skbig.estimators.validation import Validation
from skbig.networks.network import BuiltNetwork
from skbig.networks.tabular import NUMBER_EMBEDDINGS, TabularMLP
from skbig.tables.encoding import TableEncoding, fit_encoding
from skbig.tables.reading import as_table
from skbig.tables.sparse_columns import SparseEncoding, fit_sparse

AUTO = Options(("auto",))


def _given(name: str) -> tuple[Any, ...]:
    """Return what a parameter of all estimators may be, and "auto" besides."""
    return (AUTO, *constraints_of(TrainingParameters, name))


@estimator
class BigTabular(TabularAttributes, NetworkWeights):
    """What the estimators of tables share."""

    preset: str = parameter(
        "default",
        Options(tuple(PRESETS)),
        words="{'fast', 'default', 'best'}",
        doc="""What "auto" stands for in other parameters: how many seconds a fit may take for its accuracy.""",
        kw_only=False,
    )
    categorical_features: str | Sequence[Any] | None = parameter(
        "from_dtype",
        words="'from_dtype', None or array-like",
        doc="""Which columns are categories besides those whose type says so (words, pandas' and polars' categories): a
        mask of bool, or numbers or names of columns.""",
    )
    hidden_layer_sizes: str | int | Sequence[int] = parameter(
        "auto", words="'auto', int or sequence of int", doc="Units of each hidden layer.", stacks=True
    )
    activation: str = parameter(
        "relu",
        *constraints_of(TabularMLP, "activation"),
        words="str",
        doc="What each hidden layer applies to its sums; as of :class:`BigMLPClassifier`.",
        stacks=True,
    )
    dropout: str | float = parameter(
        "auto",
        AUTO,
        *constraints_of(TabularMLP, "dropout"),
        words="'auto' or float in [0, 1)",
        doc="Share of hidden units that are zeroed at random in each training step.",
        stacks=True,
    )
    normalization: str | None = parameter(
        None,
        *constraints_of(TabularMLP, "normalization"),
        words="{'batch', 'layer'} or None",
        doc="What is normalised between the sums of a hidden layer and its activation.",
        stacks=True,
    )
    number_embedding: str | None = parameter(
        "auto",
        AUTO,
        Options(NUMBER_EMBEDDINGS),
        words="{'auto', 'piecewise_linear', 'periodic'} or None",
        doc="""What becomes of numbers: 'piecewise_linear' and 'periodic' learn functions of each, as
        :class:`~skbig.networks.PiecewiseLinear` and :class:`~skbig.networks.Periodic`; None scales them. 'auto' takes
        the first, for up to 128 columns.""",
        stacks=True,
    )
    n_bins: int = parameter(
        32,
        *constraints_of(TabularMLP, "n_bins"),
        words="int",
        doc="Bins of each number that is embedded piecewise.",
        stacks=True,
    )
    penalty: str | Penalty | None = parameter(
        None,
        words="{'l2', 'l1', 'elasticnet'}, Penalty or None",
        doc="What is added to the loss for large weights, by the strength `alpha`. The optimizer has a weight decay.",
        kind=Penalty,
    )
    optimizer: str | Optimizer = parameter(
        "auto",
        words="'auto', str or Optimizer",
        doc="'auto' is an 'adamw'; as of :class:`BigMLPClassifier`.",
        kind=Optimizer,
    )
    learning_rate: str | float = parameter(
        "auto",
        *constraints_of(TrainingParameters, "learning_rate"),
        words="'auto' or float",
        doc="Base rate of the steps. With another `optimizer`, 'auto' is its own default.",
        stacks=True,
    )
    schedule: str | Schedule | Function[[float], float] = parameter(
        "auto",
        words="'auto', str, Schedule or callable",
        doc="'auto' is a 'cosine'; as of :class:`BigMLPClassifier`.",
        kind=Schedule,
    )
    clipping: str | Clipping | None = parameter(
        "auto",
        words="'auto', {'norm', 'value'}, Clipping or None",
        doc="'auto' is a 'norm'; as of :class:`BigMLPClassifier`.",
        kind=Clipping,
    )
    n_members: Any = parameter(
        "auto",
        *_given("n_members"),
        words="'auto' or int",
        doc="Networks trained side by side from different seeds; their predictions are averaged.",
        stacks=True,
    )
    batch_size: str | int = parameter(
        "auto",
        *constraints_of(TrainingParameters, "batch_size"),
        words="int, 'auto' or 'full'",
        doc="Rows per step; 'auto' takes from 32 to 1024, by the number of rows.",
    )
    max_iter: Any = parameter(
        "auto",
        *_given("max_iter"),
        words="'auto' or int",
        doc="Epochs: how often each row is read. 'auto' reads many rows less often.",
        stacks=True,
    )
    early_stopping: Any = parameter(
        "auto",
        AUTO,
        Boolean(),
        words="'auto' or bool",
        doc="""Whether rows are held out, and the weights of the best epoch by their score are kept. 'auto' does so from
        50 rows on. The validation rows are `X_val` of `fit`, else held out from X.""",
    )
    n_iter_no_change: float = parameter(
        inf,
        *constraints_of(TrainingParameters, "n_iter_no_change"),
        words="int or inf",
        doc="Epochs without improvement after which training stops; by default it goes on to its end.",
        stacks=True,
    )
    precision: str = parameter(
        "auto",
        *constraints_of(TrainingParameters, "precision"),
        words="{'auto', 'float32', 'float64', 'tf32', 'bf16'}",
        doc="""'auto' is float32; on a CPU float64 for up to 1000 rows. 'bf16' computes in bfloat16 and keeps the
        weights in float32.""",
    )

    # What the parameters stand for.

    @property
    def _preset(self) -> Preset:
        return PRESETS.get(self.preset, PRESETS["default"])

    def _stands_for(self, name: str, value: Any) -> Any:
        if not (isinstance(value, str) and value == "auto"):
            return value
        if name == "learning_rate" and self.optimizer == "auto":
            return presets.RATE
        return presets.COMPONENTS.get(name, value)

    def _planned(self, name: str) -> int:
        value = getattr(self, name)
        if value != "auto":
            return int(value)
        return self._preset.n_members if name == "n_members" else presets.n_epochs(self._preset, 10_000)

    def _make_network(self) -> TabularMLP:
        sizes = self._preset.hidden_layer_sizes
        if not (isinstance(self.hidden_layer_sizes, str) and self.hidden_layer_sizes == "auto"):
            sizes = hidden_sizes(self.hidden_layer_sizes, type(self).__name__)
        embedding = "piecewise_linear" if self.number_embedding == "auto" else self.number_embedding
        dropout = presets.DROPOUT if self.dropout == "auto" else float(self.dropout)
        return TabularMLP(sizes, self.activation, dropout, self.normalization, embedding, self.n_bins)

    def _settled(
        self, choices: Choices, checked: Given, targets: Any, *, goes_on: bool, judged: bool, incremental: bool
    ) -> tuple[Choices, Any]:
        n_rows, layout = checked.X.shape[0], self.encoding_.layout
        is_small = n_rows < presets.MIN_ROWS_TO_JUDGE
        network = choices.network
        assert isinstance(network, TabularMLP)
        network = network.replace(n_codes=layout.n_codes, n_passed=layout.n_flags)
        if not self.encoding_.bins and network.number_embedding == "piecewise_linear":
            network = network.replace(number_embedding=None)
        if is_small and self.dropout == "auto":
            network = network.replace(dropout=0.0)
        settled = {
            "n_members": 1 if sparse.issparse(checked.X) else self._preset.n_members,
            "batch_size": n_rows if is_small else presets.batch_size(n_rows),
            "max_iter": presets.n_epochs(self._preset, n_rows),
            "early_stopping": judged or not (is_small or incremental),
        }
        settled = {name: value for name, value in settled.items() if choices[name] == "auto"}
        if goes_on:
            settled["n_members"] = len(self._progress["seeds"])
        if incremental and self.schedule == "auto":  # nobody knows how many calls there will be
            choices = dataclasses.replace(choices, schedule=Constant())
        return dataclasses.replace(choices, network=network).with_parameters(**settled), targets

    # What becomes of rows.

    def _check_training_rows(
        self, X: Any, y: Any, weight: np.ndarray | None, dtypes: list[Any], *, reset: bool
    ) -> tuple[Any, Any]:
        X, y = check_training_table(self, X, y, reset=reset, numeric=not self._for_classes)
        if reset:
            self.encoding_ = self._fitted_encoding(X, check_weight(weight, X.shape[0]))
        both = len(dtypes) > 1
        dtype = np.float32 if both and X.shape[0] > presets.SMALL_ROWS else dtypes[0]
        return self._encoded(X, dtype), y

    def _check_validation_rows(self, X: Any, dtype: Any, name: str) -> Any:
        return self._encoded(check_table(self, X, reset=False, name=name), dtype)

    def _check_rows(self, X: Any, dtype: Any, *, finite: bool = True) -> Any:
        if vars(self).get("_takes_encoded"):  # as it stands in the midst of a fit
            return super()._check_rows(X, dtype, finite=finite)
        return self._encoded(check_table(self, X, reset=False), dtype)

    def _fitted_encoding(self, X: Any, weight: np.ndarray | None) -> TableEncoding | SparseEncoding:
        if sparse.issparse(X):
            return fit_sparse(X, weight)
        if isinstance(X, Source):
            X, rows = sample(X)
            weight = None if weight is None else weight[rows]
        encoding = fit_encoding(as_table(X), weight, self.categorical_features, self.n_bins)
        few = self.number_embedding != "auto" or encoding.layout.n_numbers <= presets.MAX_EMBEDDED
        return dataclasses.replace(encoding, bins=self.number_embedding in ("auto", "piecewise_linear") and few)

    def _encoded(self, X: Any, dtype: Any) -> Any:
        if isinstance(X, Source):
            assert isinstance(self.encoding_, TableEncoding)
            return loaded_if_small(LazyRows(EncodedSource(X, self.encoding_, dtype), np.dtype(dtype)))
        if isinstance(self.encoding_, SparseEncoding):
            return self.encoding_.encode(X, dtype)
        return self.encoding_.encode(as_table(X.toarray() if sparse.issparse(X) else X), dtype)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        return tags


@estimator
class BigTabularClassifier(Classifier, BigTabular):
    """A classifier for tables as they are: numbers, categories and missing values, without preprocessing.

    An ensemble of multi-layer perceptrons that learn functions of each number and a vector for each category. Of each
    training the epoch with the best validation loss is kept, and the probabilities are calibrated on the same rows.

    X is a DataFrame of pandas or polars, an Arrow table, an array, sparse rows, or what :func:`skbig.data.open_parquet`
    returns. Columns of words and of categorical types are categories; see `categorical_features` for others. A category
    that the training rows do not have, or a missing value where none was missing, may occur later. Columns are found by
    their names, in any order.

    Parameters
    ----------
    ...

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels, sorted.
    encoding_ : TableEncoding
        What became of the columns.
    temperature_ : float
        By what raw predictions are divided, so that probabilities are calibrated; 1 without validation rows.
    weights_, buffers_ : dict of ndarray
        Parameters and running statistics by name; with several members, they are the first dim of each.
    loss_curve_, validation_loss_curve_, validation_scores_, learning_rates_ : list of float
        One entry for each epoch; the validation curves are None without validation rows.
    n_iter_, t_ : int
        Epochs run, and training rows seen.
    n_features_in_ : int
        Columns of X.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their names, where they have any.

    See Also
    --------
    BigTabularRegressor : The same for numbers.
    BigMLPClassifier : A multi-layer perceptron, with scikit-learn's parameters and attributes.

    Examples
    --------
    >>> import pandas as pd
    >>> from skbig import BigTabularClassifier
    >>> X = pd.DataFrame({"size": [2.5, None, 7.1, 6.8] * 20, "colour": ["red", "red", "blue", None] * 20})
    >>> y = ["apple", "apple", "plum", "plum"] * 20
    >>> classifier = BigTabularClassifier(preset="fast", random_state=0).fit(X, y)
    >>> classifier.predict(pd.DataFrame({"colour": ["blue", "green"], "size": [6.9, 2.4]}))
    array(['plum', 'apple'], dtype=...)
    """

    def _begun(
        self, network: BuiltNetwork, arrays: dict[str, np.ndarray], checked: Given, targets: Any, loss: Loss
    ) -> dict[str, np.ndarray]:
        if not loss.probabilistic:
            return arrays
        y = targets.encode(checked.y)
        classes = np.eye(targets.n_outputs)[y] if y.ndim == 1 else y
        share = np.average(classes, axis=0, weights=checked.weight).clip(1e-6, 1 - 1e-6)
        return with_offset(network, arrays, np.log(share) if y.ndim == 1 else logit(share))

    def _concluded(self, training: Training, targets: Any, held: Mapping[str, Given] | None) -> dict[str, Any]:
        validation = training.validation
        if not (isinstance(validation, Validation) and training.recipe.loss.probabilistic):
            return {"temperature_": 1.0}
        return {"temperature_": calibrated(training, targets, validation)}

    def _raw(self, X: Any, of_raw: Function[[Tensor], Tensor] | None = None) -> np.ndarray:
        def of_calibrated(raw: Tensor) -> Tensor:
            raw = raw / vars(self).get("temperature_", 1.0)  # none is known before the end of a fit
            return raw if of_raw is None else of_raw(raw)

        return super()._raw(X, of_calibrated)


@estimator
class BigTabularRegressor(Regressor, BigTabular):
    """A regressor for tables as they are: numbers, categories and missing values, without preprocessing.

    An ensemble of multi-layer perceptrons that learn functions of each number and a vector for each category. Of each
    training the epoch with the best validation loss is kept. The target may have any unit; predictions stay between the
    smallest and the largest one of the training rows.

    X is a DataFrame of pandas or polars, an Arrow table, an array, sparse rows, or what :func:`skbig.data.open_parquet`
    returns. Columns of words and of categorical types are categories; see `categorical_features` for others. A category
    that the training rows do not have, or a missing value where none was missing, may occur later. Columns are found by
    their names, in any order.

    Parameters
    ----------
    ...

    Attributes
    ----------
    encoding_ : TableEncoding
        What became of the columns.
    weights_, buffers_ : dict of ndarray
        Parameters and running statistics by name; with several members, they are the first dim of each.
    loss_curve_, validation_loss_curve_, validation_scores_, learning_rates_ : list of float
        One entry for each epoch; the validation curves are None without validation rows.
    n_iter_, t_ : int
        Epochs run, and training rows seen.
    n_features_in_ : int
        Columns of X.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their names, where they have any.

    See Also
    --------
    BigTabularClassifier : The same for classes.
    BigMLPRegressor : A multi-layer perceptron, with scikit-learn's parameters and attributes.

    Examples
    --------
    >>> import pandas as pd
    >>> from skbig import BigTabularRegressor
    >>> X = pd.DataFrame({"rooms": [1, 2, 3, 4] * 25, "district": ["north", "south"] * 50})
    >>> y = 200.0 * X["rooms"] + 300.0 * (X["district"] == "south")
    >>> regressor = BigTabularRegressor(preset="fast", random_state=0).fit(X, y)
    >>> bool(regressor.score(X, y) > 0.9)
    True
    """

    def _settled(
        self, choices: Choices, checked: Given, targets: Any, *, goes_on: bool, judged: bool, incremental: bool
    ) -> tuple[Choices, Any]:
        facts = {"goes_on": goes_on, "judged": judged, "incremental": incremental}
        choices, targets = super()._settled(choices, checked, targets, **facts)
        loss, y = choices.loss, targets.encode(checked.y)
        low, high = y.min(axis=0), y.max(axis=0)
        if goes_on:
            before = self._target_scale
            low, high = np.minimum(low, before["low"]), np.maximum(high, before["high"])
            centre, scale = before["centre"], before["scale"]
        else:
            centre, scale = _scale_of(y, checked.weight, loss)
        if loss.has_units and loss.out_activation() == "identity":
            choices = dataclasses.replace(choices, loss=InUnits(loss, float(scale[0])))
        return choices, dataclasses.replace(targets, centre=centre, scale=scale, low=low, high=high)

    def _begun(
        self, network: BuiltNetwork, arrays: dict[str, np.ndarray], checked: Given, targets: Any, loss: Loss
    ) -> dict[str, np.ndarray]:
        mean = np.average(targets.encode(checked.y), axis=0, weights=checked.weight)
        return with_offset(network, arrays, LINKS[loss.out_activation()](mean))

    def _fitted_targets(self) -> RegressionTargets:
        return RegressionTargets(self.n_outputs_, self._one_dimensional, **self._target_scale)

    def _describe(self, targets: Any, recipe: Any) -> dict[str, Any]:
        names = ("centre", "scale", "low", "high")
        return {**super()._describe(targets, recipe), "_target_scale": {name: getattr(targets, name) for name in names}}


def _scale_of(y: np.ndarray, weight: np.ndarray | None, loss: Loss) -> tuple[np.ndarray, np.ndarray]:
    """Return what is taken from targets (N, K), and by what they are divided, so that they are of order one."""
    n_outputs = y.shape[1]
    if loss.out_activation() != "identity":
        return np.zeros(n_outputs), np.ones(n_outputs)
    mean = np.average(y, axis=0, weights=weight)
    variance = np.average((y - mean) ** 2, axis=0, weights=weight)
    if loss.has_units:  # one unit for all, and where zero is may matter
        variance, mean = np.full(n_outputs, variance.mean()), np.zeros(n_outputs)
    return mean, np.where(variance > 0, np.sqrt(variance), 1.0)


def _log(mean: np.ndarray) -> np.ndarray:
    return np.log(mean.clip(np.finfo(float).tiny))


LINKS: dict[str, Function[[np.ndarray], np.ndarray]] = {"identity": np.asarray, "exp": _log, "expm1": np.log1p}
"""From a mean to the raw prediction that stands for it."""


def with_offset(network: BuiltNetwork, arrays: dict[str, np.ndarray], offset: np.ndarray) -> dict[str, np.ndarray]:
    """Let raw predictions begin around an offset (K,): add it to the biases of the last layer."""
    name = f"bias{len(network.layers) - 1}"
    return {**arrays, name: arrays[name] + offset}


def calibrated(training: Training, targets: ClassTargets, validation: Validation) -> float:
    """Return the temperature with which the log loss of the ensemble on validation rows is smallest."""
    members, rows = training.members, validation.sets[0].rows
    n_rows = min(rows.n_rows, presets.CALIBRATED_ROWS)
    raw = raw_predictions(members.network, members.parameters, members.statistics, rows.X[:n_rows]).cpu().double()
    y = rows.y[:n_rows].cpu().double().numpy()
    weight = np.ones(n_rows) if rows.weight is None else rows.weight[:n_rows].cpu().double().numpy()

    def loss_at(log_temperature: float) -> float:
        probability = training.recipe.loss.probabilities(raw / np.exp(log_temperature), targets.multiclass).mean(0)
        return float(weight @ _surprise(probability.numpy(), y))

    return float(np.exp(minimize_scalar(loss_at, bounds=presets.LOG_TEMPERATURES, method="bounded").x))


def _surprise(probability: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the log loss of each row, from probabilities (N, K) of classes, or of labels and of the second class."""
    tiny = np.finfo(float).eps
    if y.ndim == 1:
        return -np.log(probability[np.arange(len(y)), y.astype(int)].clip(tiny))
    return -np.log(np.where(y > 0, probability, 1 - probability).clip(tiny)).sum(axis=1)
