"""Pictures show the numbers of an explanation."""

from __future__ import annotations

import itertools
import types
from typing import Any

import numpy as np
import pandas as pd
import pytest

from skbig.explain import Explanation, ExplanationDisplay, expected_gradients, integrated_gradients
from tests.fitting import X, trained

FRAME = pd.DataFrame({"age": [30.0, 41.0, np.nan], "city": ["Bern", "Oslo", None], "size": [1, 2, 3]})
VALUES = np.array([[0.5, -2.0, 0.1], [1.5, 1.0, 0.0], [-1.0, 3.0, 0.2]])
ONE = Explanation(VALUES, np.array([10.0, 10.0, 10.0]), FRAME.to_numpy(dtype=object), list(FRAME))
MANY = Explanation(
    np.stack([VALUES, -VALUES], -1),
    np.tile([1.0, 2.0], (3, 1)),
    FRAME.to_numpy(dtype=object),
    list(FRAME),
    ["no", "yes"],
)


def labels(display: ExplanationDisplay) -> list[str]:
    return [label.get_text() for label in display.ax_.get_yticklabels()]


def test_bars_are_mean_sizes() -> None:
    """The largest is on top, and what has no bar of its own is told."""
    display = ExplanationDisplay(ONE).plot("bars")
    assert labels(display) == ["city", "age", "size"]
    np.testing.assert_allclose([bar.get_width() for bar in display.bars_[0]], [2.0, 1.0, 0.1])
    wide = Explanation(np.arange(12.0)[None], np.zeros(1), np.zeros((1, 12)), [f"x{i}" for i in range(12)])
    display = ExplanationDisplay(wide).plot("bars", max_features=3)
    assert labels(display) == ["x11", "x10", "x9"]
    assert display.ax_.get_title(loc="right") == "9 others, together 36"


def test_bars_of_several_outputs_are_side_by_side() -> None:
    """Each output has a colour, one alone none."""
    display = ExplanationDisplay(MANY).plot("bars")
    assert len(display.bars_) == 2
    assert [text.get_text() for text in display.ax_.get_legend().get_texts()] == ["no", "yes"]
    np.testing.assert_allclose([bar.get_x() for bar in display.bars_[1]], [2.0, 1.0, 0.1])
    assert ExplanationDisplay(MANY).plot("bars", output="yes").ax_.get_legend() is None


@pytest.mark.parametrize("max_features", [1, 3])
def test_a_waterfall_leads_from_the_base_value_to_the_prediction(max_features: int) -> None:
    """Each bar begins where the one below ends."""
    display = ExplanationDisplay(ONE).plot("waterfall", row=1, max_features=max_features)
    bars = list(display.bars_[0])
    ends = [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in bars]
    assert ends[-1][0] == pytest.approx(10.0) and ends[0][1] == pytest.approx(12.5)
    assert all(upper[0] == pytest.approx(lower[1]) for upper, lower in itertools.pairwise(ends))
    assert labels(display)[0] == "age = 41"
    assert labels(display)[-1] == ("size = 2" if max_features == 3 else "2 others")


def test_a_waterfall_shows_the_output_with_the_highest_prediction() -> None:
    """Of several outputs the likeliest is drawn, unless another is asked for."""
    assert ExplanationDisplay(MANY).plot("waterfall", row=0).ax_.get_title(loc="left") == "yes"
    assert ExplanationDisplay(MANY).plot("waterfall", row=1).ax_.get_title(loc="left") == "no"
    assert ExplanationDisplay(MANY).plot("waterfall", row=1, output=1).ax_.get_title(loc="left") == "yes"


def test_a_dependence_has_a_point_for_each_row() -> None:
    """Numbers lie on their scale, other levels side by side."""
    display = ExplanationDisplay(ONE).plot("dependence", feature="age")
    where = np.ma.getdata(display.points_.get_offsets())
    np.testing.assert_allclose(where[:2], [[30.0, 0.5], [41.0, 1.5]])
    display = ExplanationDisplay(ONE).plot("dependence")
    assert display.ax_.get_xlabel() == "city"
    assert [label.get_text() for label in display.ax_.get_xticklabels()] == ["Bern", "Oslo", "missing"]
    np.testing.assert_allclose(display.points_.get_offsets()[:, 0].round(), [0, 1, 2])


@pytest.mark.parametrize("kind", ["bars", "waterfall", "dependence"])
def test_an_estimator_is_explained_and_drawn(kind: str) -> None:
    """`from_estimator` draws what the functions compute; axes may be given."""
    import matplotlib.pyplot as plt

    model, ax = trained("binary", activation="tanh"), plt.subplots()[1]
    display = ExplanationDisplay.from_estimator(model, X[:9], kind, ax=ax)
    assert display.ax_ is ax and display.figure_ is ax.figure
    np.testing.assert_allclose(display.explanation.values, integrated_gradients(model, X[:9]).values)
    display = ExplanationDisplay.from_estimator(model, X[:9], kind, background=X, random_state=0)
    np.testing.assert_allclose(display.explanation.values, expected_gradients(model, X[:9], X).values)


def test_what_has_the_attributes_of_an_explanation_is_drawn() -> None:
    """An explanation of SHAP's is drawn, too."""
    names = ("values", "base_values", "data", "feature_names", "output_names")
    other = types.SimpleNamespace(**{name: getattr(ONE, name) for name in names})
    assert labels(ExplanationDisplay(other).plot("bars")) == ["city", "age", "size"]


@pytest.mark.parametrize(
    ("explanation", "options", "message"),
    [
        (ONE, {"kind": "pie"}, "'kind' parameter of ExplanationDisplay.plot must be one of"),
        (ONE, {"kind": "waterfall", "row": 3}, "one of the 3 rows. Got 3"),
        (ONE, {"kind": "dependence", "feature": "height"}, "'feature' parameter"),
        (MANY, {"kind": "dependence"}, "Pass `output`, one of"),
        (MANY, {"kind": "bars", "output": "maybe"}, "'output' parameter"),
        (Explanation(VALUES, None, VALUES, list(FRAME)), {"kind": "waterfall"}, "add up"),
        (Explanation(np.zeros((2, 3, 3)), np.zeros(2), np.zeros((2, 3, 3)), []), {}, "draws columns"),
    ],
)
def test_what_cannot_be_drawn_is_refused(explanation: Any, options: dict[str, Any], message: str) -> None:
    """The error says what can be."""
    with pytest.raises(ValueError, match=message):
        ExplanationDisplay(explanation).plot(**options)
