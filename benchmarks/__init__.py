"""How fast and how accurate skbig is beside others: ``python -m benchmarks``, ``python -m benchmarks.accuracy``."""
