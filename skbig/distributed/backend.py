"""Several processes instead of one: what the ways to train in them have in common."""

from __future__ import annotations

import dataclasses
import difflib
from typing import Any, ClassVar, TypeVar

import torch

from skbig._utils.memory import memory_of, readable
from skbig._utils.validation import Constraint, Interval, Options, check, shown
from skbig.launch.launch_options import LaunchOptions
from skbig.networks.network import BuiltNetwork

B = TypeVar("B", bound="Backend")

_REGISTRY: dict[str, type[Backend]] = {}


def setting(default: Any, *allowed: Constraint) -> Any:
    """Declare a field: its default, and what it must be."""
    return dataclasses.field(default=default, metadata={"allowed": allowed})


MAX_ON_CPU = 8
THREADS_PER_WORKER = 4
WORKER_BYTES = 100_000_000
"""What a worker takes at least, before it has any rows: mostly for torch."""


@dataclasses.dataclass(frozen=True)
class Backend:
    """A way to train in several processes; a frozen dataclass whose fields are its settings.

    Attributes
    ----------
    shares_rows, shares_parameters : bool
        Whether each worker computes a part of every batch, and whether it holds a part of the parameters.
    spreads_searches : bool
        Whether a search hands its fits out to the workers, each of which then trains alone what it has taken. It is
        False where a fit may need all of them.
    """

    name: ClassVar[str]
    shares_rows: ClassVar[bool]
    shares_parameters: ClassVar[bool]
    spreads_searches: ClassVar[bool] = False

    n_workers: int | None = setting(None, Options((None,)), Interval(1, None, integer=True))
    timeout: float = setting(1800.0, Interval(0, None, "neither"))
    max_restarts: int = setting(0, Interval(0, None, integer=True))

    @property
    def steps_alone(self) -> int:
        """How many steps a worker takes before it agrees with the others."""
        return 1

    def __init_subclass__(cls, name: str, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.name = name
        _REGISTRY[name] = cls

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the settings by name, as scikit-learn's ``get_params`` does."""
        del deep  # settings do not nest
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def replace(self: B, **changes: Any) -> B:
        """Return a copy with some settings changed."""
        known = [field.name for field in dataclasses.fields(self)]
        for name in changes:
            if name not in known:
                close = difflib.get_close_matches(name, known, n=1)
                hint = f"Did you mean {close[0]!r}? " if close else ""
                raise ValueError(
                    f"Invalid parameter {name!r} for backend {type(self).__name__}. {hint}Valid parameters are: "
                    f"{known}."
                )
        return dataclasses.replace(self, **changes)

    def count(self, device_type: str) -> int:
        """Return how many workers to start on devices of a type.

        Raises
        ------
        ValueError
            When there are fewer GPUs.
        MemoryError
            When so many processes cannot fit in memory.
        """
        if device_type == "cuda":
            return self._count_on_gpus(torch.cuda.device_count())
        if self.n_workers is not None:
            return self._count_in_memory(memory_of(torch.device("cpu")))
        return max(2, min(MAX_ON_CPU, torch.get_num_threads() // THREADS_PER_WORKER))

    def launch_options(self, device_type: str) -> LaunchOptions:
        """Return how workers are started on devices of a type; raises as `count`."""
        return LaunchOptions(self.count(device_type), device_type, self.timeout, self.max_restarts)

    def _count_in_memory(self, n_bytes: int) -> int:
        wanted = int(self.n_workers or 0) * WORKER_BYTES
        if wanted > n_bytes:
            raise MemoryError(
                f"{self!r} starts processes that take more than {readable(wanted)} of memory, even without rows, and "
                f"this machine has {readable(n_bytes)}. Use fewer workers."
            )
        return int(self.n_workers or 0)

    def _count_on_gpus(self, n_devices: int) -> int:
        n_workers = n_devices if self.n_workers is None else int(self.n_workers)
        if n_workers > n_devices:
            raise ValueError(
                f"{self!r} needs {n_workers} GPUs, one for each worker, and torch sees {n_devices}. Use fewer workers, "
                "or device='cpu'."
            )
        return n_workers

    def check(self) -> None:
        """Raise ValueError when a setting is out of its range."""
        for field in dataclasses.fields(self):
            check(field.name, type(self).__name__, getattr(self, field.name), *field.metadata["allowed"])

    def check_network(self, network: BuiltNetwork) -> None:
        """Raise ValueError when a network cannot be trained so; any network can, unless a backend says otherwise."""


def resolve_backend(value: Any) -> Backend | None:
    """Turn a name, a class or an instance into a backend; None is one process.

    Raises
    ------
    ValueError
        When it is something else, or a setting is out of its range.
    """
    if value is None:
        return None
    if isinstance(value, str) and value in _REGISTRY:
        value = _REGISTRY[value]
    if isinstance(value, type) and issubclass(value, Backend):
        value = value()
    if not isinstance(value, Backend):
        names = ", ".join(map(repr, sorted(_REGISTRY)))
        kinds = ", ".join(f"{kind.__name__}(...)" for kind in _REGISTRY.values())
        raise ValueError(f"The 'backend' parameter must be one of None, {names}, {kinds}. Got {shown(value)} instead.")
    value.check()
    return value
