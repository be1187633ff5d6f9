"""A pair is what its flow says, in both directions; a set on disk is its pairs, however it was interrupted."""

import itertools
import json
import math
import os
from typing import Any

import cv2
import numpy as np
import pytest
from numeric import FLOAT32
from numpy.typing import NDArray

from edgeflownas.data.fc2 import scan_fc2
from edgeflownas.data.formats import read_flo
from edgeflownas.data.synthetic import generate, geometry
from edgeflownas.data.synthetic.generate import generate_dataset, generate_pair
from edgeflownas.data.synthetic.geometry import Draws
from edgeflownas.errors import ConfigError, DataError, StorageError

HEIGHT, WIDTH = 120, 160
PARTS = ("image1", "image2", "flow", "backward_flow", "occlusion", "backward_occlusion")
Float = NDArray[np.float32]


@pytest.fixture(scope="module")
def pairs():
    return [generate_pair(1, index, HEIGHT, WIDTH) for index in range(12)]


def sampled(image, flow):
    x, y = np.meshgrid(np.arange(flow.shape[1], dtype=np.float32), np.arange(flow.shape[0], dtype=np.float32))
    return np.asarray(cv2.remap(image.astype(np.float32), x + flow[..., 0], y + flow[..., 1], cv2.INTER_LINEAR))


def test_shapes_and_types(pairs):
    shapes = {"image": ((HEIGHT, WIDTH, 3), np.uint8), "flow": ((HEIGHT, WIDTH, 2), np.float32)}
    for pair, name in itertools.product(pairs, PARTS):
        array, kind = getattr(pair, name), name.removeprefix("backward_").rstrip("12")
        assert (array.shape, array.dtype) == shapes.get(kind, ((HEIGHT, WIDTH), np.bool_)) and np.isfinite(array).all()


def grid(step):
    return itertools.product(range(0, HEIGHT, step), range(0, WIDTH, step))


def test_image_sampled_along_the_flow_is_the_other_image(monkeypatch):
    monkeypatch.setattr(generate, "_photographed", lambda draws, *images: images)  # no light that changes, no noise
    warped, plain = [], []
    for pair in (generate_pair(1, index, HEIGHT, WIDTH) for index in range(12)):
        forward = (pair.image1, pair.image2, pair.flow, pair.occlusion)
        backward = (pair.image2, pair.image1, pair.backward_flow, pair.backward_occlusion)
        ways = [forward, backward]
        for here, there, flow, occluded in ways:
            error = np.abs(sampled(there, flow) - here).mean(axis=-1)
            assert error[~occluded].mean() < 4.0  # bilinear blur of sharp texture, and mixed pixels along edges
            warped.append(error[~occluded].mean())
            plain.append(np.abs(there.astype(float) - here).mean(axis=-1)[~occluded].mean())
    assert np.mean(warped) < 0.2 * np.mean(plain)


def alpha(layer, place, x, y):
    """Of a picture at the centre of a pixel, 0..255, bilinear; nothing beyond its rim."""
    column, row = geometry.apply(np.linalg.inv(place), np.array([[x, y]], dtype=float))[0]
    left, top = math.floor(column), math.floor(row)
    share, (rows, columns) = 0.0, layer.picture.shape[:2]
    for i, j in itertools.product((top, top + 1), (left, left + 1)):
        if 0 <= i < rows and 0 <= j < columns:
            share += (1 - abs(row - i)) * (1 - abs(column - j)) * float(layer.picture[i, j, 3])
    return share


def test_flow_is_the_motion_of_the_front_most_object_at_the_centre(pairs):
    clear = 0
    for index, pair in enumerate(pairs[:3]):
        background, *others = layers = generate._scene(1, index, Draws(1, index, 0), HEIGHT, WIDTH)
        for (y, x), second in itertools.product(grid(11), (False, True)):
            shares = [alpha(o, o.motion @ o.place if second else o.place, x, y) for o in others]
            if any(120 < share < 135 for share in shares):
                continue  # the centre lies on the edge itself
            front = [background, *(o for o, share in zip(others, shares, strict=True) if share > 127)][-1]
            motion, flow = (np.linalg.inv(front.motion), pair.backward_flow) if second else (front.motion, pair.flow)
            expected = geometry.apply(motion, np.array([[x, y]], dtype=float))[0] - (x, y)
            np.testing.assert_allclose(flow[y, x], expected, atol=FLOAT32 * np.abs(flow).max())
            clear += 1
        assert len(layers) > 2
    assert clear > 0.95 * 2 * 3 * len(list(grid(11)))


def test_forward_and_backward_flow_cancel_where_nothing_is_hidden(pairs):
    for pair in pairs:
        y, x = np.nonzero(~pair.occlusion)
        flow = pair.flow[y, x]
        row, column = np.rint(y + flow[:, 1]).astype(int), np.rint(x + flow[:, 0]).astype(int)
        # the backward flow is read at the nearest centre, up to 0.7 px away, where an affine flow differs a little
        assert np.abs(flow + pair.backward_flow[row, column]).max() < 0.5


def test_hidden_pixels_are_those_that_leave_or_are_covered(pairs):
    shares = []
    for pair in pairs:
        x, y = np.arange(WIDTH) + pair.flow[..., 0], np.arange(HEIGHT)[:, None] + pair.flow[..., 1]
        outside = (x < 0) | (x > WIDTH - 1) | (y < 0) | (y > HEIGHT - 1)
        assert pair.occlusion[outside].all()
        shares.append(pair.occlusion[~outside].mean())
    assert 0.005 < np.mean(shares) < 0.3


def test_neither_image_is_sharper():
    made = [generate_pair(2, index, 64, 96) for index in range(30)]
    images = np.array([(pair.image1, pair.image2) for pair in made], float)
    first, second = np.abs(np.diff(images, axis=3)).mean(axis=(0, 2, 3, 4))
    assert abs(first / second - 1) < 0.03


def test_a_pair_is_a_function_of_its_arguments(pairs):
    before = cv2.getNumThreads()
    cv2.setNumThreads(3)
    again = generate_pair(1, 4, HEIGHT, WIDTH)
    cv2.setNumThreads(before)
    for name in PARTS:
        np.testing.assert_array_equal(getattr(pairs[4], name), getattr(again, name))
    for seed, index in ((1, 5), (2, 4)):
        other = generate_pair(seed, index, HEIGHT, WIDTH)
        assert (other.image1 != again.image1).mean() > 0.5 and not np.array_equal(other.flow, again.flow)


def test_smallest_and_odd_sizes():
    for size in ((32, 32), (33, 201)):
        assert generate_pair(0, 0, *size).flow.shape == (*size, 2)
    for size in ((31, 64), (64, 5000)):
        with pytest.raises(ConfigError, match=rf"--size: {size[0]}x{size[1]} has a side outside 32\.\.4096"):
            generate_pair(0, 0, *size)


@pytest.mark.parametrize("motion", [0.1, 3.0, 40.0])
def test_a_texture_moves_as_one(motion):
    for index in range(4):
        pair = generate_pair(5, index, 96, 128, motion)
        furthest = np.abs(pair.flow).reshape(-1, 2).max(axis=0)
        assert (furthest <= 1.25 * motion + 1e-4).all() and np.ptp(pair.flow, axis=(0, 1)).max() < 0.5 * motion
        shown = ~pair.occlusion
        error, plain = (
            np.abs(there - pair.image1.astype(float))[shown].mean()
            for there in (sampled(pair.image2, pair.flow), pair.image2)
        )
        assert error < (1.5 if motion < 1 else min(3.0, 0.2 * plain))
        y, x = np.nonzero(shown)
        row, column = (np.rint(at + pair.flow[y, x, axis]).astype(int) for at, axis in ((y, 1), (x, 0)))
        assert np.abs(pair.flow[y, x] + pair.backward_flow[row, column]).max() < 0.01 * motion
    flows = np.array([generate_pair(5, index, 80, 80, motion).flow.mean(axis=(0, 1)) for index in range(60)])
    assert (np.abs(flows).max(axis=0) > 0.8 * motion).all() and np.abs(flows.mean(axis=0)).max() < 0.3 * motion


# --- a set on disk ---

SIZE: dict[str, Any] = {"height": 48, "width": 64}
WHOLE: dict[str, Any] = {**SIZE, "backward": True, "occlusion": True}


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("synth") / "new" / "set"
    stats = generate_dataset(out, 3, 2, 7, **WHOLE)
    assert (stats.written, stats.kept) == (5, 0)
    return out


def test_layout_and_metadata(made):
    parts = ("img_0.png", "img_1.png", "flow_01.flo", "flow_10.flo", "occ_01.png", "occ_10.png")
    names = {f"train/{i:07d}-{part}" for i in range(3) for part in parts}
    names |= {f"val/{5_000_000 + i:07d}-{part}" for i in range(2) for part in parts}
    assert set(contents(made)) == names | {"dataset.json"}
    described = json.loads((made / "dataset.json").read_text())
    asked = {"seed": 7, "train": 3, "val": 2, **SIZE, "generator": "edgeflownas data synth"}
    asked |= {"kind": "scenes", "motion": None, "version": generate.VERSION}
    assert described.items() >= (asked | {"generated": True, "complete": True}).items()
    assert described["statistics"]["samples"] == 5 and described["statistics"]["mean"] > 0


def test_files_hold_the_pair(made):
    for split, index in (("train", 2), ("val", 5_000_001)):
        pair = generate_pair(7, index, **SIZE)
        dataset = scan_fc2(made / split, split)
        read = dataset.read(len(dataset) - 1)
        assert dataset.source == "generated" and read.valid.all()
        for part in ("image1", "image2", "flow"):
            np.testing.assert_array_equal(getattr(read, part), getattr(pair, part))
        stem = str(made / split / f"{index:07d}")
        np.testing.assert_array_equal(read_flo(f"{stem}-flow_10.flo")[0], pair.backward_flow)
        for part, mask in (("occ_01", pair.occlusion), ("occ_10", pair.backward_occlusion)):
            stored = cv2.imread(f"{stem}-{part}.png", cv2.IMREAD_UNCHANGED)
            np.testing.assert_array_equal(stored, mask * np.uint8(255))


def test_statistics_are_those_of_the_files(made):
    flows = [read_flo(path)[0] for path in made.rglob("*flow_01.flo")]
    magnitude = np.concatenate([np.hypot(flow[..., 0], flow[..., 1]).ravel() for flow in flows])
    stored = json.loads((made / "dataset.json").read_text())["statistics"]
    assert stored["mean"] == pytest.approx(magnitude.mean(), rel=1e-5)
    assert stored["p99"] == pytest.approx(np.percentile(magnitude, 99), abs=0.05)


def test_workers_and_the_size_of_the_set_change_no_file(made, tmp_path):
    seen: list[tuple[int, int]] = []
    generate_dataset(tmp_path / "two", 3, 2, 7, **WHOLE, workers=2, progress=lambda *at: seen.append(at))
    assert contents(tmp_path / "two") == contents(made) and seen == [(done, 5) for done in range(1, 6)]
    generate_dataset(tmp_path / "less", 1, 1, 7, **SIZE)
    fewer = contents(tmp_path / "less")
    del fewer["dataset.json"]
    assert fewer.items() <= contents(made).items() and len(fewer) == 6


def test_goes_on_where_it_stopped(tmp_path):
    out = tmp_path / "set"
    generate_dataset(out, 4, 0, 1, **SIZE)
    whole = contents(out)
    assert not (out / "val").exists()
    (out / "train" / "0000001-flow_01.flo").unlink()
    os.truncate(out / "train" / "0000002-img_1.png", 200)
    os.truncate(out / "train" / "0000003-flow_01.flo", 200)
    for torn in (".abc.tmp", ".tmp-0000001-flow_01.flo-0123abcd"):
        (out / "train" / torn).write_bytes(b"torn")
    kept = os.stat(out / "train" / "0000000-img_0.png").st_mtime_ns
    stats = generate_dataset(out, 4, 0, 1, **SIZE)
    assert (stats.written, stats.kept) == (3, 1) and contents(out) == whole
    assert os.stat(out / "train" / "0000000-img_0.png").st_mtime_ns == kept


def test_an_interrupted_set_says_so(tmp_path):
    def stop(done, _total):
        if done == 2:
            raise KeyboardInterrupt

    for workers in (1, 2):
        out = tmp_path / str(workers)
        with pytest.raises(KeyboardInterrupt):
            generate_dataset(out, 6, 0, 1, **SIZE, workers=workers, progress=stop)
        assert json.loads((out / "dataset.json").read_text())["complete"] is False
        assert generate_dataset(out, 6, 0, 1, **SIZE).kept >= 2
        assert json.loads((out / "dataset.json").read_text())["complete"] is True
    assert contents(tmp_path / "1") == contents(tmp_path / "2")


@pytest.mark.parametrize(
    "change",
    [
        *({"train": 4}, {"val": 1}, {"seed": 8}, {"height": 64}, {"backward": False}, {"occlusion": False}),
        *({"version": 9}, {"motion": 3.0}),
    ],
)
def test_another_set_is_refused_and_left_alone(made, change, monkeypatch):
    before = contents(made)
    asked = {"train": 3, "val": 2, "seed": 7, **WHOLE, **change}
    monkeypatch.setattr(generate, "VERSION", asked.pop("version", generate.VERSION))
    ((key, value),) = change.items()
    with pytest.raises(DataError, match=rf"(?s)another generated set.*{key}: .*asked for {value}") as caught:
        generate_dataset(made, **asked)
    assert len([line for line in str(caught.value).splitlines() if "asked for" in line]) == (
        2 if key == "motion" else 1
    )
    assert contents(made) == before


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("photo.jpg", "x", "not empty and holds no generated set"),
        ("dataset.json", "{", "not a readable JSON document"),
        ("dataset.json", "[]", "was not generated"),
        ("dataset.json", '{"generated": false}', "was not generated"),
    ],
)
def test_foreign_folders_are_refused(tmp_path, name, text, expected):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=expected):
        generate_dataset(tmp_path, 1, 1, 1, **SIZE)
    assert contents(tmp_path) == {name: text.encode()}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"train": -1}, "--train: -1"),
        ({"val": 6_000_000}, "--val: 6000000"),
        ({"train": 0, "val": 0}, "--train and --val are both 0"),
        ({"workers": 0}, "--workers"),
        ({"height": 10}, "--size: 10x64"),
        ({"motion": 0.0}, r"--motion: 0 is outside 0\.1\.\.24 .half the shorter side of 48x64"),
        ({"motion": 24.5}, "--motion: 24.5"),
        ({"motion": float("nan")}, "--motion: nan"),
    ],
)
def test_impossible_requests(tmp_path, change, expected):
    with pytest.raises(ConfigError, match=expected):
        generate_dataset(tmp_path / "set", **{"train": 1, "val": 1, "seed": 1, **SIZE, **change})
    assert not (tmp_path / "set").exists()
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="--out"):
        generate_dataset(tmp_path / "file" / "set", 1, 1, 1, **SIZE)


@pytest.mark.slow
def test_motions_at_half_size_are_those_of_flyingchairs(tmp_path):
    flow = generate_dataset(tmp_path / "set", 256, 0, 11, 192, 256).flow
    assert 4 < flow.mean < 6.5 and 2 < flow.median < 3.5 and 10 < flow.p90 < 16 and 28 < flow.p99 < 45
