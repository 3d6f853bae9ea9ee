"""Pictures of a training, of a search and of a test of learning rates, in scikit-learn's Display convention.

matplotlib is imported when one is drawn.
"""

from skbig.plots.learning_rate import LearningRateDisplay
from skbig.plots.search import SearchDisplay
from skbig.plots.training import TrainingDisplay

__all__ = ["LearningRateDisplay", "SearchDisplay", "TrainingDisplay"]
