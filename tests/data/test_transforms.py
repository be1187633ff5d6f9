from types import SimpleNamespace

import numpy as np
import pytest
from fake_pairs import HEIGHT, WIDTH, FakePairs
from hypothesis import given
from hypothesis import strategies as st

from edgeflownas.config import DataConfig
from edgeflownas.data import dataset
from edgeflownas.errors import BadSample, DataError

SHIFT_U, SHIFT_V = 3, -2


def shifted_pair():
    """Image 2 is image 1 moved by (3, -2) pixels, exactly."""
    scene = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    image1 = scene[5:29, 8:40]
    image2 = scene[5 - SHIFT_V : 29 - SHIFT_V, 8 - SHIFT_U : 40 - SHIFT_U]
    flow = np.tile(np.float32([SHIFT_U, SHIFT_V]), (24, 32, 1))
    valid = np.random.default_rng(1).random((24, 32)) > 0.1
    return SimpleNamespace(image1=image1, image2=image2, flow=flow, valid=valid)


def warp_agrees(images, flow, valid):
    """Share of the valid pixels whose target x + flow lies inside and has their colour in image 2."""
    height, width = valid.shape
    rows, columns = np.mgrid[:height, :width]
    to_rows, to_columns = rows + flow[..., 1].astype(int), columns + flow[..., 0].astype(int)
    inside = valid & (to_rows >= 0) & (to_rows < height) & (to_columns >= 0) & (to_columns < width)
    assert inside.sum() > height * width / 2
    same = (images[to_rows[inside], to_columns[inside], 3:] == images[rows[inside], columns[inside], :3]).all(axis=1)
    return same.mean()


@pytest.mark.parametrize(("horizontal", "vertical"), [(0, 0), (1, 0), (0, 1), (1, 1)])
def test_flips_keep_image_2_at_x_plus_flow_equal_to_image_1(horizontal, vertical):
    pair = shifted_pair()
    before = dataset.crop(pair, dataset.Window(0, 0, 24, 32))
    data = DataConfig(horizontal_flip=horizontal, vertical_flip=vertical)
    images, flow, valid = dataset.augment(*before, np.zeros(4), None, data)
    assert warp_agrees(images, flow, valid) == 1.0
    assert flow[0, 0].tolist() == [-SHIFT_U if horizontal else SHIFT_U, -SHIFT_V if vertical else SHIFT_V]
    turned = before[2][:: -1 if vertical else 1, :: -1 if horizontal else 1]
    assert np.array_equal(valid, turned), "the mask moves with its pixels"
    assert images.dtype == np.uint8 and flow.dtype == np.float32
    assert warp_agrees(*(array[:, ::-1] for array in before)) < 0.1, "a flip that forgets the sign would be noticed"


@given(row=st.floats(0, 1, exclude_max=True), column=st.floats(0, 1, exclude_max=True))
def test_a_random_crop_keeps_the_pair_together(row, column):
    window = dataset.random_window(24, 32, 20, 21, (row, column))
    assert 0 <= window.top <= 4 and 0 <= window.left <= 11
    assert warp_agrees(*dataset.crop(shifted_pair(), window)) == 1.0


def test_random_windows_reach_every_place_and_the_centre_is_the_middle():
    tops = {dataset.random_window(10, 10, 7, 10, (u, 0.0)).top for u in np.linspace(0, 0.999, 50)}
    assert tops == {0, 1, 2, 3}
    assert dataset.center_window(384, 512, 180, 240) == dataset.Window(102, 136, 180, 240)
    assert dataset.center_window(5, 5, 2, 4) == dataset.Window(1, 0, 2, 4)


@pytest.mark.parametrize(
    "make", [dataset.center_window, lambda *sizes, name: dataset.random_window(*sizes, (0.0, 0.0), name)]
)
def test_a_crop_that_does_not_fit_names_key_sizes_and_sample(make):
    with pytest.raises(DataError, match=r"0000007: data\.crop_size 180x240 is larger than the images, 384x200"):
        make(384, 200, 180, 240, name="0000007")


def test_clip_keeps_pixels_valid_and_reports_their_share():
    flow = np.zeros((2, 3, 2), np.float32)
    flow[0, 0], flow[0, 1], flow[1, 2] = (70, -80), (50, -50), (0, -50.5)
    clipped, share = dataset.clip_flow(flow, 50.0)
    assert clipped[0, 0].tolist() == [50, -50] and clipped[0, 1].tolist() == [50, -50] and clipped[1, 2, 1] == -50
    assert share == pytest.approx(2 / 6)
    assert clipped.dtype == np.float32 and flow[0, 0, 0] == 70, "the input is left alone"
    valid = np.ones((2, 3), bool)
    valid[0, 0] = valid[0, 1] = False
    assert dataset.clip_flow(flow, 50.0, valid)[1] == pytest.approx(1 / 4)
    assert dataset.clip_flow(flow, 50.0, np.zeros((2, 3), bool))[1] == 0.0
    assert dataset.clip_flow(flow, None) == (flow, 0.0)


def test_brightness_and_contrast_are_the_same_for_both_images():
    images = np.random.default_rng(0).integers(60, 190, (8, 9, 6), dtype=np.uint8)
    flow, valid = np.ones((8, 9, 2), np.float32), np.ones((8, 9), bool)
    brighter, same_flow, _ = dataset.augment(
        images, flow, valid, np.float64([1, 1, 0.75, 0.5]), None, DataConfig(brightness=0.2)
    )
    assert np.abs(brighter - (images + 0.1 * 255)).max() <= 0.51 and same_flow is flow
    data = DataConfig(contrast=0.4)
    flatter = dataset.augment(images, flow, valid, np.float64([1, 1, 0.5, 0.25]), None, data)[0]
    expected = (images - images.mean()) * 0.8 + images.mean()
    assert np.abs(flatter - expected).max() <= 0.51
    white = dataset.augment(images, flow, valid, np.float64([1, 1, 1, 0.5]), None, DataConfig(brightness=5))[0]
    assert (white == 255).all()


def test_noise_is_gaussian_and_differs_between_the_images():
    grey = np.full((100, 100, 6), 128, np.uint8)
    noise = np.random.Philox(key=5).random_raw(15_000)
    data = DataConfig(noise_std=0.04)
    noisy, *_ = dataset.augment(
        grey, np.zeros((100, 100, 2), np.float32), np.ones((100, 100), bool), np.ones(4), noise, data
    )
    change = noisy.astype(float) - 128
    assert change.mean() == pytest.approx(0, abs=0.2) and change.std() == pytest.approx(10.2, rel=0.02)
    assert np.mean(np.abs(change) <= 10.2) == pytest.approx(0.683, abs=0.03)
    assert abs(np.corrcoef(change[..., :3].ravel(), change[..., 3:].ravel())[0, 1]) < 0.03


def test_training_sample_is_a_function_of_its_draw():
    data = DataConfig(
        crop_size=(12, 16), horizontal_flip=0.5, vertical_flip=0.5, brightness=0.1, contrast=0.2, noise_std=0.02
    )
    pairs = FakePairs(4)

    def bits(*draw, seed=0):
        sample = dataset.load_training_sample(pairs, *draw, data, seed)
        assert sample.images.shape == (12, 16, 6) and sample.flow.shape == (12, 16, 2)
        for array in (sample.images, sample.flow, sample.valid):
            assert array.flags.c_contiguous and array.flags.owndata
        return sample.images.tobytes() + sample.flow.tobytes() + sample.valid.tobytes()

    assert bits(1, 2, 3) == bits(1, 2, 3)
    assert len({bits(1, 2, 3), bits(1, 2, 4), bits(1, 3, 3), bits(2, 2, 3), bits(1, 2, 3, seed=1)}) == 5


def test_one_option_leaves_the_random_choices_of_the_others():
    plain = DataConfig(crop_size=(12, 16))
    flipping = DataConfig(crop_size=(12, 16), horizontal_flip=1.0)
    for position in range(5):
        before = dataset.load_training_sample(FakePairs(3), 1, 0, position, plain, 0)
        after = dataset.load_training_sample(FakePairs(3), 1, 0, position, flipping, 0)
        assert np.array_equal(before.images, after.images[:, ::-1])


def test_flip_probability_is_what_the_key_says():
    data = DataConfig(crop_size=(HEIGHT, WIDTH), vertical_flip=0.25)
    pairs = FakePairs(1)
    first_row = np.concatenate([pairs.read(0).image1, pairs.read(0).image2], axis=2)[0]
    kept = [
        np.array_equal(dataset.load_training_sample(pairs, 0, 0, position, data, 0).images[0], first_row)
        for position in range(400)
    ]
    assert np.mean(kept) == pytest.approx(0.75, abs=0.07)  # 3 standard deviations


def test_eval_sample_has_nothing_random_and_checks_its_window():
    pairs = FakePairs(3, bad=frozenset({2}))
    window = dataset.center_window(HEIGHT, WIDTH, 12, 16)
    sample = dataset.load_eval_sample(pairs, 1, window, 20.0)
    pair = pairs.read(1)
    assert np.array_equal(sample.images[..., 3:], pair.image2[4:16, 6:22])
    assert np.array_equal(sample.flow, np.clip(pair.flow[4:16, 6:22], -20, 20))
    assert np.array_equal(sample.valid, pair.valid[4:16, 6:22]) and 0 < sample.clipped_share < 1
    assert np.abs(dataset.load_eval_sample(pairs, 1, window, None).flow).max() > 20
    with pytest.raises(DataError, match="0000001: window of 12x16 at row 9"):
        dataset.load_eval_sample(pairs, 1, dataset.Window(9, 0, 12, 16), None)
    with pytest.raises(BadSample):
        dataset.load_eval_sample(pairs, 2, window, None)


def test_the_divisor_follows_the_clip_and_leaves_evaluation_in_pixels():
    pairs = FakePairs(3)
    plain = dataset.load_training_sample(pairs, 1, 0, 0, DataConfig(crop_size=(9, 12), flow_clip=20.0), 0)
    divided = dataset.load_training_sample(
        pairs, 1, 0, 0, DataConfig(crop_size=(9, 12), flow_clip=20.0, flow_divisor=8.0), 0
    )
    assert np.array_equal(divided.flow, plain.flow / 8) and np.abs(divided.flow).max() == 2.5
    assert divided.flow.dtype == np.float32 and divided.clipped_share == plain.clipped_share > 0
    assert np.abs(dataset.load_eval_sample(pairs, 1, dataset.Window(0, 0, HEIGHT, WIDTH), 20.0).flow).max() == 20.0
