"""Pieces of work side by side: Python threads with one torch thread each, so that no result depends on their number.

A piece (the whole tree below a trunk, for one sample) keeps its features in one core's cache and needs no barrier
between its thousands of small operations; torch releases the interpreter lock inside each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


class Pieces:
    """Runs pieces in order of their results; a context manager.

    On a GPU, with one thread, or unless ``parallel``, they run one after the other in the calling thread.
    """

    def __init__(self, device: torch.device, check_stop: Callable[[], None], parallel: bool = True) -> None:
        self.check_stop = check_stop
        self.workers = torch.get_num_threads() if parallel and device.type == "cpu" else 1
        self.pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> Pieces:
        if self.workers > 1:
            self.pool = ThreadPoolExecutor(self.workers, "tree")
            together = Barrier(self.workers)  # every thread of the pool takes exactly one of these
            for started in [self.pool.submit(_prepare, together) for _ in range(self.workers)]:
                started.result()
            torch.set_num_threads(self.workers)  # the number belongs to a thread; the default of later ones does not
        return self

    def __exit__(self, *_: object) -> None:
        if self.pool is not None:
            self.pool.shutdown(wait=True, cancel_futures=True)

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """``function`` of every item, in order.  ``check_stop`` is called between results and may raise."""
        if self.pool is None:
            results: Iterator[Result] = map(function, items)
        else:
            results = self.pool.map(function, items)
        self.check_stop()
        for result in results:
            yield result
            self.check_stop()


def _prepare(together: Barrier) -> None:
    """Gradient mode and number of threads of this thread, for good."""
    torch.get_num_threads()  # a thread takes over the default when it first asks, also after it was told otherwise
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    together.wait()
