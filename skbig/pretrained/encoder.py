"""What encoders of texts and of images share: scikit-learn's face over a model that is not changed."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from joblib import Memory
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from skbig._utils.device import choose_device, plain_torch
from skbig._utils.validation import COUNT, Boolean, Instance, Options, check
from skbig.estimators.declaration import declared, estimator, parameter
from skbig.estimators.html_repr import Documented
from skbig.estimators.parameters import PathName
from skbig.pretrained.base import Base
from skbig.pretrained.cache import memory_of, through
from skbig.pretrained.pooling import POOLINGS

DTYPES = ("float32", "float16")


@estimator
class Encoder(Documented, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """A step of a Pipeline that makes a vector of each row by a pretrained model."""

    model: str | PathLike[str] | None = parameter(
        None,
        PathName(),
        words="str or path",
        doc="""The folder that `save_pretrained` has written, or the name of a model of the Hugging Face hub, as
        ``"sentence-transformers/all-MiniLM-L6-v2"``. Only safetensors files are read, and no code from the hub.""",
        kw_only=False,
    )
    pooling: str = parameter(
        "mean",
        Options(POOLINGS),
        words="{'mean', 'cls', 'max'}",
        doc="""Which vector stands for a row: the mean of those of all its positions, the vector of the first one,
        or the largest number of each column.""",
    )
    normalize: bool = parameter(False, Boolean(), words="bool", doc="Whether vectors are brought to the length 1.")
    batch_size: int = parameter(32, COUNT, words="int", doc="Rows that are computed at once.")
    dtype: str = parameter(
        "float32",
        Options(DTYPES),
        words="{'float32', 'float16'}",
        doc="""Of the vectors. A GPU computes in it, too; a CPU computes in float32, and rounds.""",
    )
    device: str = parameter(
        "auto",
        words="str",
        doc="""'auto' is the first that exists of cuda, mps and cpu; or one by name, as 'cuda:1'.""",
    )
    cache: str | PathLike[str] | Memory | None = parameter(
        None,
        Options((None,)),
        PathName(),
        Instance((Memory,), "a joblib.Memory"),
        words="path, joblib.Memory or None",
        doc="""A folder in which the vectors of each call are kept, and found again by a hash of the rows, the model and
        the parameters. It is made with access for its owner only.""",
    )
    local_files_only: bool = parameter(
        False, Boolean(), words="bool", doc="Whether a model that is not on this machine is not to be downloaded."
    )

    def fit(self, X: Any, y: Any = None) -> Self:
        """Find the model, and check it and the rows. Nothing is learnt from the rows.

        Parameters
        ----------
        X : sequence
            As of `transform`.
        y : object, default=None
            Of no meaning.

        Returns
        -------
        self : estimator

        Raises
        ------
        ValueError
            When there is no such model, it cannot be read, or X is of another kind.
        """
        del y
        self._check_parameters()
        self._rows(X)
        assert self.model is not None
        base = Base.find(self.model, self._extra, local_files_only=bool(self.local_files_only))
        self._n_features_out = self._width_of(base, Path(base.folder))
        self.folder_, self.fingerprint_ = base.folder, base.fingerprint
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Return the vector of each row.

        Parameters
        ----------
        X : sequence
            Rows.

        Returns
        -------
        vectors : ndarray of shape (n_samples, n_features_out)

        Raises
        ------
        ValueError
            When X is of another kind, or the model is not where it was, or is another one.
        """
        check_is_fitted(self)
        self._check_parameters()
        assert self.model is not None
        rows, base = self._rows(X), Base(self.model, self.folder_, self.fingerprint_, self._extra)
        memory = memory_of(self.cache)
        key = "" if memory is None else self._key(rows)
        return through(memory, key, lambda: self._encoded(rows, base))

    def _encoded(self, rows: Sequence[Any], base: Base) -> np.ndarray:
        folder, device = base.located(), choose_device(self.device)
        with plain_torch(), torch.no_grad():
            vectors = self._vectors(rows, base, folder, device).float()
            if self.normalize:
                vectors = torch.nn.functional.normalize(vectors, dim=1)
            result: np.ndarray = vectors.numpy().astype(self.dtype, copy=False)
            return result

    def _check_parameters(self) -> None:
        owner = type(self).__name__
        for name, field in declared(self).items():
            if field.metadata["allowed"]:
                check(name, owner, getattr(self, name), *field.metadata["allowed"])

    @property
    def _compute_dtype(self) -> torch.dtype:
        half = self.dtype == "float16" and choose_device(self.device).type != "cpu"
        return torch.float16 if half else torch.float32

    def _doc_link_url_param_generator(self) -> dict[str, str]:
        return {"name": f"{self._extra}.{type(self).__name__}"}

    # What an encoder says.

    _extra = ""
    """What is installed for it, by the name of the extra."""

    @abstractmethod
    def _rows(self, X: Any) -> Sequence[Any]:
        """Return checked rows."""

    @abstractmethod
    def _width_of(self, base: Base, folder: Path) -> int:
        """Return how many numbers a vector has, and check the model together with the parameters."""

    @abstractmethod
    def _key(self, rows: Sequence[Any]) -> str:
        """Return a hash of all that the vectors depend on."""

    @abstractmethod
    def _vectors(self, rows: Sequence[Any], base: Base, folder: Path, device: torch.device) -> torch.Tensor:
        """Return vectors (N, D) in the memory of the host."""


def in_batches(n_rows: int, batch_size: int, order: np.ndarray, width: int, encode: Any) -> torch.Tensor:
    """Return what a function makes of some rows at a time, in their own order, (N, D); less at once where memory ends.

    Parameters
    ----------
    n_rows, batch_size : int
    order : ndarray (N,)
        In which order rows are read.
    width : int
    encode : callable
        Takes numbers of rows, (R,), and returns a tensor (R, D).
    """
    result = torch.empty((n_rows, width), dtype=torch.float32)
    start = 0
    while start < n_rows:
        which = order[start : start + batch_size]
        try:
            vectors = encode(which)
        except torch.OutOfMemoryError:
            if batch_size == 1:
                raise
            batch_size = max(1, batch_size // 2)
            continue
        result[torch.from_numpy(which)] = vectors.float().cpu()
        start += len(which)
    return result
