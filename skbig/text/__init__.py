"""Texts, by pretrained models of Hugging Face's transformers.

Needs its libraries: ``pip install "skbig[text]"``. Read first `encoder.py`: `texts.py` checks what is handed over,
`tokens.py` makes numbers of it, and `models.py` vectors of these. `tuning.py` is what `classifier.py` and
`regressor.py` share; `networks.py` says what is trained, `adapters.py` how adapters of many members stand beside one
model, `noise.py` how random numbers do not depend on the lengths of other texts.
"""

from skbig.text.classifier import BigTextClassifier
from skbig.text.encoder import TextEncoder
from skbig.text.regressor import BigTextRegressor

__all__ = ["BigTextClassifier", "BigTextRegressor", "TextEncoder"]
