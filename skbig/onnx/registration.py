"""Tells skl2onnx of the estimators and searches of this package."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from typing import Any

from skbig._utils.extras import import_extra
from skbig.estimators.base import NetworkEstimator
from skbig.estimators.classification import Classifier
from skbig.estimators.regression import Regressor
from skbig.onnx.converter import add_nodes, output_shapes
from skbig.search.grid import BigGridSearchCV, BigRandomizedSearchCV
from skbig.search.halving import BigHalvingGridSearchCV

SEARCHES = (BigGridSearchCV, BigRandomizedSearchCV, BigHalvingGridSearchCV)

_OF_CLASSIFIERS = {
    "zipmap": [True, False, "columns"],
    "raw_scores": [True, False],
    "output_class_labels": [False, True],
    "nocl": [True, False],
}


def register_if_installed() -> None:
    """Register all estimators, if skl2onnx is there to be told."""
    if importlib.util.find_spec("skl2onnx") is not None:
        for kind in _subclasses(NetworkEstimator):
            if issubclass(kind, Classifier | Regressor):
                register(kind)
        for search in SEARCHES:
            _register_search(search)


def _subclasses(kind: type[Any]) -> Iterator[type[Any]]:
    """Yield all classes of estimators; those of this package are loaded with it."""
    for each in kind.__subclasses__():
        yield each
        yield from _subclasses(each)


def register(kind: type[NetworkEstimator]) -> None:
    """Register one class of estimators."""
    skl2onnx = import_extra("skl2onnx", "onnx", "skbig.onnx")
    options = _OF_CLASSIFIERS if issubclass(kind, Classifier) else None
    alias = f"{kind.__module__}.{kind.__qualname__}".replace(".", "_")
    skl2onnx.update_registered_converter(kind, alias, output_shapes, add_nodes, options=options)


def _register_search(kind: type) -> None:
    """Let a search be converted as scikit-learn's own, which is its best estimator."""
    parsing = import_extra("skl2onnx._parse", "onnx", "skbig.onnx")
    _known_classes()[kind] = "SklearnGridSearchCV"
    parsing.update_registered_parser(kind, parsing._parse_sklearn_grid_search_cv)


def _known_classes() -> dict[type, str]:
    """Return the classes that skl2onnx knows, and what it calls them."""
    known: dict[type, str] = import_extra(
        "skl2onnx._supported_operators", "onnx", "skbig.onnx"
    ).sklearn_operator_name_map
    return known


def register_within(model: Any) -> None:
    """Register the classes of the estimators in a model that are subclasses of a user's."""
    known = _known_classes()
    for part in parts_of(model):
        if isinstance(part, Classifier | Regressor) and type(part) not in known:
            register(type(part))


def parts_of(model: Any, depth: int = 8) -> Iterator[Any]:
    """Yield the estimators that a model consists of, itself first."""
    yield model
    if depth == 0 or not hasattr(model, "__dict__"):
        return
    for value in vars(model).values():
        yield from _estimators_in(value, depth)


def _estimators_in(value: Any, depth: int) -> Iterator[Any]:
    if hasattr(value, "get_params") and not isinstance(value, type):
        yield from parts_of(value, depth - 1)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _estimators_in(each, depth - 1)
