"""A small network that learns what a larger model says."""

from __future__ import annotations

import copy
from numbers import Integral
from typing import Any, Self

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator, MetaEstimatorMixin, clone, is_classifier, is_regressor
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils import check_random_state, get_tags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from skbig._utils.validation import Interval, Options, check
from skbig.components.losses.base import resolve_loss
from skbig.compress.made_rows import made_rows
from skbig.compress.soft_loss import SoftLoss
from skbig.compress.teaching import answers, answers_out_of_fold, of_classes, soft_targets, taught
from skbig.data.targets import class_targets
from skbig.estimators.base import NetworkEstimator
from skbig.estimators.given import Given

TEMPERATURE = 2.0
"""What "auto" is for classes."""


def _student_has(name: str) -> Any:
    def has(self: Distilled) -> bool:
        getattr(vars(self).get("student_", self.student), name)
        return True

    return has


class Distilled(MetaEstimatorMixin, BaseEstimator):
    """A student that is trained on what a teacher says of the rows, and on their labels.

    A teacher's probabilities say more of a row than its label, so that a small network comes nearer to a large model,
    an ensemble or a forest of trees than it comes alone. Each row stays one row: its loss reads both targets.

    Parameters
    ----------
    student : estimator
        A classifier or regressor of this package, or a Pipeline that ends in one. A clone of it is trained.
    teacher : estimator
        Any classifier with `predict_proba`, or any regressor. A clone is fitted to the same rows first; a fitted one
        that shall stay as it is, as a pretrained model, is given as ``FrozenEstimator(teacher)``.
    share : float in [0, 1], default=0.9
        The teacher's share of the loss; the rest is that of the labels. For a regressor the target is the mean of the
        teacher's number and y, by these shares.
    temperature : 'auto' or float, default='auto'
        Of a classifier: above 1 the teacher's probabilities are made more alike, so that the student also learns which
        of the wrong classes are near. 'auto' is 2. A regressor has none.
    cv : int, cross-validation generator, iterable or None, default=None
        None asks the teacher about rows it has learnt itself, of which it may be too sure. A number of folds, or what
        scikit-learn's ``cross_val_predict`` takes, has each row judged by a teacher that has not seen it, and costs
        as many fits more. Not for a frozen teacher.
    n_made : int, default=0
        How many rows are made of each, near it, for the teacher to label: the student then learns the teacher, and not
        these rows by heart. It is what helps most where rows are few; training takes as many times longer. For dense
        arrays and data frames.
    random_state : int, RandomState instance or None, default=None
        Of the rows that are made.

    Attributes
    ----------
    student_ : estimator
        Fitted: an ordinary one, which predicts, is saved and goes on training on labels as if it had been fitted alone.
    teacher_ : estimator
        Fitted.
    classes_ : ndarray of shape (n_classes,)
        Of a classifier.
    n_features_in_ : int
        Number of features, where the student knows it.
    feature_names_in_ : ndarray of shape (n_features,)
        Their names, where the student knows them.

    Notes
    -----
    The loss of a row is ``(1 - share) * own + share * T^2 * cross_entropy(teacher at T, student at T)`` [1]_. Held-out
    rows of early stopping are scored by their labels alone. Rows are made by MUNGE [2]_.

    References
    ----------
    .. [1] Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015.
    .. [2] Bucila, Caruana and Niculescu-Mizil, "Model Compression", KDD 2006.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.ensemble import RandomForestClassifier
    >>> from skbig import BigMLPClassifier
    >>> from skbig.compress import Distilled
    >>> X, y = load_iris(return_X_y=True)
    >>> student = BigMLPClassifier((4,), learning_rate=0.02, schedule="cosine", random_state=0)
    >>> distilled = Distilled(student, RandomForestClassifier(50, random_state=0)).fit(X, y)
    >>> bool(distilled.score(X, y) > 0.9)
    True
    """

    def __init__(
        self,
        student: Any,
        teacher: Any,
        *,
        share: float = 0.9,
        temperature: Any = "auto",
        cv: Any = None,
        n_made: int = 0,
        random_state: Any = None,
    ) -> None:
        self.student = student
        self.teacher = teacher
        self.share = share
        self.temperature = temperature
        self.cv = cv
        self.n_made = n_made
        self.random_state = random_state

    def fit(self, X: Any, y: Any, sample_weight: Any = None, *, X_unlabeled: Any = None) -> Self:
        """Fit the teacher, ask it, and train the student.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or whatever student and teacher take
            Rows.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Their labels or numbers.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each row, for the student, and for a teacher that takes it; in a Pipeline its last step does.
        X_unlabeled : same form as X, default=None
            More rows, whose labels nobody knows: the teacher gives them.

        Returns
        -------
        self : estimator
        """
        self._check()
        weight = None if sample_weight is None else np.asarray(sample_weight, dtype=float)
        teacher = taught(self.teacher, X, y, weight)
        said = answers(teacher, X) if self.cv is None else answers_out_of_fold(self.teacher, X, y, weight, self.cv)
        made = [] if X_unlabeled is None else [X_unlabeled]
        if self.n_made:
            made.append(made_rows(X, int(self.n_made), check_random_state(self.random_state).randint(2**31 - 1)))
        for rows in made:
            more = answers(teacher, rows)
            X, y, said = _joined(X, rows), _joined(np.asarray(y), _decided(teacher, more, y)), _joined(said, more)
            weight = None if weight is None else np.append(weight, np.full(len(more), weight.mean()))
        student = clone(self.student)
        steps, last = (student[:-1], student[-1]) if isinstance(student, Pipeline) else (None, student)
        rows = X if steps is None or not len(steps.steps) else steps.fit_transform(X, y)
        self._teach(last, teacher, rows, y, weight, said)
        self.student_, self.teacher_ = student, teacher
        if is_classifier(student):
            self.classes_ = last.classes_
        elif hasattr(self, "classes_"):  # of a fit before, when the student was a classifier
            del self.classes_
        return self

    def _teach(self, last: Any, teacher: Any, X: Any, y: Any, weight: Any, said: np.ndarray) -> None:
        if not is_classifier(last):
            numbers = np.asarray(y, dtype=float)
            last.fit(X, self.share * said.reshape(numbers.shape) + (1.0 - self.share) * numbers, weight)
            return
        targets = class_targets(np.asarray(y))
        temperature = TEMPERATURE if self.temperature == "auto" else float(self.temperature)
        loss, own = resolve_loss(last.loss, for_classes=True), last.loss
        if not targets.multilabel:
            said = of_classes(said, np.asarray(teacher.classes_), targets.classes)
        soft = soft_targets(said, temperature, multiclass=targets.multiclass, multilabel=targets.multilabel)
        last.loss = SoftLoss(loss, targets.multiclass, temperature, float(self.share))
        try:
            last._fit(Given(X, y, weight, soft), Given(None, None), incremental=False)
        finally:
            last.loss = own
        last._loss = loss

    def _check(self) -> None:
        last = self.student[-1] if isinstance(self.student, Pipeline) else self.student
        if not isinstance(last, NetworkEstimator):
            raise TypeError(
                f"The student must be an estimator of this package, or a Pipeline that ends in one. Got {last!r:.200}."
            )
        alike = is_classifier(last) == is_classifier(self.teacher) and is_regressor(last) == is_regressor(self.teacher)
        if not alike:
            raise ValueError("Student and teacher must both be classifiers, or both regressors.")
        if is_classifier(last) and not hasattr(self.teacher, "predict_proba"):
            raise ValueError(
                f"The teacher must have predict_proba, and {type(self.teacher).__name__} has not with these "
                "parameters. CalibratedClassifierCV(teacher) gives it to a classifier without."
            )
        if is_classifier(last) and not resolve_loss(last.loss, for_classes=True).probabilistic:
            raise ValueError(f"The student must have probabilities, and loss={last.loss!r} gives none. Use 'log_loss'.")
        check("share", "Distilled", self.share, Interval(0, 1))
        check("temperature", "Distilled", self.temperature, Options(("auto",)), Interval(0, None, "neither"))
        check("n_made", "Distilled", self.n_made, Interval(0, None, integer=True))
        if self.temperature != "auto" and not is_classifier(last):
            raise ValueError("A temperature is of probabilities, and the student is a regressor. Use 'auto'.")
        if self.cv is not None and isinstance(self.teacher, FrozenEstimator):
            raise ValueError("A frozen teacher is not fitted to folds. Use cv=None.")
        if last.privacy is not None and (self.n_made or not isinstance(self.teacher, FrozenEstimator)):
            raise ValueError(
                "A student with privacy needs a frozen teacher, and n_made=0: one that is fitted to the same rows, and "
                "rows that are made of others, tell what epsilon_ does not count. Use FrozenEstimator(teacher), of one "
                "whose rows need no protection."
            )
        if isinstance(self.cv, bool) or (isinstance(self.cv, Integral) and self.cv < 2):
            raise ValueError(f"The 'cv' parameter of Distilled must be 2 or more folds. Got {self.cv!r} instead.")

    @available_if(_student_has("predict"))
    def predict(self, X: Any) -> Any:
        """Return what the student predicts, as its own `predict`."""
        check_is_fitted(self)
        return self.student_.predict(X)

    @available_if(_student_has("predict_proba"))
    def predict_proba(self, X: Any) -> Any:
        """Return the student's probabilities, as its own `predict_proba`."""
        check_is_fitted(self)
        return self.student_.predict_proba(X)

    @available_if(_student_has("predict_log_proba"))
    def predict_log_proba(self, X: Any) -> Any:
        """Return the logarithms of the student's probabilities."""
        check_is_fitted(self)
        return self.student_.predict_log_proba(X)

    @available_if(_student_has("decision_function"))
    def decision_function(self, X: Any) -> Any:
        """Return the student's raw predictions, as its own `decision_function`."""
        check_is_fitted(self)
        return self.student_.decision_function(X)

    @available_if(_student_has("score"))
    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the student's accuracy, or R2.

        Parameters
        ----------
        X, y : rows and their labels or numbers
        sample_weight : array-like of shape (n_samples,), default=None

        Returns
        -------
        score : float
        """
        check_is_fitted(self)
        return float(self.student_.score(X, y, sample_weight=sample_weight))

    @property
    def n_features_in_(self) -> int:
        """Number of features."""
        return int(self._of_student("n_features_in_"))

    @property
    def feature_names_in_(self) -> np.ndarray:
        """Names of the features."""
        return np.asarray(self._of_student("feature_names_in_"))

    def _of_student(self, name: str) -> Any:
        student = vars(self).get("student_")
        if student is None:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r} before it is fitted.")
        return getattr(student, name)

    def __sklearn_is_fitted__(self) -> bool:
        return "student_" in vars(self)

    def __sklearn_tags__(self) -> Any:
        tags, own = super().__sklearn_tags__(), copy.deepcopy(get_tags(self.student))
        tags.estimator_type, tags.target_tags, tags.input_tags = own.estimator_type, own.target_tags, own.input_tags
        tags.classifier_tags, tags.regressor_tags = own.classifier_tags, own.regressor_tags
        theirs = get_tags(self.teacher)
        tags.input_tags.sparse &= theirs.input_tags.sparse
        tags.input_tags.allow_nan &= theirs.input_tags.allow_nan
        tags.target_tags.multi_output &= theirs.target_tags.multi_output
        if tags.classifier_tags is not None and theirs.classifier_tags is not None:
            tags.classifier_tags.multi_label &= theirs.classifier_tags.multi_label
        return tags


def _decided(teacher: Any, said: np.ndarray, y: Any) -> np.ndarray:
    """Return the labels or numbers that a teacher decides for."""
    if not is_classifier(teacher):
        return said.reshape(len(said), *np.asarray(y).shape[1:])
    if said.shape[1] > 1 and np.asarray(y).shape[1:] == said.shape[1:]:
        return (said > 0.5).astype(int)
    return np.asarray(teacher.classes_)[said.argmax(axis=1)]


def _joined(one: Any, other: Any) -> Any:
    """Return rows one below the other."""
    if sparse.issparse(one):
        return sparse.vstack([one, other], format="csr")
    if hasattr(one, "iloc"):
        import pandas as pd

        return pd.concat([one, other], ignore_index=True)
    if isinstance(one, np.ndarray):
        return np.concatenate([one, np.asarray(other)])
    return [*one, *other]
