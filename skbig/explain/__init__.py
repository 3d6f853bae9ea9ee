"""Why a model predicts what it predicts: attributions of a prediction to the columns of X.

Read `attributions.py` first: the three functions. `differentiable.py` makes a function that torch differentiates of a
fitted estimator or Pipeline: `tracing.py` follows the columns of X through the steps before the network, `steps.py`
knows the steps. `path_integrals.py` adds up gradients between two rows. What comes out is an `Explanation`
(`explanation.py`), which `display.py` draws.
"""

from skbig.explain.attributions import expected_gradients, gradients, integrated_gradients
from skbig.explain.display import ExplanationDisplay
from skbig.explain.explanation import Explanation

__all__ = ["Explanation", "ExplanationDisplay", "expected_gradients", "gradients", "integrated_gradients"]
