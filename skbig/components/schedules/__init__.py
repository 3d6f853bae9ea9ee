"""Schedules: `base.py` says what one is; those of `annealing.py` end with the training, those of `decays.py` do not.

A new one is a frozen dataclass with a `shape` that reads like its formula. Its docstring says what its time is counted
in: a share of the whole training, epochs, updates or rows.
"""
