"""What a predictor sees and what is scored: whole frames, crops with clipped truth, resized input."""

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numeric import FLOAT32

from edgeflownas.errors import ConfigError, DataError
from edgeflownas.evaluate.metrics import FlowMetrics
from edgeflownas.evaluate.protocols import PROTOCOLS, Protocol, make_protocol

sys.path.insert(0, str(Path(__file__).parent))
from flow_batches import random_pair  # noqa: E402


def test_standard_shows_and_scores_everything():
    pair = random_pair(37, 53, scale=80.0)
    seen = Protocol("standard").prepare(pair)
    assert np.array_equal(seen.images, np.concatenate([pair.image1, pair.image2], axis=2))
    assert np.array_equal(seen.flow, pair.flow) and np.abs(seen.flow).max() > 50
    assert np.array_equal(seen.valid, pair.valid) and np.array_equal(seen.occluded, pair.occluded)
    prediction = pair.flow + 1
    assert Protocol("standard").restore(prediction, seen) is prediction


def test_crop_takes_the_middle_and_clips_the_truth():
    pair = random_pair(40, 60, scale=80.0)
    seen = Protocol("edgeflownet", (32, 48), 50.0).prepare(pair)
    rows, columns = slice(4, 36), slice(6, 54)
    assert np.array_equal(seen.images[..., 3:], pair.image2[rows, columns])
    assert np.array_equal(seen.flow, np.clip(pair.flow[rows, columns], -50, 50))
    assert np.array_equal(seen.valid, pair.valid[rows, columns])  # clipped truth stays valid
    assert np.array_equal(seen.occluded, pair.occluded[rows, columns])
    assert np.array_equal(Protocol("training", (32, 48), None).prepare(pair).flow, pair.flow[rows, columns])
    assert np.abs(pair.flow).max() > 50  # nothing was written into the pair
    with pytest.raises(DataError, match=r"edgeflownet:48x48,clip50: the crop is larger than a frame of 40x60"):
        Protocol("edgeflownet", (48, 48), 50.0).prepare(pair)


@pytest.mark.parametrize(
    ("name", "frame", "words", "label"),
    [
        ("standard", (384, 512), {}, "standard"),
        ("edgeflownet", (384, 512), {}, "edgeflownet:352x480,clip50"),
        ("edgeflownet", (436, 1024), {}, "edgeflownet:416x1024,clip50"),
        ("edgeflownet", (375, 1242), {"size": (352, 1216)}, "edgeflownet:352x1216,clip50"),
        ("training", (384, 512), {"training": ((180, 240), 50.0)}, "training:180x240,clip50"),
        ("training", (384, 512), {"training": ((180, 240), None)}, "training:180x240"),
        ("deploy", (384, 512), {"size": (180, 240)}, "deploy:180x240"),
    ],
)
def test_labels_hold_the_parameters(name, frame, words, label):
    assert make_protocol(name, frame, **words).label == label and name in PROTOCOLS


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("chairs", None, "standard, edgeflownet, training, deploy"),
        ("standard", (180, 240), "--size has no meaning"),
        ("training", (180, 240), "--size has no meaning"),
        ("training", None, "give the run directory"),
        ("deploy", None, "needs --size HxW"),
        ("deploy", (8, 240), "at least 16"),
        ("edgeflownet", None, "384x512 .crop 352x480. and 436x1024 .crop 416x1024.; these are 375x1242"),
    ],
)
def test_refusals(name, size, message):
    with pytest.raises(ConfigError, match=message):
        make_protocol(name, (375, 1242), size)


@settings(deadline=None, max_examples=30)
@given(st.integers(16, 40), st.integers(16, 40), st.floats(-8, 8), st.floats(-8, 8), st.integers(0, 99))
def test_deploy_by_half_scores_a_perfect_predictor_at_zero(height, width, u, v, seed):
    """The flow of the half-size images has half the length; an affine field stays affine under bilinear resizing."""
    pair = random_pair(2 * height, 2 * width, seed=seed)
    y, x = np.mgrid[: 2 * height, : 2 * width].astype(np.float32)
    pair.flow = np.stack([u + 0.05 * x - 0.02 * y, v - 0.03 * x + 0.04 * y], axis=-1).astype(np.float32)
    protocol = Protocol("deploy", (height, width))
    seen = protocol.prepare(pair)
    assert seen.images.shape == (height, width, 6) and np.array_equal(seen.flow, pair.flow)
    halves = pair.image1.reshape(height, 2, width, 2, 3).mean((1, 3))
    assert np.abs(seen.images[..., :3] - halves).max() <= 0.5  # areas averaged, rounded
    perfect = 0.5 * pair.flow.reshape(height, 2, width, 2, 2).mean((1, 3))  # at the small pixels' centres
    restored = protocol.restore(perfect.astype(np.float32), seen)
    assert restored.shape == pair.flow.shape
    inner = np.zeros(pair.valid.shape, bool)
    inner[1:-1, 1:-1] = True  # beyond the outer centres the edge is repeated
    metrics = FlowMetrics()
    metrics.add(restored, pair.flow, inner)
    assert metrics.figures().epe <= 4 * FLOAT32 * np.abs(pair.flow).max()


def test_deploy_scales_each_axis_by_its_own_ratio():
    pair = random_pair(60, 80)
    protocol = Protocol("deploy", (20, 160))
    seen = protocol.prepare(pair)
    assert seen.images.shape == (20, 160, 6)
    restored = protocol.restore(np.broadcast_to(np.float32([4, 5]), (20, 160, 2)).copy(), seen)
    assert restored.shape == (60, 80, 2) and np.allclose(restored, [2.0, 15.0])


def test_deploy_at_native_size_is_standard():
    pair, protocol = random_pair(32, 48), Protocol("deploy", (32, 48))
    seen = protocol.prepare(pair)
    assert np.array_equal(seen.images, Protocol("standard").prepare(pair).images)
    assert np.array_equal(protocol.restore(pair.flow, seen), pair.flow)


def test_deploy_finds_the_motion_of_a_resized_pair():
    """A real estimator on real resized pixels: a texture moved by (6, -4) px is moved by (3, -2) at half size."""
    rng = np.random.default_rng(0)
    canvas = cv2.GaussianBlur(rng.integers(0, 256, (220, 260, 3)).astype(np.uint8), (0, 0), 3)
    canvas = cv2.normalize(canvas, None, 0, 255, cv2.NORM_MINMAX)
    pair = random_pair(192, 224)
    pair.image1, pair.image2 = canvas[14:206, 16:240], canvas[18:210, 10:234]
    protocol = Protocol("deploy", (96, 112))
    seen = protocol.prepare(pair)
    gray = [cv2.cvtColor(np.ascontiguousarray(half), cv2.COLOR_RGB2GRAY) for half in np.split(seen.images, 2, axis=2)]
    small = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(*gray, None)
    found = protocol.restore(small, seen)[48:-48, 48:-48].reshape(-1, 2)
    assert np.median(found, axis=0) == pytest.approx([6, -4], abs=0.2)
