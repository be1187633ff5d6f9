"""Every declared data set finds its samples in its layout, pairs the right files, and says what is missing."""

import shutil

import cv2
import layouts
import numpy as np
import pytest

from edgeflownas.data.check import check_dataset, fingerprint, look_through
from edgeflownas.data.formats import read_mask
from edgeflownas.data.sets import DATASETS, open_dataset
from edgeflownas.errors import DataError


def opened(spec, root, split="val"):
    dataset = open_dataset(f"{spec}@{root}", split, "--data")
    if not spec.startswith("spring"):
        assert check_dataset(dataset, full=True) == []
        dataset.read(0)
    assert len(set(dataset.names)) == len(dataset) and list(dataset.names) == sorted(dataset.names)
    return dataset


def files(dataset, parts=1):
    """The last parts of the paths of every sample."""
    return [["/".join(path.parts[-parts:]) for path in sample.files] for sample in dataset.samples]


def refused(spec, root, said):
    with pytest.raises(DataError, match=said) as caught:
        open_dataset(f"{spec}@{root}", "val", "--data")
    assert str(root) in str(caught.value)


def test_sintel(tmp_path):
    root = layouts.sintel(tmp_path)
    clean, final, both = (opened(f"sintel:{look}", root) for look in ("clean", "final", "both"))
    assert clean.names == final.names == tuple(f"{s}/frame_000{n}" for s in ("alley_1", "market_5") for n in (1, 2))
    assert len(both) == 8 and both.names[0] == "clean/alley_1/frame_0001"
    ends = ("final/{}3.png", "flow/{}2.flo", "invalid/{}2.png", "occlusions/{}2.png")
    assert files(final, 3)[1] == [end.format("alley_1/frame_000") for end in ("final/{}2.png", *ends)]
    sample, pair = final.samples[1], final.read(1)
    assert sample.invalid is not None and sample.occluded is not None and pair.occluded is not None
    assert np.array_equal(pair.valid, ~read_mask(sample.invalid)) and (pair.flow[~pair.valid] == 0).all()
    assert np.array_equal(pair.occluded, read_mask(sample.occluded))
    assert len({fingerprint(each).label for each in (clean, final, both)}) == 3
    inside = open_dataset(f"sintel:clean@{root / 'training'}", "val", "--data")
    assert fingerprint(inside).label == fingerprint(clean).label  # the same set, named from one folder further down
    for masks in ("invalid", "occlusions"):
        shutil.rmtree(root / "training" / masks)
    bare = opened("sintel:clean", root).read(0)
    assert bare.valid.all() and bare.occluded is None


@pytest.mark.parametrize(
    "lines", ["market_5\n", "# held out\n/old/clean/market_5/frame_0001.png x y\nmarket_5/frame_0002\n"]
)
def test_a_list_parts_sintel(tmp_path, lines):
    root = layouts.sintel(tmp_path)
    refused("sintel:clean-val", root, "Sintel_val.txt: no such file; it is the scenes")
    (root / "Sintel_val.txt").write_text(lines)
    train, val = (opened(f"sintel:clean-{part}", root) for part in ("train", "val"))
    assert val.names == ("market_5/frame_0001", "market_5/frame_0002") and val.source == "index"
    assert train.names == ("alley_1/frame_0001", "alley_1/frame_0002")
    assert fingerprint(val).label.startswith("sintel/index:clean-val/2/")


def test_flying_things3d(tmp_path):
    root = layouts.things(tmp_path)
    assert len(opened("flying_things3d:clean-train", root)) == 8  # two pairs of three frames, two ways, two cameras
    assert len(opened("flying_things3d:both-train-left", root)) == 8
    future = opened("flying_things3d:final-test-future-left", root)
    assert [row[:2] for row in files(future, 3)] == [
        [f"0000/left/000{n}.png", f"0000/left/000{n + 1}.png"] for n in (6, 7)
    ]
    assert all("frames_finalpass/TEST" in str(sample.image1) for sample in future.samples)
    past = opened("flying_things3d:clean-train-past-right", root)
    assert files(past) == [[f"000{n}.png", f"000{n - 1}.png", f"OpticalFlowIntoPast_000{n}_R.pfm"] for n in (7, 8)]
    assert past.read(0).flow[0, 0].tolist() == [-1.0, -1.0] and not past.note
    (root / "all_unused_files.txt").write_text("TRAIN/A/0000/left/0006.png\nTRAIN/B/0001/left/0006.png\n")
    kept = opened("flying_things3d:clean-train", root)
    assert len(kept) == 6 and kept.note == "2 samples left out by all_unused_files.txt"
    (root / "frames_cleanpass/TRAIN/A/0000/right/0007.png").unlink()
    refused("flying_things3d:clean-train", root, r"1 files are missing below (.*\n)+.*right/0007.png")


def test_flying_chairs(tmp_path):
    root = layouts.chairs(tmp_path)
    assert opened("flying_chairs:train", root).names == ("00001", "00003")
    assert opened("flying_chairs", root).names == ("00002",)  # a bare name means the split it is asked for
    assert opened("flying_chairs", root, "train").names == ("00001", "00003")
    assert fingerprint(opened("flying_chairs:all", root)).label.startswith("flying_chairs/index:all/3/")
    for content, said in (
        ("1\n3\n1\n", r"FlyingChairs_train_val.txt:2: '3', expected 1 \(train\) or 2"),
        ("1\n2\n", "has 2 lines, but .* holds sample 00003"),
        ("1\n2\n1\n2\n", "3 files are missing"),
        ("1\n1\n1\n", "no samples"),
    ):
        (root / "FlyingChairs_train_val.txt").write_text(content)
        refused("flying_chairs:val", root, said)


@pytest.mark.parametrize(("name", "images"), [("kitti2012", "colored_0"), ("kitti2015", "image_2")])
def test_kitti(tmp_path, name, images):
    root = layouts.kitti(tmp_path, images)
    everything, in_sight = opened(f"{name}:occ", root), opened(f"{name}:noc", root)
    pair = everything.read(1)
    assert pair.valid[0].tolist() == [False, False, True, True, True, True, True, True]
    assert pair.occluded is not None
    assert pair.occluded[0].tolist() == [False, False, False, False, False, True, True, True]
    assert pair.flow[0, :3].tolist() == [[0, 0], [0, 0], [2, 2]]
    assert in_sight.read(1).valid.sum() == 3 * layouts.HEIGHT and in_sight.read(1).occluded is None
    assert files(everything)[1][:2] == ["000001_10.png", "000001_11.png"]
    assert fingerprint(everything).label.startswith(f"{name}/folder:occ/2/")


def test_hd1k(tmp_path):
    root = layouts.hd1k(tmp_path)
    dataset = opened("hd1k", root)
    assert dataset.names == ("000000_0000", "000000_0001", "000002_0000", "000002_0001")
    assert dataset.samples[1].image2.name == "000000_0002.png"
    (root / "hd1k_input/image_2/000002_0001.png").unlink()
    refused("hd1k", root, "1 files are missing")


def test_middlebury(tmp_path):
    apart = opened("middlebury", layouts.middlebury(tmp_path / "apart"))
    assert apart.names == ("RubberWhale", "Venus")
    together = tmp_path / "together"
    for name in apart.names:
        shutil.copytree(tmp_path / "apart" / "other-data" / name, together / name)
        shutil.copy(tmp_path / "apart" / "other-gt-flow" / name / "flow10.flo", together / name)
    assert opened("middlebury", together).names == apart.names


def test_spring(tmp_path):
    root = layouts.spring(tmp_path)
    assert files(opened("spring", root)) == [
        [f"frame_left_000{n}.png", f"frame_left_000{n + 1}.png", f"flow_FW_left_000{n}.flo5"] for n in (1, 2)
    ]
    assert files(opened("spring:right-backward", root)) == [
        [f"frame_right_000{n}.png", f"frame_right_000{n - 1}.png", f"flow_BW_right_000{n}.flo5"] for n in (2, 3)
    ]
    assert [len(opened(f"spring:{v}", root)) for v in ("all", "all-forward", "all-backward")] == [8, 4, 4]


@pytest.mark.parametrize(
    ("name", "make"), [("sintel", layouts.sintel), ("flying_things3d", layouts.things), ("spring", layouts.spring)]
)
def test_every_declared_variant_opens(tmp_path, name, make):
    """No variant is a name only: each gives samples, and no two of a set give the same ones."""
    root = make(tmp_path)
    (root / "Sintel_val.txt").write_text("market_5\n")
    sets = [open_dataset(f"{name}:{variant}@{root}", "val", "x") for variant in DATASETS[name].variants]
    found = [tuple(path for sample in dataset.samples for path in sample.files) for dataset in sets]
    assert all(found) and len(set(found)) == len(found)


SETS = {
    "sintel": (layouts.sintel, "training"),
    "flying_things3d": (layouts.things, "frames_cleanpass"),
    "kitti2012": (lambda root: layouts.kitti(root, "colored_0"), "training/colored_0"),
    "kitti2015": (lambda root: layouts.kitti(root, "image_2"), "training/image_2"),
    "hd1k": (layouts.hd1k, "hd1k_input"),
    "middlebury": (layouts.middlebury, "other-data"),
    "flying_chairs": (layouts.chairs, "data"),
    "fc2": (lambda root: layouts.make_folder(root / "val", 2).parent, "val"),
}


@pytest.mark.parametrize("form", ["gray", "alpha", "sixteen"])
@pytest.mark.parametrize("name", SETS)
def test_every_set_is_read_with_gray_alpha_and_sixteen_bits(tmp_path, name, form):
    make, folder = SETS[name]
    root = make(tmp_path / "set")
    for path in (root / folder).rglob("*.p[np][gm]"):
        image = cv2.imread(str(path))
        made = {"gray": image[..., 0], "alpha": np.dstack([image, image[..., :1]]), "sixteen": image.astype("u2") * 257}
        if path.suffix == ".ppm" and form == "gray":  # OpenCV writes it as RGB
            path.write_bytes(b"P5 %d %d 255\n" % image.shape[1::-1] + made["gray"].tobytes())
        elif path.parent.parent.name not in ("invalid", "occlusions") and (path.suffix, form) != (".ppm", "alpha"):
            layouts.written(path, made[form])
    dataset = opened(name, root)
    pair = dataset.read(0)
    assert pair.image1.shape[2] == 3 and pair.image1.dtype == np.uint8
    found = look_through(dataset, full=True)
    assert not found.problems
    if not (name == "flying_chairs" and form == "alpha"):
        (words,) = found.converted
        assert {"gray": "gray repeated", "alpha": "alpha", "sixteen": "16 bits"}[form] in words
        assert any(words in note for note in found.notes)
    if form == "gray":
        assert (pair.image1[..., 0] == pair.image1[..., 2]).all()


@pytest.mark.parametrize("name", ["sintel", "flying_things3d", "middlebury", "spring"])
def test_stray_files_among_folders_are_passed_over(tmp_path, name):
    root = {**SETS, "spring": (layouts.spring, "")}[name][0](tmp_path / "set")
    before = opened(name, root).names
    for folder in [path for path in root.rglob("*") if path.is_dir()] + [root]:
        for stray in ("Thumbs.db", "desktop.ini", "README.txt", "flow.zip", "0009", "A"):
            (folder / stray).exists() or (folder / stray).touch()
    assert opened(name, root).names == before


def test_lists_made_on_windows(tmp_path):
    root = layouts.sintel(tmp_path / "sintel")
    (root / "Sintel_val.txt").write_text("market_5\\frame_0001.png\r\n", newline="")
    assert opened("sintel:clean-val", root).names == ("market_5/frame_0001",)
    root = layouts.things(tmp_path / "things")
    (root / "all_unused_files.txt").write_text("TRAIN\\A\\0000\\left\\0006.png\n")
    assert "1 samples left out" in opened("flying_things3d:clean-train-future-left", root).note


@pytest.mark.parametrize("name", sorted(set(DATASETS) - {"flying_chairs"}))
def test_an_empty_folder_is_named_with_what_it_must_hold(tmp_path, name):
    refused(name, tmp_path, "--data")
