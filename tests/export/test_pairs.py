"""Pairs for ranges, verification and test vectors."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))  # tiny.py
from numeric import FLOAT32, relative_difference
from tiny import make_tiny

from edgeflownas.data.sets import open_dataset
from edgeflownas.errors import ConfigError, DataError
from edgeflownas.export.pairs import example_pairs, generated_pairs, read_pairs
from edgeflownas.export.paths import as_integers
from edgeflownas.models.blocks import InputForm
from edgeflownas.models.deployed.quantise import pixel_scale


def test_real_pairs_are_spread_and_cut_to_the_middle(tmp_path: Path) -> None:
    data, notes = open_dataset(str(make_tiny(tmp_path) / "train"), "train"), []
    pairs = read_pairs(data, 3, (32, 48), "--data", notes.append)
    assert pairs.names == ("0000001", "0000003", "0000005") and not notes
    first = data.read(1)
    assert np.array_equal(pairs.images[0][..., 3:], first.image2[4:36, 4:52])
    assert np.array_equal(pairs.flows[0], first.flow[4:36, 4:52]) and pairs.valids[0].all()
    again = read_pairs(data, 3, (32, 48), "--data", notes.append)
    assert again.hash == pairs.hash != read_pairs(data, 2, (32, 48), "--data", notes.append).hash
    assert len(read_pairs(data, 9, (32, 48), "--data", notes.append)) == 6 and "all of them" in notes[0]


def test_frames_that_are_too_small_say_what_to_do(tmp_path: Path) -> None:
    data = open_dataset(str(make_tiny(tmp_path) / "train"), "train")
    with pytest.raises(DataError, match=r"are 40x56, smaller than --size 48x48: .* --data synth"):
        read_pairs(data, 3, (48, 48), "--data", print)


def test_generated_pairs_are_those_of_the_seed() -> None:
    pairs = generated_pairs(2, (32, 48), "train")
    assert pairs.hash == generated_pairs(2, (32, 48), "train").hash != example_pairs((32, 48)).hash
    assert pairs.names == ("0000000", "0000001") and pairs.images[0].shape == (32, 48, 6)
    assert pairs.facts()["names"] == ["0000000", "0000001"]
    with pytest.raises(ConfigError):
        generated_pairs(1, (16, 48), "train")


@pytest.mark.parametrize("form", [InputForm(), InputForm("raw_0_255", "bgr")])
def test_integers_stand_for_what_the_network_takes(form: InputForm) -> None:
    pairs, scale, done = generated_pairs(2, (32, 48), "val"), pixel_scale(form), []
    batches = list(pairs.batches(form, lambda: done.append(1)))
    assert len(batches) == len(done) == 2
    real = scale.scale * (as_integers(pairs.images[0], form)[0].astype(float) - scale.zero_point) + scale.offset
    assert relative_difference(torch.from_numpy(real).permute(2, 0, 1), batches[0][0]) <= FLOAT32
