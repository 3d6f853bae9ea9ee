"""On how many threads of the processor a thread of Python computes."""

from __future__ import annotations

import torch

from skbig._utils.extras import import_extra


class ThreadCount:
    """A number of threads for OpenMP, which a thread of Python can take for what it computes; others keep theirs.

    Where other programs want the cores, a small product takes many times as long on several threads: all wait for one.

    It is made before there are other threads: to look for the libraries that are loaded takes a lock of the loader, and
    a thread that loads one at that moment would wait for it for ever.
    """

    def __init__(self, n_threads: int) -> None:
        self._n_threads = n_threads
        self._libraries = import_extra("threadpoolctl", "serve", "skbig.serving").ThreadpoolController()

    def apply(self) -> None:
        """Compute on so many threads in this thread, from now on."""
        torch.get_num_threads()  # torch sets its own number when a thread first computes, so this comes before ours
        self._libraries.limit(limits=self._n_threads, user_api="openmp")
