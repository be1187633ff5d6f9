"""`profile RUN`: space, width and size of a run."""

from __future__ import annotations

import json

import pytest
from runs import Place, command

from edgeflownas.hardware.costs import space_costs
from edgeflownas.space import get_space

pytestmark = pytest.mark.e2e


def test_the_space_of_a_supernet(place: Place) -> None:
    run = place.trained("supernet")
    found = json.loads(command("profile", run, "--json").out)
    table = space_costs(get_space("v1"), 2, (32, 48))
    assert (found["space"], found["width"], found["size"]) == ("v1", 2, [32, 48])
    assert found["columns"]["macs"]["max"] == table["macs"].max()
    one = json.loads(command("profile", run, "--arch", "000021222", "--size", "64x64", "--json").out)
    assert (one["arch"], one["width"], one["size"]) == ("0,0,0,0,2,1,2,2,2", 2, [64, 64])


def test_a_subnet_trained_alone_and_edgeflownet(place: Place) -> None:
    alone = place.trained("alone", "--train.task=standalone", "--train.arch=['000021222']", "--eval.eval_pool_size=1")
    found = json.loads(command("profile", alone, "--json").out)
    assert found["arch"] == "0,0,0,0,2,1,2,2,2"
    assert (
        found["parameters"]
        == space_costs(get_space("v1"), 2, (32, 48), [get_space("v1").parse("000021222")])["parameters"][0]
    )
    other = place.trained("published", "--train.task=edgeflownet", "--eval.eval_pool_size=1")
    refused = command("profile", other)
    assert refused.code == 64
    assert "EdgeFlowNet" in refused.err
