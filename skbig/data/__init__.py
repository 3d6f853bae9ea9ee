"""Rows and targets, in memory or read from where they lie."""

from skbig.data.sources.csr import open_csr, save_csr
from skbig.data.sources.parquet import open_parquet

__all__ = ["open_csr", "open_parquet", "save_csr"]
