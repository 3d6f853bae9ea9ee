"""Texts, by pretrained models of Hugging Face's transformers.

Needs its libraries: ``pip install "skbig[text]"``. Read first `encoder.py`; `texts.py` checks what is handed over,
`tokens.py` makes numbers of it, and `models.py` vectors of these.
"""

from skbig.text.encoder import TextEncoder

__all__ = ["TextEncoder"]
