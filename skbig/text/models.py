"""What makes vectors of tokens: a transformer, or a table with a vector for each token.

Legend: R texts of a batch, L tokens of the longest, D numbers of a vector.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import Tensor, nn

from skbig.pretrained.loading import load_model
from skbig.text.tokens import Tokenizer


class Static(nn.Module):
    """A table with a vector for each token, whatever stands beside it.

    Parameters
    ----------
    table : Tensor (V, D)
    """

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.table = nn.Parameter(table, requires_grad=False)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return (R, L, D)."""
        del attention_mask
        return nn.functional.embedding(input_ids, self.table)


@dataclass(frozen=True)
class TextModel:
    """A model of texts with its tokenizer, as they were read from a folder.

    Attributes
    ----------
    tokenizer : Tokenizer
    network : nn.Module
        In float32 on the CPU, ready to predict.
    width : int
        Numbers of a vector.
    limit : int or None
        How many tokens a text may have.
    """

    tokenizer: Tokenizer
    network: nn.Module
    width: int
    limit: int | None

    @property
    def is_static(self) -> bool:
        return isinstance(self.network, Static)


def hidden(network: nn.Module, tokens: Tensor, padding: int) -> tuple[Tensor, Tensor]:
    """Return the vectors of all tokens (R, L, D), and where there are tokens (R, L): those that are not -1."""
    mask = tokens >= 0
    result: Any = network(input_ids=tokens.masked_fill(~mask, padding).long(), attention_mask=mask.long())
    return (result if isinstance(result, Tensor) else result.last_hidden_state), mask


def read_text_model(folder: Path) -> TextModel:
    """Return the model of a folder.

    Raises
    ------
    ValueError
        When it cannot be read, or its tokenizer is of another model.
    """
    tokenizer, table = Tokenizer(folder), _table(folder)
    if table is not None:
        _check_vocabulary(tokenizer, len(table), folder)
        return TextModel(tokenizer, Static(table), table.shape[1], None)
    network = load_model(folder, "text", "text_model")
    embedding: Any = network.get_input_embeddings()  # type: ignore[operator]
    _check_vocabulary(tokenizer, embedding.num_embeddings, folder)
    return TextModel(tokenizer, network, int(network.config.hidden_size), _limit(tokenizer, network))  # type: ignore


def _table(folder: Path) -> Tensor | None:
    """Return the table of a folder whose only weights it is, as static embeddings have them."""
    files, described = sorted(folder.glob("*.safetensors")), folder / "config.json"
    kind = json.loads(described.read_text()).get("model_type") if described.exists() else None
    if kind not in (None, "model2vec"):
        return None
    with safe_open(files[0], "pt") as file:
        names = list(file.keys())
        table: Tensor = file.get_tensor(names[0])
    if len(files) > 1 or len(names) > 1 or table.dim() != 2 or not table.is_floating_point():
        raise ValueError(
            f"The folder {folder} has no config.json of transformers, so its *.safetensors must be one table with a "
            f"vector for each token. It holds {names[:3]}."
        )
    return table.float()


def _limit(tokenizer: Tokenizer, network: nn.Module) -> int | None:
    """Return how many tokens have a place in the model."""
    places = getattr(network.config, "max_position_embeddings", None)
    if places is not None:
        # Models whose places begin after the padding's, as RoBERTa's, have less of them.
        kept = [each.padding_idx for name, each in network.named_modules() if name.endswith("position_embeddings")]
        places -= next((index + 1 for index in kept if isinstance(index, int)), 0)
    known = [limit for limit in (places, tokenizer.limit) if limit is not None]
    return min(known, default=None)


def _check_vocabulary(tokenizer: Tokenizer, n_known: int, folder: Path) -> None:
    if tokenizer.n_tokens > n_known:
        raise ValueError(
            f"The tokenizer in {folder} is that of another model: it has {tokenizer.n_tokens} tokens, and the model "
            f"vectors for {n_known}."
        )
