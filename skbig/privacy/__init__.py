"""What a model, or a table, tells of people: attacks that measure it, what private training spends, and masking.

Read `membership.py` first: can one tell who was among the rows of a model? `shadows.py` trains the models that it
takes, as one stack. `budget.py`: what several trainings on the same rows have spent together. Tables are masked by
`pseudonymize.py`, `generalize.py` and `suppress.py`, on the ground of `masking.py`. How the estimators train privately
is the component `skbig.components.DPSGD`; the step is in `engine/private_step.py`, and what is refused in
`estimators/private_fit.py`.
"""

from skbig.privacy.budget import epsilon
from skbig.privacy.generalize import Generalize
from skbig.privacy.masking import k_anonymity
from skbig.privacy.membership import MembershipAttack, membership_attack
from skbig.privacy.pseudonymize import Pseudonymize
from skbig.privacy.suppress import Suppress

__all__ = [
    "Generalize",
    "MembershipAttack",
    "Pseudonymize",
    "Suppress",
    "epsilon",
    "k_anonymity",
    "membership_attack",
]
