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
from scipy.stats import loguniform, uniform
from torch import Tensor

from skbig._utils.component import constraints_of
from skbig._utils.validation import Boolean, Options
from skbig.components.clipping import Clipping
from skbig.components.optimizers.base import Optimizer
from skbig.components.penalties import Penalty
from skbig.components.schedules.base import Schedule
from skbig.components.schedules.decays import Constant
from skbig.data.rows import Rows
from skbig.data.sources.base import Source
from skbig.data.streaming.lazy_rows import LazyRows
from skbig.engine.train import Training
from skbig.estimators import presets
from skbig.estimators.attributes import TabularAttributes
from skbig.estimators.base import NetworkEstimator
from skbig.estimators.calibration import judging_rows, placed_for
from skbig.estimators.choices import Choices
from skbig.estimators.declaration import estimator, parameter, positional
from skbig.estimators.encoded_source import EncodedSource, sample
from skbig.estimators.given import Given
from skbig.estimators.importance import permutation_importances
from skbig.estimators.inputs import is_sparse
from skbig.estimators.mlp import hidden_sizes
from skbig.estimators.named_weights import NamedWeights
from skbig.estimators.parameters import TrainingParameters
from skbig.estimators.presets import OF_CLASSES, OF_NUMBERS, Preset
from skbig.estimators.row_checks import check_table, check_training_table, check_weight, loaded_if_small
from skbig.estimators.validation import FoldedValidation
from skbig.estimators.validation_sets import FOLDS
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
class BigTabular(TabularAttributes, NamedWeights, NetworkEstimator):
    """What the estimators of tables share."""

    _learns_columns = True
    _reads_tensors = False

    preset: str = positional(
        Options(tuple(OF_CLASSES)),
        default="default",
        words="{'fast', 'default', 'best'}",
        doc="""What "auto" stands for in other parameters: how many seconds a fit may take for its accuracy.""",
        kw_only=False,
    )
    categorical_features: str | Sequence[object] | np.ndarray | None = parameter(
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
        doc="""Share of hidden units that are zeroed at random in each training step, of a regressor in the last hidden
        layer only. 'auto' is 0.1; none for numbers with "fast", and none with fewer than 50 rows. With
        early_stopping='folds' and up to 2000 rows it is 0.3 for classes, and none for numbers.""",
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
    n_bins: str | int = parameter(
        "auto",
        AUTO,
        *constraints_of(TabularMLP, "n_bins"),
        words="'auto' or int",
        doc="""Bins of each number that is embedded piecewise; 'auto' takes from 8 to 128, more for more rows, and for a
        number of few levels as many as tell them apart; with `partial_fit` 128, as nobody knows how many will come.""",
        stacks=True,
    )
    penalty: str | Penalty | None = parameter(
        None,
        words="{'l2', 'l1', 'elasticnet', 'group_l1'}, Penalty or None",
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
    n_members: str | int = parameter(  # type: ignore[assignment]
        "auto",
        *_given("n_members"),
        words="'auto' or int",
        doc="""Networks trained side by side from different seeds; their predictions are averaged. 'auto' is what the
        preset says, five at least with ``early_stopping='folds'``, and one for sparse rows.""",
        stacks=True,
    )
    batch_size: str | int = parameter(
        "auto",
        *constraints_of(TrainingParameters, "batch_size"),
        words="int, 'auto' or 'full'",
        doc="Rows per step; 'auto' takes from 32 to 1024, by the number of rows.",
    )
    max_iter: str | int = parameter(  # type: ignore[assignment]
        "auto",
        *_given("max_iter"),
        words="'auto' or int",
        doc="Epochs: how often each row is read. 'auto' reads many rows less often.",
        stacks=True,
    )
    early_stopping: str | bool = parameter(  # type: ignore[assignment]
        "auto",
        AUTO,
        Options((FOLDS,)),
        Boolean(),
        words="{'auto', 'folds'} or bool",
        doc="""Whether rows are held out, and the weights of the best epoch by their score are kept. The validation rows
        are `X_val` of `fit`, else held out from X: with True the same for all members, with 'folds' a part of its own
        for each, so that every row is read by all members but one, and judges that one; of more than 2000 rows
        a classifier leaves a fortieth out of all members, to calibrate their mean. 'auto' is 'folds' from 50 rows on up
        to 50,000, where there are five members or more, rows are in memory, and there is no `backend`; True for
        more.""",
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

    @staticmethod
    def search_space() -> dict[str, Any]:
        """Return what is worth searching: distributions by parameter, for a randomized search.

        Those of numbers are trained side by side; of `n_bins` there are two values, and a stack of networks for each.

        Examples
        --------
        >>> from sklearn.datasets import load_diabetes
        >>> from skbig import BigRandomizedSearchCV, BigTabularRegressor
        >>> X, y = load_diabetes(return_X_y=True, as_frame=True)
        >>> model = BigTabularRegressor("fast", max_iter=4, random_state=0)
        >>> search = BigRandomizedSearchCV(model, model.search_space(), n_iter=3, cv=2, random_state=0).fit(X, y)
        >>> sorted(search.best_params_)
        ['dropout', 'learning_rate', 'n_bins', 'optimizer__weight_decay']
        """
        return {
            "learning_rate": loguniform(5e-4, 8e-3),
            "dropout": uniform(0.0, 0.4),
            "optimizer__weight_decay": loguniform(1e-3, 0.3),
            "n_bins": ["auto", 32],
        }

    # What the parameters stand for.

    @property
    def _preset(self) -> Preset:
        own = OF_CLASSES if self._for_classes else OF_NUMBERS
        return own.get(self.preset, own["default"])

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
        dropout = self._preset.dropout if self.dropout == "auto" else float(self.dropout)
        n_bins = presets.MAX_BINS if self.n_bins == "auto" else int(self.n_bins)
        network = TabularMLP(sizes, self.activation, dropout, self.normalization, embedding, n_bins, rectified=0.5)
        return network if self._for_classes else network.replace(dropout_in="last")

    def _settled(
        self, choices: Choices, checked: Given, targets: Any, *, goes_on: bool, judged: bool, incremental: bool
    ) -> tuple[Choices, Any]:
        n_rows, layout = checked.X.shape[0], self.encoding_.layout
        is_small = n_rows < presets.MIN_ROWS_TO_JUDGE
        network = choices.network
        assert isinstance(network, TabularMLP)
        network = network.replace(n_codes=layout.n_codes, n_passed=layout.n_flags, n_bins=self.encoding_.n_bins)
        network = network.replace(begins_straight=not incremental and n_rows <= presets.FEW_ROWS)
        if not self.encoding_.bins and network.number_embedding == "piecewise_linear":
            network = network.replace(number_embedding=None)
        n_members = len(self._progress["seeds"]) if goes_on else choices["n_members"]
        preset, alone = self._preset, not (is_small or incremental or judged)
        in_folds = alone and presets.in_folds(preset, choices, checked.X, n_members)
        if in_folds and n_rows <= presets.FEW_ROWS:
            preset = presets.of_few_rows(preset)
        elif incremental or n_rows <= presets.FEW_ROWS or targets.n_outputs == 1 or is_sparse(checked.X):
            preset = presets.narrowed(preset)
        fitted = self._network.network if goes_on else None
        sizes = fitted.hidden_layer_sizes if isinstance(fitted, TabularMLP) else preset.hidden_layer_sizes
        if isinstance(self.hidden_layer_sizes, str):
            network = network.replace(hidden_layer_sizes=sizes)
        if isinstance(fitted, TabularMLP):  # which an earlier version may have made
            network = network.replace(rectified=fitted.rectified)
        if self.dropout == "auto":
            network = network.replace(dropout=0.0 if is_small else preset.dropout)
        settled = {
            "n_members": presets.n_members(preset, checked.X, folds=choices["early_stopping"] == FOLDS and not judged),
            "batch_size": "full" if is_small else presets.batch_size(n_rows),
            "max_iter": presets.n_epochs(preset, n_rows),
            "early_stopping": FOLDS if in_folds else judged or not (is_small or incremental),
        }
        settled = {name: value for name, value in settled.items() if choices[name] == "auto"}
        if goes_on:
            settled["n_members"] = len(self._progress["seeds"])
        if incremental and self.schedule == "auto":  # nobody knows how many calls there will be
            choices = dataclasses.replace(choices, schedule=Constant())
        return dataclasses.replace(choices, network=network).with_parameters(**settled), targets

    def _check_initializable(self) -> None:
        raise ValueError(
            f"{type(self).__name__} learns from rows how it encodes a table, so it cannot begin before it has seen "
            "some. Fit one estimator, for instance on public rows, and give copies of it to all clients: they go on "
            "with partial_fit, and get_weights and set_weights exchange what they learn."
        )

    # What becomes of rows.

    def _check_training_rows(
        self, X: Any, y: Any, weight: np.ndarray | None, dtypes: list[Any], *, reset: bool, incremental: bool
    ) -> tuple[Any, Any]:
        X, y = check_training_table(self, X, y, reset=reset, numeric=not self._for_classes)
        if reset:
            self.encoding_ = self._fitted_encoding(X, check_weight(weight, X.shape[0]), incremental=incremental)
        both = len(dtypes) > 1
        dtype = np.float32 if both and X.shape[0] > presets.SMALL_ROWS else dtypes[0]
        return self._encoded(X, dtype), y

    def _check_validation_rows(self, X: Any, dtype: Any, name: str) -> Any:
        return self._encoded(check_table(self, X, reset=False, name=name), dtype)

    def _check_rows(self, X: Any, dtype: Any, *, finite: bool = True) -> Any:
        if vars(self).get("_takes_encoded"):  # as it stands in the midst of a fit
            return super()._check_rows(X, dtype, finite=finite)
        return self._encoded(check_table(self, X, reset=False), dtype)

    def _fitted_encoding(
        self, X: Any, weight: np.ndarray | None, *, incremental: bool
    ) -> TableEncoding | SparseEncoding:
        if sparse.issparse(X):
            return fit_sparse(X, weight)
        n_rows = X.shape[0]
        if isinstance(X, Source):
            X, rows = sample(X)
            weight = None if weight is None else weight[rows]
        n_bins, few_levels = self.n_bins, 0
        if n_bins == "auto":
            n_bins = presets.n_bins(n_rows, incremental=incremental)
            few_levels = presets.few_levels(n_rows, incremental=incremental)
        encoding = fit_encoding(as_table(X), weight, self.categorical_features, int(n_bins), few_levels)
        few = self.number_embedding != "auto" or encoding.layout.n_numbers <= presets.MAX_EMBEDDED
        return dataclasses.replace(encoding, bins=self.number_embedding in ("auto", "piecewise_linear") and few)

    def _encoded(self, X: Any, dtype: Any) -> Any:
        if isinstance(X, Source):
            assert isinstance(self.encoding_, TableEncoding)
            return loaded_if_small(LazyRows(EncodedSource(X, self.encoding_, dtype), np.dtype(dtype)))
        if isinstance(self.encoding_, SparseEncoding):
            return self.encoding_.encode(X, dtype)
        return self.encoding_.encode(as_table(X.toarray() if sparse.issparse(X) else X), dtype)

    # What the trained network tells of the table.

    def _concluded(self, training: Training, targets: Any, held: Mapping[str, Given] | None) -> dict[str, Any]:
        if isinstance(self.encoding_, SparseEncoding):
            return {}
        judges, validation = judging_rows(held), training.validation
        rows = training.rows if judges is None else placed_for(training, targets, judges)
        n_folds = training.members.n_members if isinstance(validation, FoldedValidation) else 1
        if not (isinstance(rows, Rows) and isinstance(rows.X, Tensor)):  # they are streamed
            return {}
        sources, n_columns = self.encoding_.sources(), self.encoding_.n_columns
        return {"feature_importances_": permutation_importances(training, rows, sources, n_columns, n_folds)}

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        return tags


def with_offset(network: BuiltNetwork, arrays: dict[str, np.ndarray], offset: np.ndarray) -> dict[str, np.ndarray]:
    """Let raw predictions begin around an offset (K,): add it to the biases of the last layer."""
    name = f"bias{len(network.layers) - 1}"
    return {**arrays, name: arrays[name] + offset}
