"""For tests of what you build: the laws of components, and tiny models in the place of pretrained ones.

Read first `component.py`; each kind of component has its laws in a file of its own. `pretrained.py` writes the models.
"""

from skbig.testing.component import check_component
from skbig.testing.pretrained import tiny_image_model, tiny_text_model

__all__ = ["check_component", "tiny_image_model", "tiny_text_model"]
