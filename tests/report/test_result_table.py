"""Result rows as text: ranked, references apart, one protocol a table."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgeflownas.evaluate.results import ResultRow
from edgeflownas.report.result_table import result_table

ROW = ResultRow(
    *(2, 2.0, 2.5, 0.125, 0.5, 0.75, 0.875, 1.0, None, 12.0, None, None),
    model="run/step-00000004",
    code="0,1",
    protocol="deploy:180x240",
    split_label="fc2/folder:val/2/c7d8",
    precision="fp32",
    batch_shape="1x6x192x240",
    source="ab",
)
ZERO = replace(ROW, model="zero", code=None, epe=1.5, source=None)


def test_ranked_with_references_below() -> None:
    title, *lines = result_table([ROW, replace(ROW, code="1,0", epe=1.75)], [ZERO]).splitlines()
    assert title.startswith("run/step-00000004, protocol deploy:180x240, split fc2/folder:val/2/c7d8, 2 samples, fp32")
    assert [line.split()[0] for line in lines if line[0] != "-"] == ["model", "1,0", "0,1", "zero"]
    assert lines[0].split()[-1] == "s40+" and "occluded" not in lines[0] and "s10-40" not in lines[0]
    assert lines[2].split()[1:5] == ["1.7500", "2.5000", "12.50", "50.00"]  # shares in percent
    assert lines[1] == lines[4] and set(lines[1]) == {"-", " "}
    assert len({len(line) for line in lines}) == 1


def test_a_figure_that_one_row_lacks() -> None:
    lines = result_table([replace(ROW, epe_occluded=3.0)], [ZERO]).splitlines()
    assert lines[-1].split()[-1] == "-" and lines[3].split()[-1] == "3.0000"


def test_rows_of_two_protocols_do_not_meet() -> None:
    for other in (replace(ZERO, protocol="standard"), replace(ZERO, split_label="x"), replace(ZERO, samples=1)):
        with pytest.raises(AssertionError, match="one protocol and one split"):
            result_table([ROW], [other])
