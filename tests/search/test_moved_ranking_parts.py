from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from edgeflownas.errors import DataError
from edgeflownas.evaluate.noise import pool_noise, standard_errors
from edgeflownas.search.rank import RankingFolder, part_of
from edgeflownas.search.ranking import TIED, assemble
from edgeflownas.space import get_space

V1 = get_space("v1")
PIXELS = torch.tensor([5, 0, 7, 9])


def sums(count: int) -> torch.Tensor:
    means = torch.rand(count, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 3
    return means * PIXELS


def test_figures_of_a_unit():
    total = sums(6)
    part = part_of(["epe", "epe_b"], [total, total[:, 2:]], [PIXELS, PIXELS[2:]])
    noise = pool_noise((total / PIXELS).numpy(), PIXELS.numpy())
    np.testing.assert_allclose(part["epe"], noise.epes, rtol=1e-6)
    np.testing.assert_array_equal(part["epe_standard_error"], noise.standard_errors)
    seen = (total / PIXELS)[:, [0, 2, 3]]
    np.testing.assert_allclose(part["epe_median"], seen.median(1).values)
    assert part["samples"].tolist() == [3] * 6 and np.isnan(part["sample_epe"][:, 1]).all()
    np.testing.assert_allclose(part["epe_b"], total[:, 2:].sum(1) / 16)
    assert list(part)[-2:] == ["epe_b", "epe_b_standard_error"] and "epe_b_median" not in part


def test_a_subnet_that_diverged_is_a_row():
    total = sums(3)
    total[1, 2], total[2, 3] = math.nan, math.inf
    part = part_of(["epe"], [total], [PIXELS])
    assert np.isnan(part["epe"][1]) and np.isinf(part["epe"][2]) and part["epe"][0] < 3
    assert np.isfinite(part["epe_standard_error"]).tolist() == [True, False, False]
    ranking = assemble(V1, list(V1)[:3], [[0, 1, 2]], lambda place: part, PIXELS.numpy(), {}, keep=True)
    assert ranking.columns["rank"].tolist() == [1, 3, 2] and ranking.facts[TIED] == "1"


def test_no_valid_pixel():
    with pytest.raises(DataError, match="no valid pixel"):
        part_of(["epe"], [torch.zeros(1, 2, dtype=torch.float64)], [torch.zeros(2, dtype=torch.int64)])


def test_a_part_is_read_back_or_refused(tmp_path: Path):
    archs = list(V1)[:3]
    folder, other = (RankingFolder(tmp_path, {"run": run}, archs) for run in ("mine", "other"))
    folder.parts.mkdir()
    part = part_of(["epe"], [sums(3)], [PIXELS])
    folder.write(0, archs, part)
    again = folder.read(0, archs)
    assert list(again) == list(part) and all(np.array_equal(again[name], part[name], equal_nan=True) for name in part)
    with pytest.raises(ValueError, match="another ranking"):
        other.read(0, archs)
    (path,) = folder.parts.iterdir()
    data = path.read_bytes()
    for place in range(0, len(data), 7):
        path.write_bytes(data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :])
        with pytest.raises((ValueError, KeyError, OSError)):
            folder.read(0, archs)


@pytest.mark.parametrize("order", [[[0, 1, 2], [3, 4, 5]], [[5, 0], [3], [4, 2, 1]]])
def test_the_table_of_all_parts(order: list[list[int]]):
    total = sums(6)
    parts = [part_of(["epe"], [total[members]], [PIXELS]) for members in order]
    ranking = assemble(V1, list(V1)[:6], order, parts.__getitem__, PIXELS.numpy(), {"run": "a"}, keep=False)
    noise = pool_noise((total / PIXELS).numpy(), PIXELS.numpy())
    np.testing.assert_allclose(ranking.columns["epe"], noise.epes, rtol=1e-6)
    best = int(noise.epes.argmin())
    assert ranking.columns["rank"][best] == 1
    assert ranking.facts == {"run": "a", TIED: str((noise.epes - noise.epes[best] <= noise.bounds[best]).sum())}
    assert ranking.words["H2Out"][:4] == ("kernel 3", "kernel 5", "kernel 7", "kernel 3")
    assert ranking.sample_epe is None
    np.testing.assert_array_equal(standard_errors((total / PIXELS).numpy(), PIXELS), noise.standard_errors)
