"""Fitted models over HTTP: TensorFlow Serving's REST API and the Open Inference Protocol.

Needs starlette, uvicorn and prometheus-client: ``pip install "skbig[serve]"``.
"""

from skbig.serving.app import create_app
from skbig.serving.limits import Limits
from skbig.serving.model import ServedModel
from skbig.serving.predictor import predictor
from skbig.serving.server import serve
from skbig.serving.tensors import TensorSpec
from skbig.serving.trust import Trust

__all__ = ["Limits", "ServedModel", "TensorSpec", "Trust", "create_app", "predictor", "serve"]
