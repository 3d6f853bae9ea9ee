"""What the tensors of a module are: their roles, which a penalty acts on, and which are frozen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from skbig.networks.layer import Parameter

NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm)
EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)


def parameters_of(module: nn.Module, n_outputs: Sequence[int] = ()) -> dict[str, Parameter]:
    """Return shape and role of every parameter by its name in the module; one that has several names by its first.

    The head is the last weight, if it has a row for each of so many outputs.
    """
    declared = {}
    for owner_name, owner in module.named_modules():
        for own_name, tensor in owner._parameters.items():
            if tensor is not None:
                name = f"{owner_name}.{own_name}" if owner_name else own_name
                declared[name] = _parameter(owner, own_name, tensor)
    declared = {name: declared[name] for name, _ in module.named_parameters()}
    weights = [name for name, parameter in declared.items() if parameter.role == "weight"]
    if weights and declared[weights[-1]].shape[0] in n_outputs:
        declared[weights[-1]] = replace(declared[weights[-1]], role="head")
    return declared


def _parameter(owner: nn.Module, name: str, tensor: Tensor) -> Parameter:
    role = _role(owner, name, tensor.dim())
    return Parameter(tuple(tensor.shape), role, penalized=role == "weight", outputs_first=tensor.dim() > 1)


def _role(owner: nn.Module, name: str, n_dims: int) -> str:
    kind = type(owner).__name__.lower()
    if isinstance(owner, NORMS) or "norm" in kind:
        return "offset" if "bias" in name else "scale"
    if isinstance(owner, EMBEDDINGS) or "embedding" in kind:
        return "embedding"
    if "bias" in name:
        return "bias"
    return "weight" if n_dims >= 2 else "scale"


def matched(names: Sequence[str], patterns: Sequence[str], parameter: str) -> set[str]:
    """Return the names that match a pattern, as ``encoder.*``.

    Raises
    ------
    ValueError
        When a pattern of the `parameter` matches no name.
    """
    found = set()
    for pattern in patterns:
        own = {name for name in names if fnmatchcase(name, pattern)}
        if not own:
            raise ValueError(
                f"{pattern!r} of the {parameter!r} parameter matches no parameter of the module. Its names are: "
                f"{shortened(names)}."
            )
        found |= own
    return found


def shortened(names: Sequence[str], most: int = 12) -> str:
    """Return names as text; of many, the first."""
    shown = ", ".join(names[:most])
    return f"{shown}, ... ({len(names)} in all)" if len(names) > most else shown


def first_names(module: nn.Module) -> dict[str, str]:
    """Return every name of the module's state dict, and the first name of its tensor: tied weights have several."""
    names = {id(tensor): name for name, tensor in (*module.named_parameters(), *module.named_buffers())}
    return {
        name: names[id(tensor)] for name, tensor in module.state_dict(keep_vars=True).items() if id(tensor) in names
    }
