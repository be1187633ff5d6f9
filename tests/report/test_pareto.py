"""What `pareto` says and draws."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))  # rankings.py
from rankings import factorial_codes, made_ranking  # noqa: E402

from edgeflownas.errors import ConfigError  # noqa: E402
from edgeflownas.report.pareto import pareto_view  # noqa: E402
from edgeflownas.report.plot import pareto_figure  # noqa: E402
from edgeflownas.report.table import text_of  # noqa: E402
from edgeflownas.search.choose import Question, choose, summary  # noqa: E402
from edgeflownas.search.ranking import Ranking  # noqa: E402

CODES = [*factorial_codes((0, 4, 5, 7)), (0, 0, 0, 0, 2, 1, 2, 2, 2)]  # the baseline makes it a partial table
APPROVED = Path(__file__).parent / "approved/pareto_questions.txt"
UNPAIRED = {"keep": False, "facts": {"within_noise_of_best": "7"}}


def smaller(times: int) -> Ranking:
    """A tiny network, whose MACs are counted in millions or one by one."""
    ranking = made_ranking(CODES)
    ranking.columns["macs"] //= times
    return ranking


CASES = {
    "a front, its confidence and its shortlist": (made_ranking(CODES, zero=9.0), Question(where="sram_kib<800")),
    "unpaired noise": (made_ranking(CODES, keep=False), Question()),
    "noise that was paired when they were ranked": (made_ranking(CODES, **UNPAIRED), Question()),
    "of a part nothing is known of that": (made_ranking(CODES, **UNPAIRED), Question(where="macs<2e9")),
    "what each choice is worth": (made_ranking(CODES[:-1]), Question(("epe", "macs", "sram_kib"))),
    "none beats zero flow": (made_ranking(CODES, zero=7.0), Question(("epe", "sram_kib"), top=3)),
    "millions": (smaller(1000), Question(("epe", "macs", "samples", "rank"), top=3)),
    "one by one, members beyond the reference": (smaller(1000_000), Question(top=3, reference=(1.0, 1.0))),
    "without noise nothing is said of ties": (made_ranking(CODES), Question(("epe_median", "macs"))),
}


def test_the_texts_are_the_approved_ones() -> None:
    texts = {name: text_of(pareto_view(summary(choose(*case)))) for name, case in CASES.items()}
    found = "".join(f"== {name}\n{text}\n\n" for name, text in texts.items())
    if os.environ.get("EDGEFLOWNAS_APPROVE"):
        APPROVED.write_text(found, encoding="utf-8")
    assert found.splitlines() == APPROVED.read_text(encoding="utf-8").splitlines()


@pytest.mark.e2e  # matplotlib
def test_the_picture_is_a_png_and_the_same_each_time() -> None:
    document = choose(made_ranking(CODES), Question())
    data = pareto_figure(document)
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape[1] > 1000 and len(np.unique(picture.reshape(-1, 3), axis=0)) > 20
    assert pareto_figure(document) == data


def test_a_picture_needs_two_objectives_and_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="two objectives"):
        pareto_figure(choose(made_ranking(CODES), Question(("epe",))))
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ConfigError, match=r"edgeflownas\[figures\]"):
        pareto_figure(choose(made_ranking(CODES), Question()))
