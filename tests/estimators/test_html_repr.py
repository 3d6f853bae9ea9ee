"""What a notebook shows of an estimator: links to its page, a tooltip for each parameter, and which have been set."""

from __future__ import annotations

import inspect
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skbig
from skbig import BigGridSearchCV, BigMLPClassifier
from skbig.components import AdamW, Cosine
from skbig.estimators.html_repr import DOCUMENTATION

ROOT = Path(__file__).parents[2]
PUBLIC = [getattr(skbig, name) for name in skbig.__all__ if name.startswith("Big")]
ESTIMATORS = [kind(BigMLPClassifier(), {}) if kind.__name__.endswith("SearchCV") else kind() for kind in PUBLIC]
has_table = pytest.mark.skipif(
    not hasattr(StandardScaler(), "_get_params_html"), reason="scikit-learn has no table of parameters before 1.7"
)


def name_of(estimator: Any) -> str:
    return type(estimator).__name__


def shown_as_set(estimator: Any) -> list[str]:
    """Return the names in the rows that are painted as set by the user."""
    rows = re.findall(r'<tr class="user-set">.*?aria-label="Copy (\S+) to', estimator._repr_html_(), re.DOTALL)
    return list(rows)


def test_links_go_where_the_metadata_says() -> None:
    """The pages that a notebook links to are those of the package's metadata."""
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]
    assert urls["Documentation"] == DOCUMENTATION


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=name_of)
def test_an_estimator_links_to_its_page(estimator: Any) -> None:
    """The page is one that `make docs` writes; a class of the user's has none."""
    page = f"generated/skbig.{name_of(estimator)}.html"
    assert f'href="{DOCUMENTATION}/{page}"' in estimator._repr_html_()
    assert re.search(rf"^   {name_of(estimator)}$", (ROOT / "docs/api.rst").read_text(encoding="utf-8"), re.MULTILINE)
    own = type("Own", (type(estimator),), {"__module__": "elsewhere"})
    assert own.__new__(own)._get_doc_link() == ""


@has_table
@pytest.mark.parametrize("estimator", ESTIMATORS, ids=name_of)
def test_every_parameter_has_a_tooltip(estimator: Any) -> None:
    """Each parameter shows its description, and links to it."""
    shown = estimator._repr_html_()
    for name in inspect.signature(type(estimator)).parameters:
        assert re.search(rf'href="{DOCUMENTATION}/\S+#:~:text={name},-\S+">\s+{name}\s+<span class="param-doc-', shown)


@has_table
def test_only_what_was_set_is_painted() -> None:
    """Fields of a component at their defaults are not shown as set, and what was set comes first."""
    model = BigMLPClassifier(optimizer=AdamW(betas=(0.9, 0.95)), schedule=Cosine(), max_iter=10)
    assert shown_as_set(model) == ["optimizer", "schedule", "max_iter", "optimizer__betas"]
    assert shown_as_set(BigMLPClassifier()) == []
    searched = BigGridSearchCV(make_pipeline(StandardScaler(), model), {"bigmlpclassifier__alpha": [0.1]}, cv=3)
    assert {"optimizer", "optimizer__betas", "param_grid", "cv"} <= {*shown_as_set(searched)}
    assert "optimizer__eps" not in shown_as_set(searched)


def test_the_package_has_addresses() -> None:
    """A reader of the metadata finds the documentation, the source, the issues and the changes."""
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]
    assert [*urls] == ["Documentation", "Source", "Issues", "Changelog"]
    assert all(url.startswith("https://") for url in urls.values())
