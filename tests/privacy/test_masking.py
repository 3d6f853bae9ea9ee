"""Masking of tables: who is masked cannot be told any more, and tables stay tables."""

from __future__ import annotations

import hashlib
import hmac
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder
from sklearn.utils.estimator_checks import parametrize_with_checks

from skbig import BigLinearClassifier
from skbig.privacy import Generalize, Pseudonymize, Suppress, k_anonymity

KEY = Path(__file__).with_name("pseudonyms.key")  # not a secret
random = np.random.RandomState(0)
PEOPLE = pd.DataFrame(
    {
        "name": [f"person {i % 40}" for i in range(80)],
        "age": random.randint(18, 90, 80).astype(float),
        "zip": random.choice(["80331", "80333", "80469", "10115"], 80),
        "ill": random.randint(2, size=80),
    },
    index=np.arange(100, 180),
)
KNOWN_BY = ["age", "zip"]


@pytest.mark.crossed
@parametrize_with_checks(
    [Pseudonymize(key=str(KEY), output="int"), Generalize(bins=3, output="code"), Suppress(k=2), Suppress(k=1)]
)
def test_scikit_learn_checks(estimator: Any, check: Any) -> None:
    """Each is a transformer as scikit-learn knows it."""
    check(estimator)


def test_a_pseudonym_is_a_keyed_hash() -> None:
    """The same value has the same pseudonym in every column and table, HMAC-SHA256 of it; another key gives another."""
    masked = Pseudonymize(key=KEY, columns=["name"]).fit_transform(PEOPLE)
    expected = hmac.new(KEY.read_bytes(), b"person 0", hashlib.sha256).hexdigest()[:16]
    assert masked["name"].iloc[0] == masked["name"].iloc[40] == expected
    assert masked["name"].nunique() == 40 and masked.drop(columns="name").equals(PEOPLE.drop(columns="name"))
    whole = Pseudonymize(key=KEY, output="int").fit_transform([[3, 4.0, np.nan]])
    assert whole[0, 0] == Pseudonymize(key=KEY, output="int").fit_transform(np.array([[3]]))[0, 0]
    assert whole[0, 2] == -1 and Pseudonymize(key=KEY).fit_transform([[3, np.nan]])[0, 1] is None


@pytest.mark.parametrize("unit", ["s", "ms", "ns"])
def test_a_time_is_masked_alike_in_any_unit(unit: str) -> None:
    """A date has one pseudonym, and begins with its year, whatever the unit in which a table counts time."""
    born = pd.DataFrame({"born": pd.to_datetime(["2020-01-31", None])})
    other = born.astype(f"datetime64[{unit}]")
    one, same = (Pseudonymize(key=KEY).fit_transform(table)["born"] for table in (born, other))
    assert one[0] == same[0] and same.isna().tolist() == [False, True]
    assert Generalize(prefixes=4).fit_transform(other)["born"][0] == "2020*"


def test_a_pseudonymizer_keeps_no_secret(tmp_path: Path) -> None:
    """Neither a pickle nor a print holds the key, and a short or a missing key is refused."""
    path = tmp_path / "own.key"
    path.write_bytes(b"sixteen bytes...")
    masking = Pseudonymize(key=path).fit(PEOPLE)
    assert b"sixteen" not in pickle.dumps(masking) and "sixteen" not in repr(masking)
    with pytest.raises(ValueError, match="must be the path of a file with secret bytes"):
        Pseudonymize().fit(PEOPLE)
    with pytest.raises(ValueError, match="Got bytes instead"):
        Pseudonymize(key=b"sixteen bytes...").fit(PEOPLE)
    path.write_bytes(b"short")
    with pytest.raises(ValueError, match="must have 16 bytes or more"):
        masking.fit(PEOPLE)


def test_generalized_values() -> None:
    """Numbers become intervals that hold them, words their beginnings; what is missing stays so."""
    frame = pd.DataFrame({"age": [5, 20, 39.9, 40, np.nan], "code": ["ab", "abcd", None, "abce", "x"]})
    masked = Generalize(bins={"age": [20, 40]}, prefixes={1: 3}).fit_transform(frame)
    assert masked["age"].tolist()[:4] == ["<20", "20-40", "20-40", ">=40"] and masked["age"].isna()[4]
    assert masked["code"].dropna().tolist() == ["ab", "abc*", "abc*", "x"] and masked["code"].isna()[2]
    codes = Generalize(bins=4, output="code").fit_transform(PEOPLE[["age"]])["age"]
    assert codes.value_counts().between(15, 25).all()
    assert (np.diff(codes.to_numpy()[np.argsort(PEOPLE["age"])]) >= 0).all()


@pytest.mark.parametrize("k", [1, 2, 5, 20, 80])
@pytest.mark.parametrize("bins", [[30, 50, 70], 12])
@pytest.mark.parametrize("form", [lambda frame: frame, lambda frame: frame.to_numpy(dtype=object)])
def test_what_is_suppressed_is_k_anonymous(k: int, bins: Any, form: Any) -> None:
    """Whatever the table, no fewer than k of its rows are alike, and those that were stay as they are."""
    coarse = Generalize(bins={"age": bins}, prefixes={"zip": 3}).fit_transform(PEOPLE)
    table, columns = form(coarse), KNOWN_BY if form(coarse) is coarse else [1, 2]
    masking = Suppress(k, columns=columns)
    masked = masking.fit_transform(table)
    assert k_anonymity(masked, columns) >= k
    values = pd.DataFrame(masked, columns=PEOPLE.columns)
    gone = values["age"].isna().to_numpy()
    assert masking.n_suppressed_ == gone.sum() and (gone.sum() == 0 or gone.sum() >= k)
    assert (values[~gone].to_numpy() == coarse[~gone].to_numpy()).all()
    assert (values[["name", "ill"]].to_numpy() == PEOPLE[["name", "ill"]].to_numpy()).all()


def test_suppression_of_other_rows() -> None:
    """In another table a combination is left out that was not frequent in the first."""
    first, other = np.array([["a"]] * 3 + [["b"]] * 3), np.array([["a"], ["c"]])
    assert Suppress(2).fit(first).transform(other).ravel().tolist() == ["a", None]


def test_k_of_a_table() -> None:
    """The k of a table is that of its rarest combination, in the columns that are looked at."""
    table = np.array([[1, 5.0], [1, np.nan], [1, np.nan]])
    assert (k_anonymity(table), k_anonymity(table, [0]), k_anonymity(table, [-1])) == (1, 3, 1)


def test_in_a_pipeline_with_names() -> None:
    """Names of columns go through a pipeline, tables of pandas come out, and a model learns from what is left."""
    masking = ColumnTransformer(
        [
            ("who", Pseudonymize(key=KEY), ["name"]),
            ("known", make_pipeline(Generalize(bins=[40, 60], prefixes=2), Suppress(3)), KNOWN_BY),
        ],
        verbose_feature_names_out=False,
    )
    masked = masking.set_output(transform="pandas").fit_transform(PEOPLE)
    assert list(masking.get_feature_names_out()) == list(masked.columns) == ["name", *KNOWN_BY]
    assert (masked.index == PEOPLE.index).all()
    model = make_pipeline(clone(masking), OrdinalEncoder(), BigLinearClassifier(max_iter=3, schedule="cosine"))
    assert model.fit(PEOPLE, PEOPLE["ill"]).predict(PEOPLE).shape == (80,)


@pytest.mark.parametrize(
    ("masking", "message"),
    [
        (Pseudonymize(key=KEY, columns=["nobody"]), r"must name columns of X: \['name'"),
        (Pseudonymize(key=KEY, columns="name"), "must be a list of names or numbers"),
        (Pseudonymize(key=KEY, output="words"), "output"),
        (Pseudonymize(key=KEY, length=0), "length"),
        (Generalize(bins={"age": [3, 2]}), "rising edges"),
        (Generalize(bins={"age": "many"}), "rising edges"),
        (Generalize(prefixes={"zip": -1}), "ints >= 0"),
        (Generalize(bins={"age": 3}, prefixes={"age": 2}), "have both"),
        (Generalize(output="colour"), "output"),
        (Suppress(0), "'k' parameter of Suppress"),
        (Suppress(81), "n_samples=80"),
        (Suppress(columns=[4]), r"must name columns of X"),
    ],
    ids=str,
)
def test_wrong_parameters_are_named(masking: Any, message: str) -> None:
    """What is wrong is named at fit."""
    with pytest.raises(ValueError, match=message):
        masking.fit(PEOPLE)
