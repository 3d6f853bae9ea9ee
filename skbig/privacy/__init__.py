"""What a model tells of the rows that it was trained on: attacks that measure it, and how much private training spends.

Read `membership.py` first: can one tell who was among the rows? `shadows.py` trains the models that it takes, as one
stack. `budget.py`: what several trainings on the same rows have spent together. How the estimators train privately is
the component `skbig.components.DPSGD`; the step is in `engine/private_step.py`, and what is refused in
`estimators/private_fit.py`.
"""

from skbig.privacy.budget import epsilon
from skbig.privacy.membership import MembershipAttack, membership_attack

__all__ = ["MembershipAttack", "epsilon", "membership_attack"]
