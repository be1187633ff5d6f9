import math

import cv2
import numpy as np
import pytest
from numeric import FLOAT32
from numpy.typing import NDArray

from edgeflownas.data.synthetic import motion, render
from edgeflownas.data.synthetic.generate import GeneratedPair, generate_pair
from edgeflownas.errors import ConfigError

HEIGHT, WIDTH = 120, 160
Float = NDArray[np.float32]


@pytest.fixture(scope="module")
def pairs() -> list[GeneratedPair]:
    return [generate_pair(1, index, HEIGHT, WIDTH) for index in range(12)]


def sampled(image: NDArray[np.uint8], flow: Float) -> Float:
    x, y = np.meshgrid(np.arange(flow.shape[1], dtype=np.float32), np.arange(flow.shape[0], dtype=np.float32))
    return np.asarray(cv2.remap(image.astype(np.float32), x + flow[..., 0], y + flow[..., 1], cv2.INTER_LINEAR))


def test_shapes_and_types(pairs: list[GeneratedPair]) -> None:
    for pair in pairs:
        for image in (pair.image1, pair.image2):
            assert image.shape == (HEIGHT, WIDTH, 3) and image.dtype == np.uint8
        for flow in (pair.flow, pair.backward_flow):
            assert flow.shape == (HEIGHT, WIDTH, 2) and flow.dtype == np.float32 and np.isfinite(flow).all()
        for mask in (pair.occlusion, pair.backward_occlusion):
            assert mask.shape == (HEIGHT, WIDTH) and mask.dtype == np.bool_


def test_image_sampled_along_the_flow_is_the_other_image(pairs: list[GeneratedPair]) -> None:
    warped, plain = [], []
    for pair in pairs:
        ways = [
            (pair.image1, pair.image2, pair.flow, pair.occlusion),
            (pair.image2, pair.image1, pair.backward_flow, pair.backward_occlusion),
        ]
        for here, there, flow, occluded in ways:
            error = np.abs(sampled(there, flow) - here).mean(axis=-1)
            assert error[~occluded].mean() < 4.0  # bilinear blur of sharp texture, and mixed pixels along edges
            warped.append(error[~occluded].mean())
            plain.append(np.abs(there.astype(float) - here).mean(axis=-1)[~occluded].mean())
    assert np.mean(warped) < 0.2 * np.mean(plain)


@pytest.mark.parametrize("error", [(1.0, 1.0), (-1.0, 1.0), (0.8, 0.8)])
def test_the_warp_test_notices_a_wrong_flow(pairs: list[GeneratedPair], error: tuple[float, float]) -> None:
    def residual(pair: GeneratedPair, flow: Float) -> float:
        return float(np.abs(sampled(pair.image2, flow) - pair.image1)[~pair.occlusion].mean())

    right = np.mean([residual(pair, pair.flow) for pair in pairs])
    swapped = error == (1.0, 1.0)
    wrong = [pair.flow[..., ::-1] if swapped else pair.flow * np.float32(error) for pair in pairs]
    assert np.mean([residual(pair, flow) for pair, flow in zip(pairs, wrong, strict=True)]) > 1.5 * right


def covers(ring_lists: list[NDArray[np.float64]], x: int, y: int) -> bool:
    total = 0.0
    for ring in ring_lists:
        angle = np.arctan2(ring[:, 1] - y, ring[:, 0] - x)
        turn = np.roll(angle, -1) - angle
        total += float(((turn + math.pi) % (2 * math.pi) - math.pi).sum())
    return total / (2 * math.pi) > 0.5


def test_flow_is_the_motion_of_the_front_most_object_at_the_centre() -> None:
    for index in range(3):
        parts = render._scene(1, index, HEIGHT, WIDTH)
        pair = generate_pair(1, index, HEIGHT, WIDTH)
        for y in range(0, HEIGHT, 11):
            for x in range(0, WIDTH, 11):
                front = [part for part in parts if part.contours is None or covers(part.contours, x, y)][-1]
                point = np.array([[x, y]], dtype=float)
                expected = (motion.apply(front.motion, point) - point)[0]
                np.testing.assert_allclose(pair.flow[y, x], expected, atol=FLOAT32 * np.abs(pair.flow).max())
                back = [
                    part
                    for part in parts
                    if part.contours is None
                    or covers([motion.apply(part.motion, ring) for ring in part.contours], x, y)
                ][-1]
                expected = (motion.apply(np.linalg.inv(back.motion), point) - point)[0]
                size = np.abs(pair.backward_flow).max()
                np.testing.assert_allclose(pair.backward_flow[y, x], expected, atol=FLOAT32 * size)


def test_forward_and_backward_flow_cancel_where_nothing_is_hidden(pairs: list[GeneratedPair]) -> None:
    for pair in pairs:
        y, x = np.nonzero(~pair.occlusion)
        flow = pair.flow[y, x]
        row, column = np.rint(y + flow[:, 1]).astype(int), np.rint(x + flow[:, 0]).astype(int)
        # the backward flow is read at the nearest centre, up to 0.7 px away, where an affine flow differs a little
        assert np.abs(flow + pair.backward_flow[row, column]).max() < 0.5


def test_hidden_pixels_are_those_that_leave_or_are_covered(pairs: list[GeneratedPair]) -> None:
    shares = []
    for pair in pairs:
        x = np.arange(WIDTH) + pair.flow[..., 0]
        y = np.arange(HEIGHT)[:, None] + pair.flow[..., 1]
        outside = (x < 0) | (x > WIDTH - 1) | (y < 0) | (y > HEIGHT - 1)
        assert pair.occlusion[outside].all()
        shares.append(pair.occlusion[~outside].mean())
    assert 0.005 < np.mean(shares) < 0.3


def test_neither_image_is_sharper() -> None:
    slopes = np.zeros(2)
    for index in range(30):
        pair = generate_pair(2, index, 64, 96)
        for which, image in enumerate((pair.image1, pair.image2)):
            slopes[which] += np.abs(np.diff(image.astype(float), axis=1)).mean()
    assert abs(slopes[0] / slopes[1] - 1) < 0.03


def test_a_pair_is_a_function_of_its_arguments(pairs: list[GeneratedPair]) -> None:
    before = cv2.getNumThreads()
    try:
        cv2.setNumThreads(3)
        again = generate_pair(1, 4, HEIGHT, WIDTH)
    finally:
        cv2.setNumThreads(before)
    for name in GeneratedPair.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(pairs[4], name), getattr(again, name))
    for seed, index in ((1, 5), (2, 4)):
        other = generate_pair(seed, index, HEIGHT, WIDTH)
        assert (other.image1 != again.image1).mean() > 0.5 and not np.array_equal(other.flow, again.flow)


def test_smallest_and_odd_sizes() -> None:
    assert generate_pair(0, 0, 32, 32).image1.shape == (32, 32, 3)
    assert generate_pair(0, 1, 33, 201).flow.shape == (33, 201, 2)
    with pytest.raises(ConfigError, match=r"--height: 31 is outside 32\.\.4096"):
        generate_pair(0, 0, 31, 64)
    with pytest.raises(ConfigError, match="--width: 5000"):
        generate_pair(0, 0, 64, 5000)
