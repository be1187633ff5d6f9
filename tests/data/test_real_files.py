"""Readers on every real file they cover: the flow must take image 1 to image 2 (catches swaps, signs, byte order)."""

import cv2
import numpy as np
import pytest

from edgeflownas.data import formats as fm
from edgeflownas.data.sets import open_dataset

pytestmark = pytest.mark.golden
CHAIRS = ("img_0.png", "img_1.png", "flow_01.flo")
PAIRS = {  # image 1, image 2, flow, below the folder of real data
    **{
        f"chairs {number}": [f"flying_chairs_fc2_layout/{split}/000000{number}-{part}" for part in CHAIRS]
        for split, numbers in (("train", "0123"), ("val", "45"))
        for number in numbers
    },
    **{
        f"middlebury {scene}": [f"middlebury/{scene}/{name}" for name in ("frame10.png", "frame11.png", "flow10.flo")]
        for scene in ("RubberWhale", "Venus")
    },
    **{
        f"sintel {scene} {look}": [
            *(f"sintel/training/{look}/{scene}/frame_000{n}.png" for n in (2, 3)),
            f"sintel/training/flow/{scene}/frame_0002.flo",
        ]
        for scene in ("alley_1", "market_5")
        for look in ("clean", "final")
    },
    "kitti": [f"kitti_pair/{name}" for name in ("frame1.png", "frame2.png", "flow_gt.png")],
}


def warp_error(image1, image2, flow, valid):
    """Mean |image 1 - image 2 sampled at x + flow| over valid pixels that stay inside."""
    height, width = valid.shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    x, y = x + flow[..., 0], y + flow[..., 1]
    inside = valid & (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    warped = cv2.remap(image2, x, y, cv2.INTER_LINEAR)
    return float(np.abs(warped.astype(np.float32) - image1)[inside].mean())


@pytest.mark.parametrize("pair", PAIRS)
def test_real_flow_takes_image_one_to_image_two(shared, pair):
    one, two, label = (shared / "data" / path for path in PAIRS[pair])
    flow, valid = fm.read_flow(label)
    image1, image2 = (fm.read_image(one, fm.flow_size(label)), fm.read_image(two, fm.flow_size(label)))
    still = warp_error(image1, image2, np.zeros_like(flow), valid)
    right = warp_error(image1, image2, flow, valid)
    wrong = [flow[..., ::-1], -flow]  # u and v swapped, sign
    if pair == "kitti":
        limits = (0.5, 0.7)
        assert 0.1 < valid.mean() < 0.3  # measured 41.2 to 16.4; 16 % of the pixels are known
    else:
        limits = (0.75, 0.9)
        wrong += [flow[::-1], flow[:, ::-1]]  # rows, columns
        assert valid.all() == ("RubberWhale" not in pair)  # the one with unknown flow
    assert right < limits[0] * still
    assert all(right < limits[1] * warp_error(image1, image2, np.ascontiguousarray(each), valid) for each in wrong)


@pytest.mark.parametrize(
    "name", ["kitti_pair/flow_gt.png", "middlebury/Venus/flow10.flo", "sintel/training/flow/alley_1"]
)
def test_a_real_flow_survives_every_writer_that_can_hold_it(shared, tmp_path, name):
    path = shared / "data" / name
    flow, valid = fm.read_flow(path / "frame_0002.flo" if path.is_dir() else path)
    fm.write_flow(tmp_path / "a.flo", flow, valid)
    fm.write_flow(tmp_path / "a.png", flow, valid)
    for copy, step in (("a.flo", 0.0), ("a.png", 1 / 128)):
        again, again_valid = fm.read_flow(tmp_path / copy)
        assert np.array_equal(again_valid, valid) and np.abs(again - flow)[valid].max() <= step
    if valid.all():
        fm.write_flow(tmp_path / "a.pfm", flow)
        assert np.array_equal(fm.read_flow(tmp_path / "a.pfm")[0], flow)


def test_real_pfm(shared):
    disparity = fm.read_pfm(shared / "data/pfm/A-0032-0006.pfm")
    assert disparity.shape == fm.flow_size(shared / "data/pfm/A-0032-0006.pfm") == (540, 960)
    assert disparity.min() > 0 and disparity.max() < 960  # a disparity of a 960 pixel wide image
    # Rows the right way up: depth is smooth within an image, so are rows that are neighbours.
    assert np.median(np.abs(np.diff(disparity, axis=0))) < 1
    for weights in sorted((shared / "data/flyingchairs2_crop_io_only").glob("*.pfm")):
        values = fm.read_pfm(weights)
        assert values.shape == (50, 50) and (values >= 0).all()
        hidden = fm.read_mask(weights.with_name(weights.name.replace("occ_weights", "occ")).with_suffix(".png"))
        assert np.corrcoef(values.ravel() > 0, hidden.ravel())[0, 1] > 0.5  # upside down they would not agree


@pytest.mark.parametrize("scene", ["alley_1", "market_5"])
def test_real_masks_mark_what_does_not_match(shared, scene):
    """Hidden pixels cannot be found in image 2: the warp is off there, and not where they are in sight."""
    dataset = open_dataset(f"sintel:clean@{shared / 'data/sintel'}", "val", "x")
    pair = dataset.read([name.split("/")[0] for name in dataset.names].index(scene))
    assert pair.occluded is not None and 0 < pair.occluded.mean() < 0.5
    hidden = warp_error(pair.image1, pair.image2, pair.flow, pair.valid & pair.occluded)
    seen = warp_error(pair.image1, pair.image2, pair.flow, pair.valid & ~pair.occluded)
    assert seen < 0.5 * hidden
    assert not (pair.valid & fm.read_mask(dataset.samples[0 if scene == "alley_1" else 1].invalid or "")).any()


def test_every_other_real_file_is_read_or_refused_for_a_reason(shared):
    data = shared / "data"
    seen = 0
    for path in sorted(data.rglob("*.flo")):
        assert fm.read_flo(path)[0].shape[:2] == fm.flow_size(path)
        seen += 1
    for path in sorted(data.rglob("*.png")):
        seen += 1
        if path.name.startswith("flow_"):  # KITTI: 16 bits
            assert fm.image_form(path)[1] == "16 bits scaled to 8"
            assert fm.read_flow(path)[0].shape[:2] == fm.flow_size(path)
        elif path.parts[-3] in ("invalid", "occlusions"):
            assert "gray" in fm.image_form(path)[1]
            assert fm.read_mask(path).shape == fm.mask_size(path)
        else:
            assert fm.read_image(path).shape == (*fm.image_size(path), 3)
    assert seen > 40
