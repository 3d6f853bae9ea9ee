"""Losses: `base.py` says what one is, `classification.py` and `regression.py` hold those there are.

A new one is a frozen dataclass in the file of its task, with a `per_row` that reads like its formula.
"""
