"""
Why a prediction is what it is
==============================

The model's own derivatives divide a prediction among the columns of the table: of a whole Pipeline, with categories,
and for every row in a few milliseconds.
"""

# %%
# Made data, so that we know the truth: the price of a flat depends on its area, more so in Oslo; on its year, old and
# new ones being dear; and not on the number of its door.
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skbig import BigMLPRegressor
from skbig.explain import ExplanationDisplay, expected_gradients

random = np.random.default_rng(0)
n = 1500
X = pd.DataFrame({"area": random.uniform(20, 180, n), "year": random.integers(1900, 2020, n)})
X["door"] = random.integers(1, 60, n)
X["city"] = random.choice(["Bern", "Oslo", "Rome"], n)
y = (3 + (X["city"] == "Oslo")) * X["area"] + 1.5 * np.abs(X["year"] - 1960) + 40 * (X["city"] == "Bern")
y += random.normal(scale=10, size=n)

columns = make_column_transformer((StandardScaler(), ["area", "year", "door"]), (OneHotEncoder(), ["city"]))
network = BigMLPRegressor((64,), standardize_target=True, early_stopping=True, learning_rate=0.01, random_state=0)
model = make_pipeline(columns, network).fit(X, y)
print(f"R2 {model.score(X, y):.3f}")

# %%
# Expected gradients compare each row with typical ones. They are made for three hundred rows, and drawn in several
# ways. First, which columns matter: the door has next to nothing.
explanation = expected_gradients(model, X[:300], X, random_state=0)
display = ExplanationDisplay(explanation).plot("bars")
plt.show()

# %%
# One row: from the mean price to its own.
row = int(np.argmax(explanation.values[:, 3]))
display.plot("waterfall", row=row)
plt.show()

# %%
# How the attribution of a column depends on its value. The year has its two arms; the area has one slope in Oslo and
# another elsewhere.
figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
display.plot("dependence", feature="year", ax=axes[0])
display.plot("dependence", feature="area", ax=axes[1])
plt.show()

# %%
# What attributions are not is told in the guide: they speak of the model, and not of what would happen in the world.
