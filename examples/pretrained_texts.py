"""
Few texts with labels: begin from a pretrained model
====================================================

A model that has read much makes a vector of each text, and a small network learns from a few of them. Give the folder
of a model, or its name on the hub::

    python examples/pretrained_texts.py sentence-transformers/all-MiniLM-L6-v2

Without one, a tiny model with random weights takes its place, which shows the way and knows nothing.
"""

from __future__ import annotations

import sys
import tempfile

from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skbig import BigMLPClassifier
from skbig.testing import tiny_text_model
from skbig.text import BigTextClassifier, TextEncoder

SUBJECTS = {
    "payment": ["my card was charged twice", "the invoice is wrong", "you billed me too much", "the refund is late"],
    "delivery": [
        "the parcel has not arrived",
        "the courier is late",
        "my package is missing",
        "nobody came to my door",
    ],
    "praise": ["I love this product", "great service", "thank you, I am very happy", "I would buy it again"],
}
texts = [frame.format(text) for own in SUBJECTS.values() for text in own for frame in ("{}", "Hello, {}.")]
subjects = [subject for subject, own in SUBJECTS.items() for text in own for _ in range(2)]

with tempfile.TemporaryDirectory() as folder:
    model = sys.argv[1] if len(sys.argv) > 1 else tiny_text_model(folder, texts)
    encoder = TextEncoder(model, normalize=True)
    vectors = encoder.fit_transform(texts)  # once: nothing is learnt here, so a cross-validation may share them

    network = BigMLPClassifier((32,), learning_rate=0.01, max_iter=60, schedule="cosine", random_state=0)
    scores = cross_val_score(make_pipeline(StandardScaler(), network), vectors, subjects, cv=4)
    print(f"accuracy with {len(texts) * 3 // 4} labelled texts: {scores.mean():.2f}")

    whole = make_pipeline(encoder, StandardScaler(), network).fit(texts, subjects)
    for text in ("money left my account two times", "the shipment got lost", "wonderful"):
        print(f"{text!r}: {whole.predict([text])[0]}")

    # The model itself learns, by low-rank adapters beside its layers: two of them over one model, averaged.
    tuned = BigTextClassifier(model, n_members=2, learning_rate=0.003, max_iter=5, batch_size=8, random_state=0)
    tuned.fit(texts, subjects)
    for text in ("money left my account two times", "the shipment got lost", "wonderful"):
        print(f"{text!r}, tuned: {tuned.predict([text])[0]}")
