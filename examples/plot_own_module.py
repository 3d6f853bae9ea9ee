"""
A convolutional network of your own
===================================

A torch module behind a scikit-learn estimator: digits as images, in a pipeline, with a search whose candidates are
trained together.
"""

# %%
# The module takes rows as they come out of the pipeline, 64 numbers each, and makes images of them. It returns raw
# outputs: the loss has the softmax. ``n_outputs`` is handed over, the other parameters are ours.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from torch import nn

from skbig import BigGridSearchCV, BigModuleClassifier


class Net(nn.Module):
    def __init__(self, n_outputs, channels=8, dropout=0.1):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Unflatten(1, (1, 8, 8)),
            nn.Conv2d(1, channels, 3, padding=1),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.head = nn.Sequential(nn.Flatten(), nn.Dropout(dropout), nn.Linear(16 * channels, n_outputs))

    def forward(self, X):
        return self.head(self.encoder(X))


X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X.astype(np.float32), y, random_state=0)

# %%
# Parameters of the module are searched as ``module__channels``. Candidates with as many channels, of all folds, are
# trained as one stack.
model = make_pipeline(
    MinMaxScaler(), BigModuleClassifier(Net, schedule="one_cycle", max_iter=6, batch_size=64, random_state=0)
)
grid = {
    "bigmoduleclassifier__module__channels": [4, 8],
    "bigmoduleclassifier__learning_rate": [0.003, 0.01, 0.03],
}
search = BigGridSearchCV(model, grid, cv=3).fit(X_train, y_train)
print(search.best_params_)
print(f"accuracy {search.score(X_test, y_test):.3f}")

# %%
# The fitted weights are NumPy arrays by their names in the module; ``module_`` is a torch module with them.
best = search.best_estimator_[-1]
print({name: value.shape for name, value in best.weights_.items()})

kernels = best.weights_["encoder.1.weight"][:, 0]
figure, axes = plt.subplots(1, len(kernels), figsize=(len(kernels), 1.4), layout="constrained")
for ax, kernel in zip(axes, kernels, strict=True):
    ax.imshow(kernel, cmap="RdBu", vmin=-abs(kernels).max(), vmax=abs(kernels).max())
    ax.set_axis_off()
figure.suptitle("What the convolution looks for", fontsize="medium")
plt.show()
