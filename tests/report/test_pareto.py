"""What `pareto` says and draws."""

from __future__ import annotations

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
from edgeflownas.search.choose import (  # noqa: E402
    Question,  # noqa: E402
    choose,
    summary,
)
from edgeflownas.search.ranking import Ranking  # noqa: E402

CODES = [*factorial_codes((0, 4, 5, 7)), (0, 0, 0, 0, 2, 1, 2, 2, 2)]


def said(ranking: Ranking, question: Question) -> str:
    return text_of(pareto_view(summary(choose(ranking, question))))


def told(question: Question, keep: bool = True, codes: list[tuple[int, ...]] = CODES) -> tuple[str, dict]:
    document = choose(made_ranking(codes, keep=keep), question)
    return text_of(pareto_view(summary(document))), document


def test_the_front_is_printed_short_with_its_confidence() -> None:
    text, document = told(Question(where="sram_kib<800"))
    lines = text.splitlines()
    assert "82 in the table, 55 with sram_kib<800" in lines[0]
    first = lines.index("") + 3
    rows = lines[first : lines.index("", first)]
    assert len(rows) == min(20, len(document["front"])) and all(" sure" in row or "in doubt" in row for row in rows)
    assert rows[0].startswith("0,0,0,0,0,0,0,0,0  ") and " 1.6500 " in rows[0]  # GMAC
    assert f"{document['confidence']['like_best']} of 55 cannot be told from the best" in text
    assert f"  {len(document['ties'])} ties" in text and "paired over the 16 samples" in text
    assert "what each choice is worth: not available" in text  # the baseline makes it a partial table
    shortlist = lines[lines.index("", first + len(rows) + 1) + 1 :]
    assert sum("baseline" in line for line in shortlist) == 1 and any(line.startswith("best ") for line in shortlist)


def test_unpaired_noise_says_how_to_do_better() -> None:
    text, _ = told(Question(), keep=False)
    assert "unpaired: far too careful; rank with --keep-sample-errors" in text and "when they were ranked" not in text
    ranking = made_ranking(CODES, keep=False, facts={"within_noise_of_best": "7"})
    assert "behind it); paired, when they were ranked: 7\n" in said(ranking, Question())
    assert "when they were ranked" not in said(ranking, Question(where="macs<2e9"))


def test_what_each_choice_is_worth() -> None:
    text, document = told(Question(("epe", "macs", "sram_kib")), codes=CODES[:-1])
    heading = next(line for line in text.splitlines() if line.startswith("block"))
    assert heading.split("  ")[-1].strip() == "share" and "px per GMAC" in heading and "px per KiB" in heading
    step = document["marginals"]["blocks"][0]["steps"][0]
    row = next(line for line in text.splitlines() if line.startswith("EB0"))
    assert f"{step['gain']:+.4f}" in row and f"{step['gain_per_cost']['macs'] * 1e9:+.4g}" in row and "+0.2 " in row
    assert "three and more together" in text


def test_units_follow_the_size_of_the_figures() -> None:
    ranking = made_ranking(CODES)
    ranking.columns["macs"] //= 1000  # a tiny network: millions
    text = said(ranking, Question(("epe", "macs", "samples", "rank"), top=3))
    assert "macs MMAC" in text and "samples is 16 in all of them: left out" in text
    least = next(line for line in text.splitlines() if line.startswith("0,0,0,0,0,0,0,0,0"))
    assert "  1.6500  " in least and least.split()[3].isdigit()
    ranking.columns["macs"] //= 1000
    text = said(ranking, Question(top=3, reference=(1.0, 1.0)))
    assert "macs MAC " in text and " 1650 " in text and "members of the front lie at or beyond it" in text


def test_without_noise_nothing_is_said_of_ties() -> None:
    text, _ = told(Question(("epe_median", "macs")))
    assert "in doubt" not in text and "ties" not in text and "noise of epe_median: not known" in text


def test_the_picture_is_a_png_and_the_same_each_time() -> None:
    document = told(Question())[1]
    data = pareto_figure(document)
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape[1] > 1000 and len(np.unique(picture.reshape(-1, 3), axis=0)) > 20
    assert pareto_figure(document) == data


def test_a_picture_needs_two_objectives_and_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="two objectives"):
        pareto_figure(told(Question(("epe",)))[1])
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ConfigError, match=r"edgeflownas\[figures\]"):
        pareto_figure(told(Question())[1])
