import sys
from pathlib import Path

import pytest
import torch

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]  # runs.py, tiny.py
import runs  # noqa: E402


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Tiny data and a folder for runs, shared by the tests of a module; arithmetic switches are put back."""
    before = torch.get_num_threads(), torch.get_deterministic_debug_mode(), torch.backends.cudnn.benchmark
    yield runs.Place(tmp_path_factory.mktemp("e2e"))
    torch.set_num_threads(before[0])
    torch.set_deterministic_debug_mode(before[1])
    torch.backends.cudnn.benchmark = before[2]


@pytest.fixture(scope="module")
def one_picture():
    """Searches and sweeps whose picture is not the question: one is drawn, which stands for the others."""
    from edgeflownas.report import plot, sweep

    def once(draw, drawn):
        return lambda *words: drawn[0] if drawn else drawn.append(draw(*words)) or drawn[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plot, "search_figure", once(plot.search_figure, []))
        patch.setattr(sweep, "comparison_figure", once(sweep.comparison_figure, []))
        yield


@pytest.fixture(scope="module")
def no_trial():
    """Rankings and searches whose time is not the question: nothing is timed three times over to estimate it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edgeflownas.evaluate.tree.quickest", lambda *_, **__: 0.1)
        yield
