"""Pictures of a training and of a search, in scikit-learn's Display convention.

matplotlib is imported when one is drawn.
"""

from skbig.plots.search import SearchDisplay
from skbig.plots.training import TrainingDisplay

__all__ = ["SearchDisplay", "TrainingDisplay"]
