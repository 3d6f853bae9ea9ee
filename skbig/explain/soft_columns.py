"""The front of a network for tables, made to read shares of categories, so that it can be differentiated.

Legend: R rows, E inputs.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from skbig.networks.columns import Columns
from skbig.networks.embedding import Embedding, OneHot


class SoftColumns(nn.Module):
    """A `Columns` that reads, in the place of each code, a number for every code: how much of the row has it.

    For zeros and a one it gives what the layer gives for the code; halfway between two codes the mean of both.

    Parameters
    ----------
    layer : Columns
    tensors : mapping of Tensor
        Its parameters, of one member.
    """

    def __init__(self, layer: Columns, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.layer, self.tensors = layer, dict(tensors)

    def forward(self, X: Tensor) -> Tensor:
        results, start = [], 0
        for name, part in self.layer.parts:
            n_codes = getattr(part, "n_codes", None)
            size = part.n_in if n_codes is None else sum(n_codes)  # type: ignore[attr-defined]
            given = X.narrow(-1, start, size)
            own = {key: self.tensors[f"{name}_{key}"].to(X) for key in part.parameters()}
            if isinstance(part, OneHot):
                results += [shares[:, 1:] for shares in given.split(part.n_codes, -1)]
            elif isinstance(part, Embedding):
                tables = own["table"].split(part.n_codes)
                results += [shares @ table for shares, table in zip(given.split(part.n_codes, -1), tables, strict=True)]
            else:
                results.append(part.forward(given, own, {}, None))
            start += size
        return torch.cat([*results, X[:, start:]], -1)
