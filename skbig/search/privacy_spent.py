"""What a search under privacy has spent: all of its fits together, and what it says of it."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

from skbig.engine.privacy_ledger import Spent, epsilon_of
from skbig.estimators.private_fit import spent_of
from skbig.exceptions import PrivacyWarning
from skbig.search.nesting import levels

SPENT = "spent"
"""Under this name a fit's result carries what it has spent, on its way past scikit-learn."""


class PrivacySpent:
    """Adds up what the fits of a search have spent.

    Attributes
    ----------
    spent : dict of Spent
        By the key of a training, which may go on from rung to rung, or a number.
    delta, accountant
        Of the last fit.
    """

    def __init__(self) -> None:
        self.spent: dict[str | int, Spent] = {}
        self.delta, self.accountant = 0.0, "pld"

    def note(self, result: dict[str, Any], *, goes_on: bool) -> None:
        """Take what a fit has spent out of its result; one that goes on is told again, from its beginning."""
        told = result.pop(SPENT, None)
        if told is not None:
            key, spent, self.delta, self.accountant = told
            self.spent[key if goes_on else len(self.spent)] = Spent(*spent)

    def conclude(self, search: Any) -> None:
        """Give the search its `epsilon_`, and warn that its fits spend together; its scores are told without noise."""
        vars(search).pop("epsilon_", None)
        if not self.spent:
            return
        best = [part for _, part in levels(getattr(search, "best_estimator_", None), fitted=True)][-1]
        ledger = vars(best).get("_ledger") if hasattr(best, "__dict__") else None
        refitted: Sequence[Spent] = [] if ledger is None else spent_of(ledger)
        n_fits = len(self.spent) + bool(refitted)
        try:
            search.epsilon_ = epsilon_of([*self.spent.values(), *refitted], self.delta, self.accountant)
        except ImportError as error:
            search.epsilon_ = math.nan
            amount = f"more than one of them does ({error})"
        else:
            amount = f"epsilon={search.epsilon_:.4g} at delta={self.delta:g}"
        warnings.warn(
            f"The {n_fits} fits of this search spend together on the same rows: {amount}. And its scores of held-out "
            "rows have no noise: what is chosen by them tells of these, too. Search on rows that need no protection.",
            PrivacyWarning,
            stacklevel=4,
        )
