"""Whether a callable is the one of an earlier run: by all that it holds and reads."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from skbig import BigGridSearchCV
from skbig.estimators.identity import text_of
from tests.estimators import callables
from tests.estimators.callables import CALLABLES, Weighted, by_attribute, by_global, enclosing
from tests.fitting import VALUES, X, fitted, small

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

ROOT = Path(__file__).parents[2]
ALL_TEXTS = """
from skbig.estimators.identity import text_of
from tests.estimators.callables import CALLABLES, by_global, by_attribute, by_import
for make in CALLABLES.values():
    print(text_of(make(2.0)))
for function in (by_global, by_attribute, by_import):
    print(text_of(function))
"""


@pytest.mark.parametrize("kind", CALLABLES)
def test_a_callable_is_all_that_it_holds(kind: str) -> None:
    """One made with another number is another; one made again is the same, also after it has been copied."""
    make = CALLABLES[kind]
    assert text_of(make(2.0)) == text_of(make(2.0))
    assert text_of(make(2.0)) != text_of(make(3.0))


def test_a_callable_is_the_same_in_another_process() -> None:
    """Neither places in memory nor the order of sets matter."""
    environment = os.environ | {"PYTHONHASHSEED": "7", "PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        [sys.executable, "-c", ALL_TEXTS], capture_output=True, text=True, check=True, env=environment, cwd=ROOT
    )
    functions = (by_global, by_attribute, callables.by_import)
    assert run.stdout.splitlines() == [text_of(make(2.0)) for make in CALLABLES.values()] + [*map(text_of, functions)]


@pytest.mark.parametrize("function", [callables.by_global, callables.by_global_of_another, callables.by_import])
def test_a_function_is_what_it_reads(function: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A global of the user's is a part of every function that reads it, however far away."""
    before = text_of(function)
    monkeypatch.setattr(callables, "FACTOR", 2.0)
    assert text_of(function) != before
    monkeypatch.setattr(callables, "FACTOR", 1.0)
    assert text_of(function) == before


def test_code_is_what_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """The method of a class and the attribute of a global are read, too; lines and files are not."""
    method, attribute = text_of(Weighted(1.0)), text_of(by_attribute)
    monkeypatch.setattr(Weighted, "__call__", lambda self, raw, y: raw)
    monkeypatch.setattr(callables.SETTINGS, "factor", 2.0)
    assert text_of(Weighted(1.0)) != method
    assert text_of(by_attribute) != attribute
    names: list[dict[str, Any]] = [{}, {}]
    for blank_lines, known in zip(("", "\n\n"), names, strict=True):
        exec(compile(f"{blank_lines}def f(x):\n    return x + 1", f"file{len(blank_lines)}", "exec"), known)
    assert text_of(names[0]["f"]) == text_of(names[1]["f"])


HOLDERS = {
    "closure": (enclosing, "global|enclosed held"),
    "object": (Weighted, "factor"),
    "method": (lambda value: Weighted(value).error, "factor"),
    "list": (lambda value: enclosing([value]), "item 0"),
}


@pytest.mark.parametrize("holder", HOLDERS)
@pytest.mark.parametrize("parameter", ["loss", "schedule", "scoring"])
def test_what_cannot_be_compared_is_refused(holder: str, parameter: str, tmp_path: Path) -> None:
    """An open file has no meaning in another process; the error names the parameter, where it is, and the way out."""
    make, where = HOLDERS[holder]
    with open(os.devnull) as file:
        model = small("regression", checkpoint_dir=tmp_path / "new", **{parameter: make(file)})
        with pytest.raises(ValueError, match=rf"'{parameter}' is the same.* a TextIOWrapper, in .*({where}).*getstate"):
            model.fit(X, VALUES)
    assert not (tmp_path / "new").exists()
    assert not hasattr(model, "coefs_")


class WithLock(Weighted):
    """A loss whose lock is no part of what it is."""

    def __init__(self, factor: float) -> None:
        super().__init__(factor)
        self.lock = threading.Lock()

    def __getstate__(self) -> float:
        return self.factor


def loss(raw: Any, y: Any) -> Any:
    return (raw - y).square().sum(-1)


def test_the_way_out_works(tmp_path: Path) -> None:
    """A class that leaves a lock out of its state is compared by the rest."""
    model = small("regression", checkpoint_dir=tmp_path)
    fitted(model.set_params(loss=WithLock(1.0)), X, VALUES)
    fitted(model.set_params(loss=WithLock(1.0)), X, VALUES)
    with pytest.raises(ValueError, match="those of another: parameter loss"):
        model.set_params(loss=WithLock(2.0)).fit(X, VALUES)


@pytest.mark.parametrize("kind", ["callable object", "bound method", "closure over a list", "closure over a tensor"])
def test_a_fit_is_not_resumed_with_another_callable(kind: str, tmp_path: Path) -> None:
    """A checkpoint of a fit, or of a search, is one of the same loss."""
    make = CALLABLES[kind]
    model = small("regression", loss=make(1.0))
    fitted(model.set_params(checkpoint_dir=tmp_path / "fit"), X, VALUES)
    with pytest.raises(ValueError, match="those of another: parameter loss"):
        model.set_params(loss=make(2.0)).fit(X, VALUES)
    model.set_params(checkpoint_dir=None)
    for grid, others in (
        ({"loss": [make(1.0)]}, {"param_grid": {"loss": [make(2.0)]}}),
        ({"alpha": [0.1]}, {"estimator__loss": make(3.0)}),
    ):
        path = tmp_path / "-".join(grid)
        search = BigGridSearchCV(model, grid, cv=2, refit=False, checkpoint_dir=path).fit(X, VALUES)
        with pytest.raises(ValueError, match="those of another: (candidates|parameter loss)"):
            search.set_params(**others).fit(X, VALUES)
