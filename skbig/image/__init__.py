"""Images, by pretrained models of Hugging Face's transformers.

Needs its libraries: ``pip install "skbig[image]"``. Read first `encoder.py`; `images.py` checks what is handed over,
`models.py` makes vectors of it.
"""

from skbig.image.encoder import ImageEncoder

__all__ = ["ImageEncoder"]
