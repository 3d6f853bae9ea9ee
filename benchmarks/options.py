"""How the benchmarks are run."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks.environment import Limits
from benchmarks.peers import Task


@dataclass(frozen=True)
class Options:
    """How to run: how often, with validation or without, and whether only to see that it runs.

    `data` is the folder of the real data sets, where searches take them in place of made ones. `scratch` is where files
    are written to be read, and `gigabytes` the size of the largest. `limits` is what the machine does at most, where
    that is known. `servers` are those of others, by name, with their Python, and `opacus`
    is one that has Opacus.
    """

    repeats: int = 5
    validation: bool = False
    quick: bool = False
    data: Path | None = None
    scratch: Path | None = None
    gigabytes: float = 2
    limits: Limits | None = None
    servers: dict[str, Path] = field(default_factory=dict)
    opacus: Path | None = None

    def sized(self, task: Task) -> Task:
        """Return the task as these options have it; a quick one takes a few steps of a narrow network."""
        task = replace(task, validation=self.validation)
        narrow = tuple(min(size, 32) for size in task.hidden)
        return replace(task, hidden=narrow, n_rows=2 * task.batch_size, n_epochs=1) if self.quick else task
