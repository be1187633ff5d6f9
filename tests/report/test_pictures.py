"""The four panels."""

import numpy as np

from edgeflownas.report.pictures import GAP, STRIP, comparison

H, W = 40, 300


def panels(picture: np.ndarray) -> list[np.ndarray]:
    """The pictures of the four panels, label strips cut off."""
    assert picture.dtype == np.uint8 and picture.shape == (STRIP + H, 4 * W + 3 * GAP, 3)
    return [picture[STRIP:, start : start + W] for start in range(0, 4 * (W + GAP), W + GAP)]


def example() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    image = np.random.default_rng(0).integers(0, 256, (H, W, 3), np.uint8)
    true = np.zeros((H, W, 2), np.float32)
    true[:, W // 2 :, 0] = 8.0
    return image, true.copy(), true, np.ones((H, W), bool)


def test_a_perfect_prediction_looks_like_the_truth_and_has_no_error():
    image, predicted, true, valid = example()
    shown, prediction, truth, error = panels(comparison(image, predicted, true, valid))
    assert (shown == image).all()
    assert (prediction == truth).all()
    assert tuple(truth[0, -1]) == (255, 0, 0) and tuple(truth[0, 0]) == (255, 255, 255)
    assert (error == error[0, 0]).all() and error.max() < 10  # the dark end of the scale


def test_prediction_and_truth_share_one_scale():
    image, predicted, true, valid = example()
    prediction, truth = panels(comparison(image, 0.5 * predicted, true, valid))[1:3]
    assert tuple(prediction[0, -1]) == (255, 127, 127) and tuple(truth[0, -1]) == (255, 0, 0)


def test_invalid_and_non_finite_pixels_are_black():
    image, predicted, true, valid = example()
    valid[:, 0] = False
    true[:, 0] = 1e10
    predicted[:, 1] = np.nan
    predicted[:, 2] = np.inf
    _, prediction, truth, error = panels(comparison(image, predicted, true, valid))
    assert not truth[:, 0].any() and not error[:, :3].any() and not prediction[:, 1:3].any()
    assert tuple(truth[0, -1]) == (255, 0, 0)  # the sentinel does not set the scale


def test_the_largest_error_is_the_bright_end():
    image, predicted, true, valid = example()
    predicted[5, 7, 1] += 3.0
    predicted[5, 9, 1] += 1.0
    error = panels(comparison(image, predicted, true, valid))[3].astype(int).sum(-1)
    assert error[5, 7] == error.max() > error[5, 9] > error[0, 0]


def test_labels_are_drawn_and_small_crops_are_magnified():
    image, predicted, true, valid = example()
    picture = comparison(image, predicted, true, valid)
    for start in range(0, 4 * (W + GAP), W + GAP):
        assert (picture[:STRIP, start : start + W] < 128).any()
    small = comparison(image[:, :32], predicted[:, :32], true[:, :32], valid[:, :32])
    assert small.shape == (STRIP + 8 * H, 4 * 256 + 3 * GAP, 3)


def test_nothing_known_is_still_a_picture():
    image, predicted, true, valid = example()
    comparison(image, 0 * predicted, 0 * true, valid)
    comparison(image, predicted * np.nan, true, ~valid)
