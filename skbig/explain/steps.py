"""What is known of transformers: which are linear, and which make each column of one column alone.

Another one is registered: ``@linear_map.register def _(step: Mine): ...``.

Legend: C columns that a step reads, Z columns that it makes.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import singledispatch
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.decomposition import PCA, IncrementalPCA, TruncatedSVD
from sklearn.feature_selection import SelectorMixin
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.preprocessing import (
    Binarizer,
    FunctionTransformer,
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    SplineTransformer,
    StandardScaler,
    TargetEncoder,
)

LinearMap = tuple[Any, np.ndarray]
"""A sparse matrix (C, Z) and a shift (Z,): what a step makes of a row x is ``x @ matrix + shift``. A step that only
scales has a factor for each column (C,) in the place of the matrix."""


@singledispatch
def linear_map(step: Any) -> LinearMap | None:
    """Return what a fitted step does to a row, where it is linear; else None."""
    return None


@linear_map.register
def _standard(step: StandardScaler) -> LinearMap:
    return _scaled(step.n_features_in_, step.mean_ if step.with_mean else None, step.scale_)


@linear_map.register
def _robust(step: RobustScaler) -> LinearMap:
    centre = step.center_ if step.with_centering else None
    return _scaled(step.n_features_in_, centre, step.scale_ if step.with_scaling else None)


@linear_map.register
def _max_abs(step: MaxAbsScaler) -> LinearMap | None:
    return None if getattr(step, "clip", False) else _scaled(step.n_features_in_, None, step.scale_)


@linear_map.register
def _min_max(step: MinMaxScaler) -> LinearMap | None:
    return None if step.clip else (np.asarray(step.scale_), np.asarray(step.min_))


@linear_map.register(PCA)
@linear_map.register(IncrementalPCA)
def _pca(step: Any) -> LinearMap:
    matrix = step.components_.T
    if step.whiten:
        matrix = matrix / np.sqrt(step.explained_variance_)
    return sparse.csc_array(matrix), -step.mean_ @ matrix


@linear_map.register
def _svd(step: TruncatedSVD) -> LinearMap:
    return sparse.csc_array(step.components_.T), np.zeros(len(step.components_))


@linear_map.register
def _selector(step: SelectorMixin) -> LinearMap:
    support = step.get_support()
    return sparse.eye_array(len(support), format="csc")[:, np.flatnonzero(support)], np.zeros(support.sum())


@linear_map.register
def _function(step: FunctionTransformer) -> LinearMap | None:
    return _scaled(step.n_features_in_, None, None) if step.func is None else None


def _scaled(n: int, centre: np.ndarray | None, scale: np.ndarray | None) -> LinearMap:
    scale = np.ones(n) if scale is None else scale
    return 1 / scale, np.zeros(n) if centre is None else -centre / scale


@singledispatch
def sources_of(step: Any) -> Sequence[int]:
    """Return of each column that a fitted step makes which one it is made of.

    Raises
    ------
    ValueError
        When a column is made of several, or it is not known.
    """
    raise ValueError(
        f"What {type(step).__name__} makes of X cannot be followed back to its columns. Explain the model behind it: "
        "pass the last step of the Pipeline, and the rows that it reads, ``pipeline[:-1].transform(X)``."
    )


@sources_of.register(MaxAbsScaler)
@sources_of.register(MinMaxScaler)
@sources_of.register(OrdinalEncoder)
@sources_of.register(Binarizer)
@sources_of.register(PowerTransformer)
@sources_of.register(QuantileTransformer)
def _each(step: Any) -> Sequence[int]:
    return range(step.n_features_in_)


@sources_of.register
def _one_hot(step: OneHotEncoder) -> Sequence[int]:
    named = copy.copy(step)
    named.feature_name_combiner = lambda feature, category: feature  # a column is called as what it is made of
    given = [str(i) for i in range(step.n_features_in_)]
    vars(named).pop("feature_names_in_", None)
    return [int(name) for name in named.get_feature_names_out(given)]


@sources_of.register
def _bins(step: KBinsDiscretizer) -> Sequence[int]:
    if step.encode == "ordinal":
        return range(step.n_features_in_)
    return np.repeat(np.arange(step.n_features_in_), step.n_bins_).tolist()


@sources_of.register(SplineTransformer)
@sources_of.register(TargetEncoder)
def _as_many_of_each(step: Any) -> Sequence[int]:
    n_made = len(step.get_feature_names_out())
    return np.repeat(np.arange(step.n_features_in_), n_made // step.n_features_in_).tolist()


@sources_of.register
def _missing(step: MissingIndicator) -> Sequence[int]:
    return list(step.features_)


@sources_of.register
def _named_function(step: FunctionTransformer) -> Sequence[int]:
    if step.feature_names_out != "one-to-one":
        raise ValueError(
            f"{step!r} may make a column of several. Where each is made of one, say so: "
            "``FunctionTransformer(..., feature_names_out='one-to-one')``."
        )
    return range(step.n_features_in_)


def filled_columns(step: SimpleImputer) -> tuple[list[int], list[int]]:
    """Return which columns are passed on with their gaps filled, and of which it is told that they had gaps."""
    empty = np.array([value != value or value is None for value in step.statistics_.tolist()])
    kept = range(step.n_features_in_) if step.keep_empty_features else np.flatnonzero(~empty)
    return list(kept), list(step.indicator_.features_) if step.add_indicator else []
