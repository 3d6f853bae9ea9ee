"""Populations: searches that train all their candidates together."""

from skbig.search.grid import BigGridSearchCV, BigRandomizedSearchCV
from skbig.search.halving import BigHalvingGridSearchCV

__all__ = ["BigGridSearchCV", "BigHalvingGridSearchCV", "BigRandomizedSearchCV"]
