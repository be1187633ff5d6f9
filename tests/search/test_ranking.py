"""Columns of the sets of a ranking, and the facts that decide its bits."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from edgeflownas.errors import ConfigError
from edgeflownas.models.flownet import FlowNet
from edgeflownas.search.rank import RankingJob, column_names
from edgeflownas.space import get_space


def test_columns_of_sets() -> None:
    assert column_names(["a/x", "sintel:clean", "b/Val Set"]) == ["epe", "epe_sintel_clean", "epe_val_set"]


@pytest.mark.parametrize(
    ("specs", "column"),
    [
        (["a", "b/median"], "epe_median"),
        (["a", "b/p90"], "epe_p90"),
        (["a", "b/standard_error"], "epe_standard_error"),
        (["a", "b/x", "c/x_standard_error"], "epe_x_standard_error"),
        (["a", "b/x", "c/X"], "epe_x"),
    ],
)
def test_columns_that_would_be_shared(specs: list[str], column: str) -> None:
    with pytest.raises(ConfigError, match=f"would share the column {column};"):
        column_names(specs)


def test_a_folder_without_a_name_for_a_column() -> None:
    with pytest.raises(ConfigError, match="no ASCII letter or digit"):
        column_names(["a", "b/\u5149\u6d41"])


def test_facts_of_the_arithmetic() -> None:
    run: Any = None
    facts = {
        exact: RankingJob(run, FlowNet(get_space("v1"), 2), [], {}, {"device": "cpu"}, exact=exact).table_facts([])
        for exact in (False, True)
    }
    assert facts[True]["threads"] == str(torch.get_num_threads()) and "threads" not in facts[False]
    assert list(facts[False]) == ["device", "arithmetic", "sample_errors", "cost_models"]
