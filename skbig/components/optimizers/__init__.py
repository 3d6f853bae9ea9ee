"""Optimizers, each in a file of its own; `base.py` says what one is, and holds what several share.

A new one is a frozen dataclass with an `init` (its first state) and an `update` (its formula, in place).
"""
