"""Where rows lie that are not in memory, each kind in a file of its own.

`base.py` says what a source is, and `open.py` which X is one. Arrays with slices (HDF5, Zarr, Dask) are read by
`array.py`, memory maps by `memmap.py`, sparse rows by `csr.py`; columns of Parquet and Arrow files by `parquet.py` from
the pieces that `arrow_files.py` knows.
"""
