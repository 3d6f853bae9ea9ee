"""The classifier of texts."""

from __future__ import annotations

from skbig.estimators.classification import Classifier
from skbig.estimators.declaration import estimator
from skbig.text.tuning import BigText


@estimator
class BigTextClassifier(Classifier, BigText):
    """A classifier of texts that begins from a pretrained model.

    Texts are a list, an array, a Series, or a table with one column. Batches have texts of about the same length, so
    that little of them is empty. Losses, optimizers, schedules, early stopping, weights of rows and classes,
    checkpoints, several processes and searches are those of all estimators here. Ensembles (`n_members`) and searches
    over adapters share the pretrained model: each candidate has its own adapters, and where steps are small they are
    trained as one.

    A pickle holds where the model lies and its hash, and what was trained: less than a hundredth of the model with
    adapters. It does not hold the optimizer's state, so that `partial_fit` after loading begins with a fresh one; a
    checkpoint (`checkpoint_dir`) holds it.

    Parameters
    ----------
    ...

    Attributes
    ----------
    folder_, fingerprint_ : str
        Where the pretrained model was found, and the hash of its files.
    max_length_ : int
        How many tokens are read of a text.
    classes_ : ndarray of shape (n_classes,)
        Class labels, sorted.
    weights_, buffers_ : dict of ndarray
        What was trained, by name; with several members, they are the first dim of each.
    loss_curve_, validation_loss_curve_, validation_scores_, learning_rates_ : list of float
        One entry for each epoch; the validation curves are None without validation rows.
    n_iter_, t_ : int
        Epochs run, and training rows seen.

    See Also
    --------
    BigTextRegressor : The same for numbers.
    TextEncoder : Vectors of texts, for any estimator.

    References
    ----------
    Hu et al., 2021, "LoRA: Low-Rank Adaptation of Large Language Models".

    Examples
    --------
    >>> from skbig.testing import tiny_text_model
    >>> from skbig.text import BigTextClassifier
    >>> texts = ["a good day", "what a good book", "a bad day", "what a bad book"] * 5
    >>> labels = ["praise", "praise", "blame", "blame"] * 5
    >>> folder = tiny_text_model("model", texts)  # in your work a folder with a trained model, or its name
    >>> classifier = BigTextClassifier(folder, learning_rate=0.01, max_iter=30, random_state=0).fit(texts, labels)
    >>> classifier.predict(["a good day", "what a bad book"])
    array(['praise', 'blame'], dtype='<U6')
    """
