"""
Few images with labels: begin from a pretrained model
=====================================================

A vision model makes a vector of each image, and a small network learns from a few of them. Give the folder of a model,
or its name on the hub::

    python examples/pretrained_images.py facebook/dinov2-small

Without one, a tiny model with random weights takes its place, which shows the way and knows nothing.
"""

from __future__ import annotations

import sys
import tempfile

from sklearn.datasets import load_digits
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skbig import BigMLPClassifier
from skbig.image import ImageEncoder
from skbig.testing import tiny_image_model

digits = load_digits(n_class=5)
images, labels = digits.images[:300] / 16.0, digits.target[:300]

with tempfile.TemporaryDirectory() as folder:
    model = sys.argv[1] if len(sys.argv) > 1 else tiny_image_model(folder)
    vectors = ImageEncoder(model).fit_transform(images)
    network = BigMLPClassifier((64,), learning_rate=0.005, max_iter=40, schedule="cosine", random_state=0)
    scores = cross_val_score(make_pipeline(StandardScaler(), network), vectors, labels, cv=3)
    print(f"{vectors.shape[1]} numbers for each image, accuracy {scores.mean():.2f}")
