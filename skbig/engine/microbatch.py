"""Into how many parts a batch is split when it does not fit in memory; the result is the same."""

from __future__ import annotations

from dataclasses import dataclass

from skbig._utils.sparse import SparseRows
from skbig._utils.user_warning import warn_user
from skbig.data.batch import Batch
from skbig.engine.recipe import Recipe
from skbig.exceptions import MemorySplitWarning


@dataclass
class Parts:
    """A number of parts that grows when memory runs out."""

    count: int = 1

    def double(self, batch: Batch, recipe: Recipe) -> None:
        """Compute batches in twice as many parts from now on, and say so the first time.

        Raises
        ------
        MemoryError
            Where a batch must stay whole, or has fewer rows than parts.
        """
        whole = recipe.network.couples_rows or recipe.augmentation is not None or isinstance(batch.X, SparseRows)
        if whole or self.count * 2 > batch.n_rows:
            reason = "Batch norm, augmentation and sparse rows need a batch in one part. " if whole else ""
            raise MemoryError(
                f"A batch of {batch.n_rows} rows does not fit in the memory of {batch.y.device} in {self.count} "
                f"part(s). {reason}Reduce batch_size or hidden_layer_sizes."
            )
        self.count *= 2
        if self.count == 2:
            warn_user(
                "A batch did not fit in the device's memory; it is computed in parts. The result is the same, and "
                "slower. Reduce batch_size to silence this warning.",
                MemorySplitWarning,
            )
