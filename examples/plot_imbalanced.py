"""
Imbalanced classes: weights and the focal loss
==============================================

When one row in thirty is of the class that matters, a network learns first to say no. ``class_weight="balanced"`` gives
both classes the same say; the focal loss turns away from rows that are already right.
"""

# %%
import matplotlib.pyplot as plt
from sklearn.datasets import make_classification
from sklearn.metrics import PrecisionRecallDisplay, balanced_accuracy_score, recall_score
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from skbig import BigMLPClassifier
from skbig.components import FocalLoss

X, y = make_classification(
    4000, 20, n_informative=6, weights=[0.97], class_sep=1.5, n_clusters_per_class=3, flip_y=0.01, random_state=0
)
X = StandardScaler().fit_transform(X)
X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)
print(f"{y_train.mean():.1%} of the rows are positive")

# %%
# Three models that differ in one choice.
choices = {
    "plain": {},
    "class_weight='balanced'": {"class_weight": "balanced"},
    "FocalLoss(gamma=2)": {"loss": FocalLoss(gamma=2)},
}
figure, axes = plt.subplots()
for name, choice in choices.items():
    model = BigMLPClassifier((64,), early_stopping=True, max_iter=400, random_state=0, **choice).fit(X_train, y_train)
    predicted = model.predict(X_test)
    print(
        f"{name:<24} balanced accuracy {balanced_accuracy_score(y_test, predicted):.3f}, "
        f"recall of the rare class {recall_score(y_test, predicted):.3f}"
    )
    PrecisionRecallDisplay.from_estimator(model, X_test, y_test, name=name, ax=axes)

# %%
# The weights move the threshold more than the ranking: look at the curves, not at one threshold. Probabilities after
# balanced weights are those of a world in which both classes are as frequent; calibrate them before they are read as
# probabilities.
plt.show()
