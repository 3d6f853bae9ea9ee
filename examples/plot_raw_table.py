"""
A table as it is
================

Numbers in any unit, categories, booleans and missing values go into a :class:`~skbig.BigTabularClassifier` as they are.
Here is a table as one gets it: bicycles on offer, and whether each was sold within a week. What the truth is we know,
as the script makes it up, so that we can see what was learnt.
"""

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.calibration import CalibrationDisplay
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split

from skbig import BigTabularClassifier

rng = np.random.default_rng(0)
n = 4000
bicycles = pd.DataFrame(
    {
        "price": np.exp(rng.normal(5.5, 0.8, n)).round(),
        "age": np.where(rng.random(n) < 0.25, np.nan, rng.gamma(2, 3, n).round(1)),
        "kind": pd.Categorical(rng.choice(["city", "racing", "mountain", "child's"], n, p=[0.5, 0.2, 0.2, 0.1])),
        "town": rng.choice([f"town {i}" for i in range(30)], n),
        "photograph": rng.random(n) < 0.7,
    }
)
value = (
    6.0
    + 0.6 * (bicycles["kind"] == "racing")
    - 0.8 * (bicycles["kind"] == "child's")
    - 0.06 * bicycles["age"].fillna(9)
)
richness = bicycles["town"].map(dict(zip(sorted(bicycles["town"].unique()), rng.normal(0, 0.5, 30), strict=True)))
margin = 3 * (value + richness - np.log(bicycles["price"])) + bicycles["photograph"] - 1.5 * bicycles["age"].isna()
sold = np.where(margin > rng.logistic(size=n), "sold", "left")
print(bicycles.head())

# %%
# Nothing is prepared. The boosted trees of scikit-learn take such a table too, once words are of a categorical type.
X_train, X_test, y_train, y_test = train_test_split(bicycles, sold, stratify=sold, random_state=0)
model = BigTabularClassifier("fast", random_state=0).fit(X_train, y_train)
trees = HistGradientBoostingClassifier(categorical_features="from_dtype", random_state=0)
typed = bicycles.astype({"town": "category"})
trees.fit(typed.loc[X_train.index], y_train)

p_model, p_trees = model.predict_proba(X_test), trees.predict_proba(typed.loc[X_test.index])
print(f"log loss: {log_loss(y_test, p_model):.3f}; of the trees: {log_loss(y_test, p_trees):.3f}")

# %%
# Probabilities are calibrated on the rows that were held out to find the best epoch.
figure, axes = plt.subplots()
for name, probability in (("BigTabularClassifier", p_model), ("boosted trees", p_trees)):
    CalibrationDisplay.from_predictions(y_test == "sold", probability[:, 1], n_bins=8, name=name, ax=axes)
figure.tight_layout()

# %%
# What was never met is no error: a town without a row among those trained on, an age that is not known.
offer = pd.DataFrame(
    {
        **{"price": [150.0, 900.0], "age": [np.nan, 1.0], "kind": ["city", "racing"]},
        **{"town": ["elsewhere", "town 3"], "photograph": [True, True]},
    }
)
print(pd.DataFrame(model.predict_proba(offer).round(2), columns=model.classes_))
