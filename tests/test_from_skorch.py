"""Nets of skorch's as estimators of ours: the same steps, or a word on what cannot be."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from torch import nn, optim

from skbig import BigModuleClassifier, BigModuleRegressor, from_skorch

skorch = pytest.importorskip("skorch")
from skorch import NeuralNetBinaryClassifier, NeuralNetClassifier, NeuralNetRegressor  # noqa: E402
from skorch.callbacks import (  # noqa: E402
    Checkpoint,
    EarlyStopping,
    EpochScoring,
    Freezer,
    GradientNormClipping,
    LRScheduler,
)
from skorch.dataset import ValidSplit  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

RANDOM = np.random.RandomState(0)
X = RANDOM.normal(size=(50, 4)).astype(np.float32)
LABELS = (X[:, 0] + X[:, 1] > 0).astype(np.int64) + (X[:, 2] > 1)
Y = (X @ RANDOM.normal(size=(4, 1)) + 1).astype(np.float32)
TASKS = {
    "three classes": (NeuralNetClassifier, 3, nn.CrossEntropyLoss, LABELS),
    "two classes, two columns": (NeuralNetClassifier, 2, nn.CrossEntropyLoss, LABELS.clip(max=1)),
    "two classes": (NeuralNetBinaryClassifier, 1, nn.BCEWithLogitsLoss, LABELS.clip(max=1).astype(np.float32)),
    "numbers": (NeuralNetRegressor, 1, nn.MSELoss, Y),
}


def module(n_outputs: int) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, n_outputs))


def net_of(task: str, **more: Any) -> tuple[Any, np.ndarray]:
    kind, n_outputs, criterion, y = TASKS[task]
    common = {"train_split": None, "verbose": 0, "max_epochs": 5, "batch_size": 16, "lr": 0.05}
    return kind(module(n_outputs), criterion=more.pop("criterion", criterion), **common | more), y


def assert_same_steps(net: Any, y: np.ndarray) -> None:
    """Compare the weights after training from the same first ones."""
    ours = from_skorch(net)
    ours.fit(X, y.ravel())
    net.fit(X, y)
    for name, value in net.module_.state_dict().items():
        np.testing.assert_allclose(ours.weights_[name], value.numpy(), rtol=2e-4, atol=2e-5)
    predicted = net.predict(X).ravel()
    np.testing.assert_allclose(ours.predict(X).astype(float), predicted.astype(float), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    "optimizer",
    [
        {"optimizer": optim.SGD},
        {
            "optimizer": optim.SGD,
            "optimizer__momentum": 0.9,
            "optimizer__nesterov": True,
            "optimizer__weight_decay": 0.1,
        },
        {"optimizer": optim.Adam, "optimizer__betas": (0.8, 0.9), "optimizer__weight_decay": 0.1},
        {"optimizer": optim.AdamW, "lr": 1.0, "optimizer__lr": 0.02},
        {"optimizer": optim.NAdam, "optimizer__weight_decay": 0.05},
        {"optimizer": optim.RMSprop, "lr": 0.01, "optimizer__centered": True},
        {"optimizer": optim.Adagrad, "optimizer__initial_accumulator_value": 0.5},
    ],
    ids=str,
)
@pytest.mark.parametrize("task", ["three classes", "numbers"])
def test_takes_the_steps_of_the_net(task: str, optimizer: dict[str, Any]) -> None:
    """From the same weights, batch by batch in order, both come to the same weights."""
    assert_same_steps(*net_of(task, **optimizer))


@pytest.mark.parametrize("task", TASKS)
def test_every_task_with_clipping_groups_and_a_schedule(task: str) -> None:
    """Norms are clipped, groups have rates of their own, and rates fall by epochs, alike."""
    callbacks = [
        GradientNormClipping(0.3),
        ("falls", LRScheduler(policy="StepLR", step_size=2, gamma=0.5)),
        ("watched", EpochScoring(lambda net, X, y: 0.0, use_caching=False)),
    ]
    groups = [("0.*", {"lr": 0.01}), ("2.bias", {"weight_decay": 0.0})]
    decay = {"optimizer": optim.AdamW, "optimizer__param_groups": groups, "optimizer__weight_decay": 0.2}
    assert_same_steps(*net_of(task, callbacks=callbacks, **decay))


@pytest.mark.parametrize(
    "criterion",
    [nn.L1Loss, nn.HuberLoss(delta=0.3), nn.SmoothL1Loss(beta=0.5), nn.MSELoss()],
    ids=lambda criterion: str(criterion),
)
def test_losses_of_numbers(criterion: Any) -> None:
    """Losses that differ by a factor are brought to the same steps."""
    assert_same_steps(*net_of("numbers", criterion=criterion))


def test_smoothed_labels() -> None:
    """Parameters of the criterion come along."""
    assert_same_steps(*net_of("three classes", criterion__label_smoothing=0.2))


def test_what_is_set_besides() -> None:
    """Counts, early stopping, freezing, and the parameters of the module's class keep their meaning."""
    net = NeuralNetClassifier(
        nn.Linear,
        module__in_features=4,
        module__out_features=3,
        criterion=nn.CrossEntropyLoss,
        batch_size=-1,
        iterator_train__shuffle=True,
        iterator_train__num_workers=2,
        train_split=ValidSplit(4, stratified=True),
        callbacks=[EarlyStopping(patience=3), Freezer("bias")],
        callbacks__print_log=None,
        warm_start=True,
        device=None,
        verbose=0,
    )
    ours = from_skorch(net)
    assert isinstance(ours, BigModuleClassifier)
    expected = {
        "module": nn.Linear,
        "module__in_features": 4,
        "module__out_features": 3,
        "batch_size": "full",
        "shuffle": True,
        "early_stopping": True,
        "validation_fraction": 0.25,
        "n_iter_no_change": 2,
        "scoring": "loss",
        "freeze": ["bias"],
        "warm_start": True,
        "device": "auto",
        "alpha": 0.0,
    }
    parameters = ours.get_params()
    assert {name: parameters[name] for name in expected} == expected
    fitted = clone(ours).set_params(warm_start=False, module__bias=True, random_state=0).fit(X, LABELS)
    assert fitted.score(X, LABELS) > 0.2


def test_the_weights_of_a_fitted_net_are_the_first_ones() -> None:
    """Training goes on from where the net is, which itself stays as it is."""
    net, y = net_of("numbers")
    net.fit(X, y)
    before = copy.deepcopy(net.module_.state_dict())
    ours = from_skorch(net).set_params(param_groups={"*": 0.0}, max_iter=1).fit(X, y.ravel())
    assert isinstance(ours, BigModuleRegressor)
    np.testing.assert_allclose(ours.predict(X), net.predict(X).ravel(), rtol=1e-4, atol=1e-5)
    assert all(torch.equal(value, before[name]) for name, value in net.module_.state_dict().items())


@pytest.mark.parametrize(
    ("y", "rows"),
    [
        (np.array(["no", "yes", "maybe"])[LABELS], X),
        (LABELS.astype(np.int32), X.astype(np.float64)),
        (pd.Series(LABELS), pd.DataFrame(X, columns=list("abcd"))),
        (LABELS.tolist(), X.tolist()),
    ],
    ids=["strings", "int32 and float64", "pandas", "lists"],
)
def test_data_that_skorch_refuses_or_wants_converted(y: Any, rows: Any) -> None:
    """Labels of any kind, float64, data frames and weights of rows need no conversion."""
    net, _ = net_of("three classes", max_epochs=30, lr=0.3)
    ours = from_skorch(net).fit(rows, y, sample_weight=np.ones(len(X)))
    assert ours.score(rows, y) > 0.7
    assert set(np.unique(ours.predict(rows))) <= set(np.unique(np.asarray(y)))


class Weighted(NeuralNetClassifier):  # type: ignore[misc]
    """A net with a loss of its own."""

    def get_loss(self, *args: Any, **kwargs: Any) -> Any:
        return super().get_loss(*args, **kwargs)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"criterion": nn.NLLLoss}, "take the softmax or sigmoid out of the module"),
        ({"criterion": nn.MultiMarginLoss}, "cannot convert criterion=MultiMarginLoss"),
        ({"criterion__weight": torch.ones(3)}, r"criterion__weight: use class_weight"),
        ({"criterion__reduction": "sum"}, "reduction='sum'"),
        ({"optimizer": optim.LBFGS}, "optimizer='LBFGS': use one of SGD, Adam"),
        ({"optimizer__maximize": True}, "optimizer__maximize"),
        ({"optimizer__param_groups": [("0.*", {"momentum": 0.1})]}, "'momentum' of optimizer__param_groups"),
        ({"callbacks": [Checkpoint()]}, "the callback Checkpoint: use checkpoint_dir here"),
        ({"callbacks": [LRScheduler(policy="CyclicLR")]}, "choose a schedule here"),
        ({"callbacks": [EarlyStopping()]}, "train_split=None"),
        ({"callbacks": [EarlyStopping(monitor="train_loss")]}, "EarlyStopping"),
        ({"predict_nonlinearity": torch.sigmoid}, "predict_nonlinearity"),
        ({"iterator_train__drop_last": True}, "iterator_train__drop_last"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_has_no_equal_is_named(change: dict[str, Any], message: str) -> None:
    """A part of a net that would have to be ignored is refused, with what to do."""
    net, _ = net_of("three classes", **change)
    with pytest.raises(ValueError, match=message):
        from_skorch(net)


def test_code_of_a_users_own_is_named() -> None:
    """A subclass that trains in its own way is refused, and so is what is no net."""
    with pytest.raises(ValueError, match=r"Weighted.get_loss, which is your own"):
        from_skorch(Weighted(module(3), criterion=nn.CrossEntropyLoss))
    with pytest.raises(TypeError, match="takes a NeuralNetClassifier"):
        from_skorch(nn.Linear(2, 2))
