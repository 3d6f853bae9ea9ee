"""Rows and targets, in memory or read from where they lie.

Read `rows.py` first: rows on a device, and the batches of an epoch. `stacked_rows.py` is the same for members with
rows of their own, `streamed_rows.py` for rows that are read while training (`streaming/`, from `sources/`), and
`rank_rows.py` the part of each batch that one of several processes reads.
`targets.py` turns labels into what a loss reads, and back; `split.py` holds rows out.
"""

from skbig.data.sources.csr import open_csr, save_csr
from skbig.data.sources.parquet import open_parquet

__all__ = ["open_csr", "open_parquet", "save_csr"]
