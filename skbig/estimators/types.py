"""Types of what users hand over."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias, TypeVar

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from torch import Tensor

from skbig.data.sources.base import Source

Method = TypeVar("Method", bound=Callable[..., Any])
"""Of decorators, which leave a method's signature as it is."""


class Frame(Protocol):
    """A table of pandas, polars, Arrow, or another library that speaks the interchange protocol."""

    def __dataframe__(self, nan_as_null: bool = ..., allow_copy: bool = ...) -> Any: ...


Table: TypeAlias = ArrayLike | Sequence[object] | sparse.sparray | sparse.spmatrix | Tensor | Frame | Source
"""Rows: arrays of any library, lists, sparse matrices, tensors, data frames, and what `skbig.data` opens."""

Targets: TypeAlias = ArrayLike | Sequence[object] | sparse.sparray | sparse.spmatrix | Tensor | Frame
"""Labels or numbers."""

Weights: TypeAlias = ArrayLike | Sequence[float] | Tensor | None
"""A weight for each row."""

ValidationTable: TypeAlias = Table | Sequence[Table] | Mapping[str, Table] | None
"""Validation rows: one set, several, or several by name."""

ValidationTargets: TypeAlias = Targets | Sequence[Targets] | Mapping[str, Targets] | None
ValidationWeights: TypeAlias = Weights | Sequence[Weights] | Mapping[str, Weights]

Scoring: TypeAlias = str | Callable[..., object] | Sequence[str] | Mapping[str, str | Callable[..., float]] | None
"""Of a search: as in scikit-learn."""

Grid: TypeAlias = Mapping[str, Sequence[object] | np.ndarray]
"""Values to try, by parameter."""


class Distribution(Protocol):
    """What values are drawn from, as those of `scipy.stats`."""

    def rvs(self, *args: Any, **kwargs: Any) -> Any: ...


Distributions: TypeAlias = Mapping[str, Sequence[object] | np.ndarray | Distribution]
"""Values to draw from, by parameter."""

Split: TypeAlias = tuple[np.ndarray, np.ndarray]
"""Training rows and test rows."""
