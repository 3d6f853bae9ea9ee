"""Tables as they are: numbers, categories and missing values, as one matrix of floats.

Read `encoding.py` first: what is fitted to a table, and what it makes of one. `table.py` says what can be asked of a
table's columns, `frames.py` and `reading.py` answer for pandas, polars, Arrow and NumPy, `cells.py` for cells that may
hold anything. `numbers.py` and `categories.py` say what becomes of a column.
"""
