"""Values that grids, NumPy and mistakes bring: they work, or an error names the parameter and what it must be."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone

from skbig import BigMLPClassifier
from skbig._utils import component
from skbig.components import SGD, Adam, Cosine, ElasticNet, Progress, Schedule
from skbig.engine.checkpoint import CheckpointDirectory
from skbig.estimators import choices
from tests.fitting import BINARY, MULTICLASS, VALUES, X, fitted, small, state_of, weights_of

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

AS_PYTHON: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "bool": ({"optimizer": Adam(amsgrad=np.True_)}, {"optimizer": Adam(amsgrad=True)}),
    "array": ({"optimizer": Adam(betas=np.array([0.8, 0.9]))}, {"optimizer": Adam(betas=(0.8, 0.9))}),
    "list of numbers": ({"optimizer": Adam(betas=[np.float64(0.8), 0.9])}, {"optimizer": Adam(betas=(0.8, 0.9))}),
    "number": ({"optimizer": SGD(momentum=np.float64(0.5))}, {"optimizer": SGD(momentum=0.5)}),
    "int": ({"penalty": ElasticNet(l1_ratio=np.int64(1))}, {"penalty": ElasticNet(l1_ratio=1)}),
    "width": ({"hidden_layer_sizes": np.array(5)}, {"hidden_layer_sizes": (5,)}),
    "widths": ({"hidden_layer_sizes": np.array([5, 3])}, {"hidden_layer_sizes": (5, 3)}),
    "counts": ({"max_iter": np.int8(2), "batch_size": np.uint16(7)}, {"max_iter": 2, "batch_size": 7}),
    "strength": ({"alpha": np.float32(0.5)}, {"alpha": 0.5}),
}


@pytest.mark.parametrize("name", AS_PYTHON)
def test_values_of_numpy_are_those_of_python(name: str) -> None:
    """A grid made by NumPy trains what its numbers train, stays as it was given, and can be cloned."""
    theirs, ours = (fitted(small("binary", **values), X, BINARY) for values in AS_PYTHON[name])
    assert weights_of(theirs).tobytes() == weights_of(ours).tobytes()
    for parameter, value in AS_PYTHON[name][0].items():
        assert getattr(theirs, parameter) is value
        assert repr(getattr(clone(theirs), parameter)) == repr(value)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "widths by name": ({"hidden_layer_sizes": {5: 1}}, "'hidden_layer_sizes' parameter of BigMLPClassifier must be"),
    "widths without order": ({"hidden_layer_sizes": {5, 3}}, "'hidden_layer_sizes' parameter of BigMLPClassifier must"),
    "strength beyond floats": (
        {"alpha": 10**400},
        "'alpha' parameter of BigMLPClassifier must be a float in the range",
    ),
    "epochs beyond floats": ({"max_iter": 10**400}, "'max_iter' parameter of BigMLPClassifier must be an int in the"),
    "widths in halves": ({"hidden_layer_sizes": [1.5] * 500}, r"must be .* Got \[1.5, .*\.\.\..* 1.5\] instead"),
    "no directory": ({"checkpoint_dir": ""}, "'checkpoint_dir' parameter of BigMLPClassifier must be .*not empty"),
    "bytes": ({"checkpoint_dir": b"here"}, "'checkpoint_dir' parameter of BigMLPClassifier must be"),
    "betas": ({"optimizer": Adam(betas=np.array([0.9, 1.9]))}, "'betas' parameter of Adam must be"),
    "a matrix of betas": ({"optimizer": Adam(betas=np.ones((2, 2)))}, "'betas' parameter of Adam must be"),
    "FSDP": ({"backend": "FSDP"}, "'FSDP' is backend='fsdp' here"),
    "Tensor": ({"backend": "Tensor"}, "'Tensor' is backend='tensor' here"),
    "DDP": ({"backend": "DDP"}, "'DDP' is backend='ddp' here"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_a_parameter_cannot_be(name: str) -> None:
    """The error names the parameter, what it must be and what it is; nothing is changed."""
    changes, message = WRONG[name]
    model = small("binary", **changes)
    before = state_of(model)
    with pytest.raises(ValueError, match=message) as told:
        fitted(model, X, BINARY)
    assert state_of(model) == before
    assert len(str(told.value)) < 500


FUNCTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "loss: nothing": ({"loss": lambda raw, y: None}, "'loss' parameter must return a loss per row.* Got None"),
    "loss: a number": ({"loss": lambda raw, y: 1.0}, "'loss' parameter must return a loss per row.* Got 1.0"),
    "loss: an array": ({"loss": lambda raw, y: np.zeros(60)}, "'loss' parameter must return a loss per row"),
    "loss: cut off": ({"loss": lambda raw, y: (raw - y).detach().square()}, "must return what torch can differentiate"),
    "loss: truths": ({"loss": lambda raw, y: raw > y}, "must return what torch can differentiate"),
    "schedule: nothing": ({"schedule": lambda t: None}, "'schedule' parameter must return.* Got None"),
    "schedule: a word": ({"schedule": lambda t: "slow"}, "'schedule' parameter must return.* Got 'slow'"),
    "schedule: backwards": ({"schedule": lambda t: -1.0}, r"'schedule' parameter must return.* Got -1.0"),
    "schedule: no number": ({"schedule": lambda t: np.nan}, "'schedule' parameter must return.* Got nan"),
    "schedule: several": ({"schedule": lambda t: np.ones(2)}, "'schedule' parameter must return"),
    "scoring: nothing": ({"scoring": lambda model, X, y: None}, "scorer must return a number.*returned None"),
    "scoring: several": ({"scoring": lambda model, X, y: np.ones(2)}, "scorer must return a number"),
    "scoring: by name": ({"scoring": lambda model, X, y: {"a": 1.0}}, "scorer must return a number"),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_a_function_must_return(name: str) -> None:
    """A function that returns something else is named; the estimator is not fitted."""
    changes, message = FUNCTIONS[name]
    model = small("regression", **changes, early_stopping="scoring" in changes)
    with pytest.raises(ValueError, match=message):
        fitted(model, X, VALUES)
    assert not hasattr(model, "coefs_")


def test_a_loss_may_be_a_function_in_float32() -> None:
    """What a function returns in another precision is taken in that of the training."""
    model = fitted(small("regression", loss=lambda raw, y: (raw - y).float().square()), X, VALUES)
    assert np.isfinite(weights_of(model)).all()


SCHEDULES = ["linear", "cosine", "warm-up", "function"]


@pytest.mark.parametrize(
    "schedule", ["linear", "cosine", Cosine(warmup=0.5), lambda done: float(done < 0.3)], ids=SCHEDULES
)
@pytest.mark.parametrize("task", ["binary", "regression"])
def test_a_line_search_at_a_rate_of_zero(schedule: Any, task: str) -> None:
    """Where a schedule ends at zero nothing moves any more, and nothing fails."""
    y = BINARY if task == "binary" else VALUES
    model = fitted(small(task, optimizer="lbfgs", schedule=schedule, max_iter=8, tol=0.0), X, y)
    assert np.isfinite(weights_of(model)).all() and model.loss_curve_[-1] < model.loss_curve_[0]
    still = fitted(small(task, optimizer="lbfgs", schedule=lambda done: 0.0, tol=0.0), X, y)
    assert weights_of(still).tobytes() == weights_of(fitted(small(task, schedule=lambda done: 0.0), X, y)).tobytes()


def test_a_checkpoint_that_lacks_something(tmp_path: Path) -> None:
    """One that is whole, and of this training, but has not all that a training needs, is named."""
    model = small("binary", checkpoint_dir=tmp_path)
    fitted(model, X, BINARY)
    identity = _identity_in(tmp_path)
    CheckpointDirectory(tmp_path, identity).save({"flat": np.zeros(3)}, {"seeds": [0]})
    before = state_of(model)
    with pytest.raises(ValueError, match=r"lacks 'counts'.*another version of skbig wrote it"):
        fitted(model, X, BINARY)
    assert state_of(model) == before


def _identity_in(path: Path) -> dict[str, str]:
    import json

    newest = max(path.glob("checkpoint-*"))
    document: dict[str, Any] = json.loads((newest / "facts.json").read_bytes())
    return document["identity"]


# Rare classes.


@pytest.mark.parametrize("dtype", [int, str, object])
def test_a_class_of_one_row_stays_in_training(dtype: Any) -> None:
    """Early stopping holds out the others, and says so; labels may be of any kind."""
    y = np.array(["a", "b", "c", "d"], dtype=object)[np.where(np.arange(60) == 7, 3, MULTICLASS)]
    y = np.unique(y.astype(str), return_inverse=True)[1] if dtype is int else y.astype(dtype)
    with pytest.warns(UserWarning, match=r"none of 1 class\(es\) with few rows, as \[('d'|3)\]: they are trained on"):
        model = small("multiclass", early_stopping=True).fit(X, y)
    assert len(model.classes_) == 4 and model.validation_scores_


def test_more_classes_than_rows_held_out() -> None:
    """Some are not validated, and a warning says so; where each has its rows there is none."""
    many = np.arange(60) % 20
    with pytest.warns(UserWarning, match="holds out 6 rows, and none of 14 class"):
        BigMLPClassifier((4,), max_iter=2, early_stopping=True, random_state=0).fit(X, many)
    fitted(small("multiclass", early_stopping=True), X, MULTICLASS)
    assert torch.get_default_dtype() is torch.float32


ALIKE = [
    ({"hidden_layer_sizes": (4,)}, {"hidden_layer_sizes": (4.0,)}),
    ({"max_iter": 1}, {"max_iter": 1.0}),
    ({"batch_size": 1}, {"batch_size": True}),
    ({"alpha": 1.0}, {"alpha": True}),
]


@pytest.mark.parametrize(("good", "bad"), ALIKE)
def test_what_was_checked_does_not_speak_for_its_like(good: dict[str, Any], bad: dict[str, Any]) -> None:
    """Python takes 1, 1.0 and True for equal."""
    fitted(small("binary", **good), X, BINARY)
    with pytest.raises(ValueError, match=f"'{next(iter(bad))}' parameter of BigMLPClassifier must be"):
        fitted(small("binary", **bad), X, BINARY)


def test_a_name_stands_for_the_class_that_has_it_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """A class that is defined anew, as in a notebook, takes the place of the old one."""
    monkeypatch.setitem(component._REGISTRY, "schedule", dict(component._REGISTRY["schedule"]))
    rates = []
    for rate in (0.25, 0.5):

        @dataclass(frozen=True)
        class _Own(Schedule, name="own-schedule-of-this-test"):
            factor = rate

            def shape(self, progress: Progress) -> torch.Tensor:
                return torch.full_like(progress.fraction, self.factor)

        model = fitted(small("binary", schedule="own-schedule-of-this-test", learning_rate=1.0), X, BINARY)
        rates.append(model.learning_rates_[-1])
    assert rates == [0.25, 0.5]


def test_only_so_many_choices_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where more come, one begins anew, and each is found as before."""
    monkeypatch.setattr(choices, "MOST", 2)
    monkeypatch.setattr(choices, "_kept", {})
    for _ in range(2):
        for strength in (0.1, 0.2, 0.3):
            assert choices.resolve_choices(small("binary", alpha=strength))["alpha"] == strength
            assert len(choices._kept) <= 2
