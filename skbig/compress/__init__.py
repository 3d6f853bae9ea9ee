"""Smaller models of large ones.

`Distilled` trains a small network on what any model says (`distilled.py`; the loss in `soft_loss.py`, the teacher's
answers in `teaching.py`, more rows in `made_rows.py`). `prune` takes away weights (`pruning.py`) or units (`units.py`),
`low_rank` makes matrices narrow (`factors.py`); 8-bit weights are `skbig.onnx`'s. `report` measures what each costs
(`reports.py`).
"""

from skbig.compress.distilled import Distilled
from skbig.compress.factors import low_rank
from skbig.compress.pruning import prune
from skbig.compress.reports import report

__all__ = ["Distilled", "low_rank", "prune", "report"]
