"""End-point error: pooled over pixels, cropped, masked, at every scale."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numeric import FLOAT32

from edgeflownas.errors import DataError
from edgeflownas.evaluate.metrics import epe, sample_errors


def test_by_hand() -> None:
    flow = torch.zeros(2, 2, 2, 2)
    prediction = torch.zeros(2, 4, 16, 16)
    prediction[0, :2, :2, :2] = torch.tensor([3.0, 4.0])[:, None, None]  # 5 px everywhere on the label
    prediction[:, :, 2:] = 1e6  # padding
    prediction[:, 2:] = 1e6  # uncertainty
    sums, counts = sample_errors(prediction, flow)
    assert sums.dtype == torch.float64 and sums.tolist() == [20.0, 0.0] and counts.tolist() == [4, 4]
    assert epe(sums, counts) == 2.5
    valid = torch.tensor([[[True, False], [False, False]], [[False] * 2] * 2])
    sums, counts = sample_errors(prediction, flow, valid)
    assert sums.tolist() == [5.0, 0.0] and counts.tolist() == [1, 0] and epe(sums, counts) == 5.0


def test_pools_pixels_not_samples() -> None:
    assert epe(torch.tensor([10.0, 90.0]), torch.tensor([1, 9])) == 10.0
    assert epe(torch.tensor([10.0, 0.0]), torch.tensor([1, 9])) == 1.0


def test_unknown_truth_may_be_nan() -> None:
    flow, valid = torch.full((1, 2, 4, 4), float("nan")), torch.zeros(1, 4, 4, dtype=torch.bool)
    flow[:, :, 0, 0], valid[:, 0, 0] = 0.0, True
    assert epe(*sample_errors(torch.ones(1, 2, 4, 4), flow, valid)) == pytest.approx(2**0.5)


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_scales_compare_with_the_subsampled_label(stride: int) -> None:
    rng = np.random.default_rng(0)
    flow = rng.normal(size=(2, 2, 13, 18)).astype(np.float32)
    prediction = rng.normal(size=(2, 4, 16 // stride, 32 // stride)).astype(np.float32)
    label = flow[:, :, ::stride, ::stride].astype(np.float64)
    distance = np.linalg.norm(prediction[:, :2, : label.shape[2], : label.shape[3]] - label, axis=1)
    sums, counts = sample_errors(torch.from_numpy(prediction), torch.from_numpy(flow), stride=stride)
    assert epe(sums, counts) == pytest.approx(distance.mean(), rel=1e-6)


def test_sums_do_not_lose_digits() -> None:
    """A constant error over a large map: float32 sums would drift."""
    sums, counts = sample_errors(torch.full((1, 2, 1024, 1024), 0.1), torch.zeros(1, 2, 1024, 1024))
    assert epe(sums, counts) == pytest.approx(float(np.float32(0.1)) * 2**0.5, rel=2 * FLOAT32)


def test_errors() -> None:
    with pytest.raises(DataError, match="does not cover"):
        sample_errors(torch.zeros(1, 2, 8, 8), torch.zeros(1, 2, 9, 8))
    with pytest.raises(DataError, match="does not cover"):
        sample_errors(torch.zeros(1, 2, 8, 8), torch.zeros(2, 2, 8, 8))
    with pytest.raises(DataError, match="no valid pixel"):
        epe(torch.zeros(2), torch.zeros(2, dtype=torch.int64))
