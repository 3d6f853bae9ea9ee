"""In which order the gallery shows the examples."""

from __future__ import annotations

import os

ORDER = ["quickstart.py", "plot_migrating.py", "plot_tables.py", "plot_choosing_components.py", "plot_search.py"]
"""What comes first; the others follow by their names."""


class FirstThingsFirst:
    """Sorts the names of files; made and called by Sphinx-Gallery."""

    def __init__(self, src_dir: str | os.PathLike[str]) -> None:
        del src_dir

    def __call__(self, filename: str | os.PathLike[str]) -> tuple[int, str]:
        name = os.fspath(filename)
        return (ORDER.index(name) if name in ORDER else len(ORDER), name)
