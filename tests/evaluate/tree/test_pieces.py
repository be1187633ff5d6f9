"""Pieces run side by side on one torch thread each, in order, and leave the caller's settings alone."""

from __future__ import annotations

import threading

import pytest
import torch

from edgeflownas.evaluate.tree.pieces import Pieces

CPU = torch.device("cpu")


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_one_torch_thread_each(threads: int) -> None:
    before = torch.get_num_threads()
    together = threading.Barrier(threads)  # passes only where that many pieces run at once

    def piece(number: int) -> tuple[int, int, bool]:
        together.wait(timeout=30)
        torch.ones(1000, 1000).exp_()  # the first parallel operation settles the number of threads
        return number, torch.get_num_threads(), torch.is_grad_enabled()

    try:
        torch.set_num_threads(threads)
        with torch.no_grad(), Pieces(CPU, lambda: None) as pieces:
            found = list(pieces.map(piece, range(2 * threads)))
        assert found == [(number, 1, False) for number in range(2 * threads)]
        assert torch.get_num_threads() == threads and torch.is_grad_enabled()
    finally:
        torch.set_num_threads(before)
