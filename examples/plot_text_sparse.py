"""
Text: sparse TF-IDF
===================

A vectorizer gives a sparse matrix with a column per word. It goes into the network as it is; a batch meets the first
layer without being made dense.
"""

# %%
# A small corpus that is made here: each topic has words of its own among many that all topics share.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline

from skbig import BigMLPClassifier

rng = np.random.default_rng(0)
own = {
    "garden": ["soil", "seed", "bloom", "prune", "hedge", "rose", "compost", "lawn"],
    "kitchen": ["oven", "flour", "simmer", "salt", "knife", "broth", "butter", "dough"],
    "harbour": ["mast", "tide", "anchor", "hull", "rope", "sail", "gull", "quay"],
    "orchestra": ["bow", "brass", "tempo", "score", "flute", "choir", "encore", "tuning"],
}
shared = [f"word{i}" for i in range(3000)]


def write(topic):
    """Return a text of sixty words, four of them of the topic, and one of another."""
    other = rng.choice([name for name in own if name != topic])
    words = [*rng.choice(shared, 55), *rng.choice(own[topic], 4), *rng.choice(own[other], 1)]
    return " ".join(rng.permutation(words))


topics = rng.choice(list(own), 2000)
texts = [write(topic) for topic in topics]
texts_train, texts_test, y_train, y_test = train_test_split(texts, topics, random_state=0)

# %%
# Labels stay words, the matrix stays sparse, and float32 halves its size. Texts are few beside so many words, hence
# the strong penalty.
model = make_pipeline(
    TfidfVectorizer(dtype=np.float32),
    BigMLPClassifier((32,), alpha=0.1, learning_rate=0.02, early_stopping=True, random_state=0),
)
model.fit(texts_train, y_train)
matrix = model[0].transform(texts_train)
density = matrix.nnz / np.prod(matrix.shape)
print(f"{matrix.shape[0]} texts, {matrix.shape[1]} words, {density:.2%} of the cells are not zero")
print(f"accuracy {model.score(texts_test, y_test):.3f} after {model[-1].n_iter_} epochs")

# %%
# The words that speak for a topic: follow the weights from the word to the probability, at an empty text.
vocabulary = model[0].get_feature_names_out()
empty = np.zeros((1, len(vocabulary)), dtype=np.float32)
base = model[-1].predict_log_proba(empty)
single = model[-1].predict_log_proba(np.eye(len(vocabulary), dtype=np.float32))
figure, panels = plt.subplots(2, 2, figsize=(6.4, 5), sharex=True, layout="constrained")
for axes, topic, effect in zip(panels.flat, model.classes_, (single - base).T, strict=True):
    strongest = np.argsort(effect)[-10:]
    colours = ["C0" if word in own[topic] else "lightgray" for word in vocabulary[strongest]]
    axes.barh(vocabulary[strongest], effect[strongest], color=colours)
    axes.set_title(topic)
figure.supxlabel("change of the logarithm of the probability; words of the topic in blue", fontsize="small")
plt.show()
