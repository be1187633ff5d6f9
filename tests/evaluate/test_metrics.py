"""Errors of predicted flow: pooled over pixels, cropped, masked, at every scale; against loops, in any order."""

import math
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numeric import FLOAT32

from edgeflownas.errors import DataError, NonFiniteError
from edgeflownas.evaluate.metrics import FlowMetrics, epe, sample_errors


def test_by_hand():
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


def test_pools_pixels_not_samples():
    assert epe(torch.tensor([10.0, 90.0]), torch.tensor([1, 9])) == 10.0
    assert epe(torch.tensor([10.0, 0.0]), torch.tensor([1, 9])) == 1.0


def test_unknown_truth_may_be_nan():
    flow, valid = torch.full((1, 2, 4, 4), float("nan")), torch.zeros(1, 4, 4, dtype=torch.bool)
    flow[:, :, 0, 0], valid[:, 0, 0] = 0.0, True
    assert epe(*sample_errors(torch.ones(1, 2, 4, 4), flow, valid)) == pytest.approx(2**0.5)


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_scales_compare_with_the_subsampled_label(stride):
    rng = np.random.default_rng(0)
    flow = rng.normal(size=(2, 2, 13, 18)).astype(np.float32)
    prediction = rng.normal(size=(2, 4, 16 // stride, 32 // stride)).astype(np.float32)
    label = flow[:, :, ::stride, ::stride].astype(np.float64)
    distance = np.linalg.norm(prediction[:, :2, : label.shape[2], : label.shape[3]] - label, axis=1)
    sums, counts = sample_errors(torch.from_numpy(prediction), torch.from_numpy(flow), stride=stride)
    assert epe(sums, counts) == pytest.approx(distance.mean(), rel=1e-6)


def test_sums_do_not_lose_digits():
    """A constant error over a large map: float32 sums would drift."""
    sums, counts = sample_errors(torch.full((1, 2, 1024, 1024), 0.1), torch.zeros(1, 2, 1024, 1024))
    assert epe(sums, counts) == pytest.approx(float(np.float32(0.1)) * 2**0.5, rel=2 * FLOAT32)


def test_errors():
    with pytest.raises(DataError, match="does not cover"):
        sample_errors(torch.zeros(1, 2, 8, 8), torch.zeros(1, 2, 9, 8))
    with pytest.raises(DataError, match="does not cover"):
        sample_errors(torch.zeros(1, 2, 8, 8), torch.zeros(2, 2, 8, 8))
    with pytest.raises(DataError, match="no valid pixel"):
        epe(torch.zeros(2), torch.zeros(2, dtype=torch.int64))


class Field(NamedTuple):
    predicted: np.ndarray
    flow: np.ndarray
    valid: np.ndarray
    occluded: np.ndarray | None


def random_field(rng, masks):
    """Small flows and large, errors on both sides of every limit, some exactly on it."""
    height, width = rng.integers(1, 9, 2)
    flow = rng.normal(0, 1, (height, width, 2)) * rng.choice([2.0, 20.0, 60.0], (height, width, 1))
    predicted = flow + rng.normal(0, 1, flow.shape) * rng.choice([0.3, 2.0, 8.0], (height, width, 1))
    on_limit = rng.random((height, width)) < 0.2
    flow[on_limit] = rng.choice([0.0, 10.0, 40.0, 60.0, 100.0], (on_limit.sum(), 1)) * [1.0, 0.0]
    predicted[on_limit] = flow[on_limit] + [0.0, 1.0] * rng.choice([1.0, 3.0, 5.0], (on_limit.sum(), 1))
    occluded = rng.random((height, width)) < 0.3 if masks else None
    return Field(predicted.astype(np.float32), flow.astype(np.float32), rng.random((height, width)) < 0.7, occluded)


def by_hand(fields):
    """Every figure by a loop over pixels, from its definition."""
    errors: dict[str, list[float]] = {
        key: [] for key in ("epe", "s0_10", "s10_40", "s40_plus", "epe_occluded", "epe_visible", "images")
    }
    counts = dict.fromkeys(("fl_all", "px1", "px3", "px5"), 0)
    for predicted, flow, valid, occluded in fields:
        own = []
        for y, x in np.argwhere(valid):
            u, v = (float(part) for part in flow[y, x])
            du, dv = float(predicted[y, x, 0]) - u, float(predicted[y, x, 1]) - v
            error, size = math.sqrt(du * du + dv * dv), math.sqrt(u * u + v * v)
            own.append(error)
            errors["s0_10" if size < 10 else "s10_40" if size < 40 else "s40_plus"].append(error)
            if occluded is not None:
                errors["epe_occluded" if occluded[y, x] else "epe_visible"].append(error)
            counts["fl_all"] += error > 3 and error > 0.05 * size
            for limit in (1, 3, 5):
                counts[f"px{limit}"] += error < limit
        errors["epe"] += own
        errors["images"] += [sum(own) / len(own)] if own else []
    means = {key: sum(values) / len(values) if values else None for key, values in errors.items()}
    shares = {key: count / len(errors["epe"]) for key, count in counts.items()}
    return {"epe_per_image": means.pop("images"), **means, **shares}


def collected(fields):
    metrics = FlowMetrics()
    for field in fields:
        metrics.add(*field)
    return metrics


@settings(deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 5), st.sampled_from(["all", "none", "some"]))
def test_equals_a_loop_over_pixels(seed, count, masks):
    rng = np.random.default_rng(seed)
    fields = [random_field(rng, masks == "all" or (masks == "some" and i == 0)) for i in range(count)]
    if not any(field.valid.any() for field in fields):
        with pytest.raises(DataError, match="no valid pixel"):
            collected(fields).figures()
        return
    figures = collected(fields).figures()
    expected = by_hand(fields)
    assert figures.samples == count
    for key, value in expected.items():
        found = getattr(figures, key)
        assert (found is None) == (value is None), key
        assert value is None or found == pytest.approx(value, rel=1e-12, abs=1e-15), key


@settings(deadline=None)
@given(st.integers(0, 2**32), st.permutations(range(6)))
def test_order_changes_no_bit(seed, order):
    rng = np.random.default_rng(seed)
    fields = [random_field(rng, masks=True) for _ in range(6)]
    fields[0] = fields[0]._replace(valid=np.ones_like(fields[0].valid))
    assert collected([fields[i] for i in order]).figures() == collected(fields).figures()


def test_the_two_means_differ_where_samples_have_different_pixels():
    flow = np.zeros((1, 4, 2), np.float32)
    far = np.broadcast_to(np.float32([6, 8]), (1, 4, 2))
    metrics = FlowMetrics()
    metrics.add(far, flow, np.array([[True, False, False, False]]))
    metrics.add(flow, flow, np.ones((1, 4), bool))
    metrics.add(far, flow, np.zeros((1, 4), bool))  # tells nothing
    figures = metrics.figures()
    assert (figures.epe, figures.epe_per_image, figures.samples) == (2.0, 5.0, 3)


def test_what_stands_at_an_invalid_pixel_is_never_looked_at():
    flow = np.array([[[0, 0], [np.nan, 1e30]]], np.float32)
    predicted = np.array([[[3, 4], [np.inf, np.nan]]], np.float32)
    metrics = FlowMetrics()
    metrics.add(predicted, flow, np.array([[True, False]]))
    figures = metrics.figures()
    assert figures.epe == 5.0 and figures.px5 == 0.0 and figures.fl_all == 1.0
    assert figures.s10_40 is None and figures.epe_occluded is None


def test_five_per_cent_of_a_long_motion_is_no_outlier():
    flow = np.array([[[100, 0], [100, 0], [10, 0]]], np.float32)
    predicted = flow + np.array([[[5, 0], [5.5, 0], [3, 0]]], np.float32)  # 5 %, 5.5 %, exactly 3 px
    metrics = FlowMetrics()
    metrics.add(predicted, flow, np.ones((1, 3), bool))
    assert metrics.figures().fl_all == pytest.approx(1 / 3)


def test_refusals():
    flow, valid = np.zeros((2, 3, 2), np.float32), np.ones((2, 3), bool)
    metrics = FlowMetrics()
    with pytest.raises(DataError, match=r"net on 7: the prediction is \[2, 2, 2\], the true flow \[2, 3, 2\]"):
        metrics.add(flow[:, :2], flow, valid, name="net on 7")
    with pytest.raises(DataError, match="valid mask"):
        metrics.add(flow, flow, valid[:1])
    with pytest.raises(NonFiniteError, match="net on 7"):
        metrics.add(flow + np.float32(np.nan), flow, valid, name="net on 7")
    with pytest.raises(DataError, match="no valid pixel in the 0 evaluated"):
        metrics.figures()
