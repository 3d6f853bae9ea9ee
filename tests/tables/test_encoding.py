"""The encoding of a table: what is learnt from training rows, and what it makes of others."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from skbig.tables.categories import MAX_LEVELS
from skbig.tables.encoding import Layout, TableEncoding, fit_encoding
from skbig.tables.reading import as_table
from skbig.tables.sparse_columns import fit_sparse

RANDOM = np.random.default_rng(0)
N = 200
FRAME = pd.DataFrame(
    {
        "skewed": np.exp(2 * RANDOM.normal(size=N)),
        "gaps": np.where(RANDOM.random(N) < 0.2, np.nan, RANDOM.normal(size=N)),
        "spike": np.where(RANDOM.random(N) < 0.9, 0.0, RANDOM.exponential(size=N)),
        "few": RANDOM.choice(["a", "b", "c"], N),
        "many": pd.Categorical([f"level {i % 20}" for i in range(N)]),
        "constant": 1.0,
        "empty": np.nan,
    }
)


def encoding_of(X: Any, weight: np.ndarray | None = None, **options: Any) -> TableEncoding:
    return fit_encoding(as_table(X), weight, **options)


def encoded(encoding: TableEncoding, X: Any) -> np.ndarray:
    return encoding.encode(as_table(X), np.float64)


def test_a_matrix_is_codes_then_numbers_then_flags() -> None:
    """Categories come by how many levels they have; what is constant or always missing is left out."""
    encoding = encoding_of(FRAME)
    assert encoding.layout == Layout((4, 21), 3, 1)
    assert [FRAME.columns[i] for i in encoding.sources()] == ["few", "many", "skewed", "gaps", "spike", "gaps"]
    X = encoded(encoding, FRAME)
    assert np.isfinite(X).all()
    assert set(X[:, 0]) == {1, 2, 3}
    assert set(X[:, 1]) == set(range(1, 21))
    assert X[:, 2:5].min() == 0
    assert X[:, 2:5].max() == 1
    np.testing.assert_array_equal(X[:, 5], FRAME["gaps"].isna())


def test_columns_are_found_by_their_names() -> None:
    """The same rows in another order of columns, or of another holder, are the same matrix."""
    encoding = encoding_of(FRAME)
    expected = encoded(encoding, FRAME)
    np.testing.assert_array_equal(encoded(encoding, FRAME[FRAME.columns[::-1]]), expected)
    np.testing.assert_array_equal(encoded(encoding, FRAME.to_numpy(object)), expected)
    with pytest.raises(ValueError, match=r"unseen at fit time:\n- other\n.*now missing:\n- few"):
        encoded(encoding, FRAME.rename(columns={"few": "other"}))


def test_the_order_of_rows_means_nothing() -> None:
    """Codes and knots are those of the set of rows."""
    shuffled = FRAME.sample(frac=1, random_state=0)
    X = encoded(encoding_of(FRAME), FRAME)
    np.testing.assert_array_equal(encoded(encoding_of(shuffled), FRAME), X)


@pytest.mark.parametrize("bins", [True, False])
def test_a_weight_is_a_repetition(bins: bool) -> None:
    """Weights of whole numbers fit what repeated rows fit, and a row of weight zero is none."""
    weight = RANDOM.integers(0, 4, N)
    repeated = FRAME.loc[np.repeat(np.arange(N), weight)]
    X = encoded(encoding_of(FRAME, weight.astype(float), bins=bins), FRAME)
    np.testing.assert_allclose(encoded(encoding_of(repeated, bins=bins), FRAME), X, rtol=1e-12)


def test_unknown_and_missing_categories_have_a_code() -> None:
    """What was never met, or was met once, is 0; what was often missing has a code of its own."""
    words = pd.DataFrame({"x": ["a"] * 5 + ["b"] * 5 + [None] * 5 + ["once"]})
    codes = encoded(encoding_of(words), pd.DataFrame({"x": ["a", "b", None, "once", "never"]})).ravel()
    assert sorted(codes[:3]) == [1, 2, 3]
    assert codes[3:].tolist() == [0, 0]
    unmissed = encoding_of(words.dropna())
    assert encoded(unmissed, pd.DataFrame({"x": [None, "a"]})).ravel().tolist() == [0, 1]


def test_many_levels_are_bounded() -> None:
    """Of 100,000 levels the most frequent are told apart."""
    rows = np.repeat(np.arange(100_000), np.where(np.arange(100_000) < 50, 3, 2))
    (column,) = encoding_of(pd.DataFrame({"x": rows}), categorical=["x"]).columns
    assert column.n_codes == MAX_LEVELS + 1
    assert set(range(50)) <= set(column.levels)
    assert len(pickle.dumps(column)) < 200_000


def test_a_number_keeps_its_order() -> None:
    """A larger number has no smaller place and no smaller scaled value, also beyond the training rows."""
    line = pd.DataFrame({"x": np.linspace(-50, 50, 999)})
    train = pd.DataFrame({"x": RANDOM.standard_cauchy(300)})
    for bins in (True, False):
        X = encoded(encoding_of(train, bins=bins), line).ravel()
        assert (np.diff(X) >= 0).all()
        assert X[0] < X[-1]
        assert np.abs(X).max() <= 3


def test_bins_hold_rows_alike() -> None:
    """Knots are quantiles: a uniform place, whatever the distribution; few levels are each a knot."""
    encoding = encoding_of(FRAME[["skewed"]], n_bins=8)
    counts, _ = np.histogram(encoded(encoding, FRAME[["skewed"]]), bins=np.linspace(0, 1, 9))
    assert counts.min() >= N // 8 - 2
    few = pd.DataFrame({"x": [0.0, 0.0, 0.0, 7.0, 1000.0]})
    assert encoded(encoding_of(few, n_bins=8), few).ravel().tolist() == [0, 0, 0, 0.5, 1]


def test_few_levels_are_told_apart() -> None:
    """A number of few levels has a bin between each two, and others keep theirs: the first of so many."""
    table = pd.DataFrame({"hour": np.arange(N) % 24, "skewed": FRAME["skewed"]})
    encoding = encoding_of(table, n_bins=8, few_levels=24)
    assert encoding.n_bins == 23
    hour, skewed = encoded(encoding, table).T * 23
    np.testing.assert_allclose(np.unique(hour.round(6)), np.arange(24))
    counts, _ = np.histogram(skewed, bins=np.arange(9))
    assert counts.sum() == N and counts.min() >= N // 8 - 2
    assert encoding_of(table, n_bins=8, few_levels=23).n_bins == 8
    np.testing.assert_array_equal(
        encoded(encoding_of(table, n_bins=32, few_levels=24), table), encoded(encoding_of(table, n_bins=32), table)
    )


def test_a_spike_does_not_take_all_the_bins() -> None:
    """Where most rows are zero, the others are still told apart."""
    encoding = encoding_of(FRAME[["spike"]], n_bins=8)
    places = encoded(encoding, FRAME[["spike"]]).ravel()
    assert len(np.unique((places[FRAME["spike"] > 0] * 8).round(6) // 1)) >= 6


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([True, False], "categorical_features is a mask of 2 columns, and X has 7"),
        (["colour"], "X has no column 'colour'"),
        ([9], "X has no column 9: it has 7 columns"),
    ],
)
def test_wrong_columns_are_named(given: list[Any], message: str) -> None:
    """What is asked for must be there."""
    with pytest.raises(ValueError, match=message):
        encoding_of(FRAME, categorical=given)


@pytest.mark.parametrize("given", [[0, 3], ["skewed", "few"], np.arange(7) == 0, np.array(["skewed"])])
def test_categories_can_be_asked_for(given: Any) -> None:
    """By number, by name or by mask, besides those of the type."""
    assert encoding_of(FRAME, categorical=given).kinds[0] == "category"
    assert encoding_of(FRAME, categorical=given).kinds[3:5] == ["category"] * 2


def test_infinity_is_refused() -> None:
    """The error names column, row and value, when fitted and later."""
    bad = FRAME.assign(gaps=[*[0.0] * (N - 1), -np.inf])
    for act in (encoding_of, lambda X: encoded(encoding_of(FRAME), X)):
        with pytest.raises(ValueError, match=r"the column 'gaps' has -inf in row 199"):
            act(bad)


@pytest.mark.parametrize("X", [FRAME[["constant"]], FRAME[["constant", "empty"]], pd.DataFrame({"x": ["a"] * 3})])
def test_a_table_without_news_is_still_a_matrix(X: pd.DataFrame) -> None:
    """A network reads at least one feature."""
    encoding = encoding_of(X)
    assert encoding.layout.n_features == encoded(encoding, X).shape[1] >= 1


def test_sparse_rows_stay_sparse() -> None:
    """Each column is divided by its largest value, of rows that count."""
    X = sparse.csr_array([[0.0, -4.0, 0.0], [2.0, 0.0, 0.0], [900.0, 0.0, 0.0]])
    scaled = fit_sparse(X, np.array([1.0, 1.0, 0.0])).encode(X, np.float32)
    assert scaled.dtype == np.float32
    assert scaled.toarray().tolist() == [[0, -1, 0], [1, 0, 0], [450, 0, 0]]
    assert X.toarray()[0, 1] == -4
