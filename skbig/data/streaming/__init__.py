"""How rows that are not in memory come to the steps.

`lazy_rows.py` takes the place of X. An epoch reads `chunks.py` in a random order, checks them by `reader.py`, shuffles
some at a time in `shuffle_buffer.py`, ahead of the steps (`prefetch.py`), and copies batches to the device beside what
it computes (`device_copy.py`).
"""
