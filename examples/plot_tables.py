"""
Tables: numbers, categories, missing values
===========================================

A table as it comes from a database: numbers of every scale, some missing, and categories. A ``ColumnTransformer`` makes
of it what a network can read. Each setting is added to those before it, and its gain is drawn.
"""

# %%
# Flats and their rents, made here: the rent grows with the area and the floor, depends on the district, and the years
# in which few flats were built cost more. A tenth of the years is missing.
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor, make_column_selector, make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder, StandardScaler

from skbig import BigMLPRegressor

rng = np.random.default_rng(0)
n_flats = 1500
flats = pd.DataFrame(
    {
        "area": rng.lognormal(4.2, 0.4, n_flats),
        "year": rng.integers(1890, 2024, n_flats).astype(float),
        "floor": rng.poisson(2, n_flats),
        "district": rng.choice([f"district {i}" for i in range(20)], n_flats, p=np.arange(1, 21) / 210),
        "heating": rng.choice(["gas", "oil", "pump"], n_flats, p=[0.7, 0.2, 0.1]),
    }
)
district = flats["district"].str.removeprefix("district ").astype(int).map(dict(enumerate(rng.normal(0, 0.4, 20))))
appeal = np.maximum(0, 0.008 * (1950 - flats["year"])) + np.maximum(0, 0.012 * (flats["year"] - 1990))
heating = flats["heating"].map({"gas": 0, "oil": -0.2, "pump": 0.2})
rents = np.exp(3 + 0.8 * np.log(flats["area"]) + 0.06 * flats["floor"] + district + appeal + heating)
rents *= rng.lognormal(0, 0.1, n_flats)
flats.loc[rng.random(n_flats) < 0.1, "year"] = np.nan
print(flats.head(), rents.head(), sep="\n")

# %%
# The columns: a missing number becomes the median, and a column of its own says so; a category becomes a column for
# each of its values, the rare ones together in one.
numbers = make_column_selector(dtype_include="number")
words = make_column_selector(dtype_exclude="number")
filled = SimpleImputer(strategy="median", add_indicator=True)
codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
one_each = OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=10)


def pipeline(of_numbers, of_words, target, **settings):
    """Prepare the columns and the target, and train a network."""
    columns = make_column_transformer((of_numbers, numbers), (of_words, words))
    network = BigMLPRegressor(max_iter=60, n_iter_no_change=60, random_state=0, **settings)
    return TransformedTargetRegressor(make_pipeline(columns, network), transformer=target)


# %%
# Each step has one setting more than that before it. The target is scaled in all of them: a network begins near zero,
# and would need most of its training to get to rents of a thousand. They are positive and skewed, so that their
# logarithm is learnt more easily.
scaled = make_pipeline(filled, StandardScaler())
logarithm = make_pipeline(FunctionTransformer(np.log, np.exp, check_inverse=False), StandardScaler())
cosine = {"schedule": "cosine", "learning_rate": 0.01, "early_stopping": True}
steps = {
    "target scaled": pipeline(filled, codes, StandardScaler(), tol=0, schedule="linear"),
    "numbers scaled": pipeline(scaled, codes, StandardScaler(), tol=0, schedule="linear"),
    "a column a category": pipeline(scaled, one_each, StandardScaler(), tol=0, schedule="linear"),
    "logarithm of the rent": pipeline(scaled, one_each, logarithm, tol=0, schedule="linear"),
    "high rate, cosine, best epoch": pipeline(scaled, one_each, logarithm, **cosine),
    "four members": pipeline(scaled, one_each, logarithm, n_members=4, **cosine),
}
scores = {name: [] for name in steps}
for seed in range(3):
    X_train, X_test, y_train, y_test = train_test_split(flats, rents, random_state=seed)
    for name, model in steps.items():
        scores[name].append(clone(model).fit(X_train, y_train).score(X_test, y_test))

# %%
# How well rents are told, over three splits of the rows: the bar is the mean, a dot a split.
figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
means = [np.mean(each) for each in scores.values()]
bars = axes.barh(list(scores), means, color=["lightgray"] * (len(scores) - 1) + ["C0"])
for place, each in enumerate(scores.values()):
    axes.plot(each, [place] * len(each), "o", color="0.3", markersize=3)
axes.bar_label(bars, fmt="%.3f", padding=8)
axes.set(xlabel="R² of rows held out", xlim=(0, 1.15))
axes.invert_yaxis()
axes.spines[["top", "right"]].set_visible(False)
plt.show()
