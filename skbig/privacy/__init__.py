"""What a model tells of the rows that it was trained on: how much private training spends.

`budget.py`: what several trainings on the same rows have spent together. How the estimators train privately is the
component `skbig.components.DPSGD`; the step is in `engine/private_step.py`, and what is refused in
`estimators/private_fit.py`.
"""

from skbig.privacy.budget import epsilon

__all__ = ["epsilon"]
