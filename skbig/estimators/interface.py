"""What an estimator says of itself: its network and its task. All that trains one is written against this.

Legend: M members, N rows, K raw outputs.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from skbig._utils.device import SingleDevice
from skbig.components.losses.base import Loss
from skbig.data.targets import ClassTargets, RegressionTargets
from skbig.engine.recipe import Recipe
from skbig.engine.train import Training
from skbig.estimators.attributes import TrainedAttributes
from skbig.estimators.given import Given
from skbig.estimators.parameters import TrainingParameters
from skbig.networks.network import BuiltNetwork, Network


class EstimatorInterface(TrainedAttributes, TrainingParameters):
    """What a network and a task make of an estimator."""

    _for_classes: ClassVar[bool]
    _takes_any_shape: ClassVar[bool] = False
    """Whether rows may have several axes, and hold whole numbers."""

    _network_follows_from_parameters: ClassVar[bool] = False
    """Whether plain parameters, numbers and names, make the same network whenever they are asked."""

    _learns_columns: ClassVar[bool] = False
    """Whether it learns from the rows what their columns hold."""

    _reads_tensors: ClassVar[bool] = True
    """Whether rows may stay on a device; what encodes them on the host takes arrays."""

    _reads_texts: ClassVar[bool] = False
    """Whether rows are texts, of which a pretrained model makes numbers that is not held."""

    # What it makes of rows, and what it asks for once it has seen them.

    @abstractmethod
    def _check_initializable(self) -> None:
        """Raise ValueError where it cannot begin before it has seen rows."""

    @abstractmethod
    def _stands_for(self, name: str, value: Any) -> Any:
        """Return what the value of a parameter stands for, by the parameters alone: most are what they are."""

    @abstractmethod
    def _check_training_rows(
        self, X: Any, y: Any, weight: np.ndarray | None, dtypes: list[Any], *, reset: bool, incremental: bool
    ) -> tuple[Any, Any]:
        """Check rows and targets, and note the features; return what the network reads, and y."""

    @abstractmethod
    def _check_validation_rows(self, X: Any, dtype: Any, name: str) -> Any:
        """Check validation rows, and return what the network reads."""

    @abstractmethod
    def _check_rows(self, X: Any, dtype: Any, *, finite: bool = True) -> Any:
        """Check rows to predict, and return what the network reads; they may be left to be found finite later."""

    @abstractmethod
    def _row_dtype(self) -> np.dtype[Any]:
        """Return in which dtype a fitted model takes rows."""

    @abstractmethod
    def _row_lengths(self, X: Any) -> np.ndarray | None:
        """Return how long each checked row is, (N,), where those of a batch should be about as long."""

    @abstractmethod
    def _met(
        self, choices: Any, checked: Given, n_outputs: int, backend: SingleDevice, *, goes_on: bool
    ) -> tuple[Any, Given, SingleDevice]:
        """Return the `Choices` with a network that has met the checked rows, the rows as it takes them, and in what."""

    @abstractmethod
    def _shaped(self, network: Network, n_features: int, n_outputs: int) -> BuiltNetwork:
        """Return the network for the checked rows."""

    @abstractmethod
    def _settled(
        self, choices: Any, checked: Given, targets: Any, *, goes_on: bool, judged: bool, incremental: bool
    ) -> tuple[Any, Any]:
        """Return the `Choices`, and the targets, that suit the checked rows."""

    @abstractmethod
    def _begun(
        self, network: BuiltNetwork, arrays: dict[str, np.ndarray], checked: Given, targets: Any, loss: Loss
    ) -> dict[str, np.ndarray]:
        """Return the first parameters and statistics that suit the targets."""

    @abstractmethod
    def _planned(self, name: str) -> int:
        """Return a parameter that counts, or, where it depends on the rows, about what it will be."""

    @abstractmethod
    def _concluded(self, training: Training, targets: Any, held: Mapping[str, Given] | None) -> dict[str, Any]:
        """Return the fitted attributes that take the trained network to find."""

    # What a network says.

    @abstractmethod
    def _make_network(self) -> Network:
        """Return the network that the parameters ask for, checked."""

    @abstractmethod
    def _public_weights(self, network: BuiltNetwork, arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Return the fitted attributes that hold parameters and running statistics, given as (M, *shape) by name."""

    @abstractmethod
    def _network_arrays(self) -> dict[str, np.ndarray]:
        """Return what `_public_weights` was given, from the attributes."""

    # What a task says.

    @abstractmethod
    def _make_targets(
        self, y: Any, classes: Any, goes_on: bool, incremental: bool, loss: Loss
    ) -> ClassTargets | RegressionTargets:
        """Check y, and return what encodes targets, with its `n_outputs` and `encode(y)`."""

    @abstractmethod
    def _checked_target(self, y: Any, name: str) -> Any:
        """Check the targets of validation rows."""

    @abstractmethod
    def _weights(self, given: Given, targets: Any, incremental: bool) -> Any:
        """Return the weight of each row, in an array or a tensor, or None."""

    @abstractmethod
    def _predicted(self, raw: np.ndarray, targets: Any, loss: Loss) -> Any:
        """Return a stand-in for the fitted estimator that answers with these raw predictions (N, K)."""

    @abstractmethod
    def _answer(self, method: str, targets: Any, raw: np.ndarray) -> np.ndarray:
        """Return what a method of prediction makes of raw predictions (M, N, K)."""

    @abstractmethod
    def _describe(self, targets: Any, recipe: Recipe) -> dict[str, Any]:
        """Return the fitted attributes of this kind of task."""

    def __sklearn_is_fitted__(self) -> bool:
        return "_progress" in vars(self)
