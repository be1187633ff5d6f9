from __future__ import annotations

import os

import pytest
from fc2_folder import make_folder

from edgeflownas.config import DataConfig
from edgeflownas.data.bench import bench_loader
from edgeflownas.data.fc2 import scan_fc2


def test_a_row_for_every_setting(tmp_path):
    dataset = scan_fc2(make_folder(tmp_path, 5), "train")
    rows = bench_loader(dataset, DataConfig(crop_size=(8, 8)), 2, [0, 2], batches=3, rounds=1)
    assert [row.num_workers for row in rows] == [0, 2]
    for row in rows:
        assert row.ratio == pytest.approx(row.samples_per_second / row.plain_samples_per_second)
        assert row.to_json()["batches"] == 3


def test_one_core_is_one_core_and_is_given_back(tmp_path):
    before = os.sched_getaffinity(0)
    dataset = scan_fc2(make_folder(tmp_path, 4), "train")
    config = DataConfig(crop_size=(8, 8))
    (row,) = bench_loader(dataset, config, 2, [0], batches=1, rounds=1, one_core=True)
    assert row.cores == 1 and os.sched_getaffinity(0) == before
    assert row.decode_ratio == pytest.approx(row.samples_per_second / row.decode_samples_per_second)
