"""What torch's operations do: whether they draw random numbers, or look at values."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class DispatchMode(TorchDispatchMode):
    """A mode that sees every operation of its thread; entering it imports no compiler, which would take a second."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False


def draws(operation: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether a call of an operation draws random numbers."""
    if torch.Tag.nondeterministic_seeded not in _tags(operation):
        return False
    given = dict(zip((argument.name for argument in operation._schema.arguments), args, strict=False)) | kwargs
    # Attention, recurrent layers and leaky units draw only with a dropout, and while training.
    dropout = [given.get(name, 1.0) for name in ("dropout_p", "dropout")]
    if operation is torch.ops.aten.native_dropout.default:
        dropout.append(given["p"])
    return 0.0 not in dropout and given.get("training") is not False and given.get("train") is not False


def looks(operation: Any, args: tuple[Any, ...]) -> bool:
    """Whether a call looks at values, or makes a shape of them: then the next step's operations may be others."""
    if operation is torch.ops.aten.index.Tensor:  # by numbers of rows, or by a mask, of which the shape depends
        return any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1])
    return not _LOOKS.isdisjoint(_tags(operation))


@functools.cache
def _tags(operation: Any) -> frozenset[torch.Tag]:
    return frozenset(getattr(operation, "tags", ()))


_LOOKS = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}
