"""A script as users write it, for type checkers: each line is right, but for those that say what is wrong with them."""

# pyright: strict, reportUnnecessaryTypeIgnoreComment=true, reportUnknownMemberType=false

from collections.abc import Sequence
from typing import assert_type

import numpy as np
import torch
from torch import nn

from skbig import (
    DDP,
    BigGridSearchCV,
    BigLinearRegressor,
    BigMLPClassifier,
    BigMLPRegressor,
    BigModuleClassifier,
    BigNetworkRegressor,
    BigRandomizedSearchCV,
    BigTabularClassifier,
    BigTabularRegressor,
)
from skbig.components import AdamW, Cosine, Huber
from skbig.networks import MLP

X, y = np.zeros((20, 3)), np.zeros(20)

# A fit returns the estimator that it was called on, and so does a continued one.
classifier = BigMLPClassifier((8, 4), optimizer=AdamW(betas=(0.9, 0.95)), schedule=Cosine(warmup=0.1), random_state=0)
assert_type(classifier.fit(X, y), BigMLPClassifier)
assert_type(classifier.partial_fit(X, y, classes=[0, 1]), BigMLPClassifier)
assert_type(BigMLPRegressor().set_params(alpha=0.1), BigMLPRegressor)
assert_type(BigTabularRegressor("fast").fit([[1.0, "a"], [None, "b"]], [1.0, 2.0]), BigTabularRegressor)

# Predictions are arrays; decorators have left the signatures as they were written.
assert_type(classifier.predict(X), np.ndarray)
assert_type(classifier.predict_proba(torch.zeros(2, 3)), np.ndarray)
assert_type(classifier.decision_function(X.tolist()), np.ndarray)
regressor = BigMLPRegressor(loss=Huber(delta=2.0), n_members=3).fit(X, y)
assert_type(regressor.predict(X), np.ndarray)
assert_type(regressor.predict(X, return_std=True), tuple[np.ndarray, np.ndarray])
low, high = BigTabularRegressor().fit(X, y).predict_interval(X, coverage=0.8)
assert_type(low, np.ndarray)

# Fitted attributes have types.
assert_type(classifier.coefs_, list[np.ndarray])
assert_type(classifier.classes_, np.ndarray)
assert_type(classifier.loss_curve_, list[float])
assert_type(classifier.validation_scores_, list[float] | None)
assert_type(classifier.n_iter_, int)
assert_type(BigLinearRegressor().fit(X, y).coef_, np.ndarray)
assert_type(BigNetworkRegressor(MLP((8,))).fit(X, y).weights_, dict[str, np.ndarray])
assert_type(BigTabularClassifier().fit(X, y).temperature_, float)
assert_type(BigTabularClassifier().fit(X, y).feature_importances_, np.ndarray)
assert_type(BigModuleClassifier(nn.Linear(3, 2)).fit(X, y).input_shape_, tuple[int, ...])
assert_type(classifier.summary().n_parameters, int)
assert_type(classifier.to_torch(), nn.Module)

# Several forms of what is handed over.
classifier.fit(X, y, sample_weight=[1.0] * 20, X_val=[X, X], y_val=[y, y])
classifier.fit(X, y, X_val={"new": X}, y_val={"new": y})
BigMLPClassifier(scoring=["accuracy", "roc_auc"], class_weight={0: 1.0, 1: 2.0}, backend=DDP(n_workers=2))
BigMLPRegressor(loss=nn.SmoothL1Loss(reduction="none"), schedule=lambda done: 1 - done)
BigTabularClassifier("best", n_members=4, early_stopping=False, categorical_features=["town"], max_iter="auto")
search = BigGridSearchCV(classifier, {"alpha": [0.1, 1.0], "optimizer": ["adam", AdamW()]}, cv=3, scoring="accuracy")
assert_type(search.fit(X, y), BigGridSearchCV)
assert_type(search.best_score_, float)
assert_type(search.best_index_, int)
BigRandomizedSearchCV(BigTabularRegressor(), BigTabularRegressor.search_space(), n_iter=3, random_state=0)


def widths(model: BigMLPClassifier) -> Sequence[int]:
    return [len(weight) for weight in model.coefs_]


# What is wrong is found.
BigMLPClassifier(n_members="three")  # type: ignore[arg-type]
BigMLPClassifier(hidden_layer_sizes={"first": 8})  # type: ignore[arg-type]
BigTabularRegressor(early_stopping=3.5)  # type: ignore[arg-type]
BigGridSearchCV(classifier, {"alpha": 0.1})  # type: ignore[dict-item]
classifier.predict()  # type: ignore[call-arg]
classifier.fit(X, y, sample_weights=y)  # type: ignore[call-arg]
regressor.loss_curve_.append("high")  # type: ignore[arg-type]
