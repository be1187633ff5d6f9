"""Tiny data sets in the layouts of the real ones."""

import os
import re
from itertools import product

import cv2
import numpy as np

from edgeflownas.data.formats import write_flo, write_flow

HEIGHT, WIDTH = 6, 8


def written(path, image):
    """An image as it stands, in OpenCV's order of channels."""
    assert cv2.imwrite(str(path), image)
    return path


def picture(path, channels=3):
    """A PNG or PPM whose content depends on its path's last parts."""
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(list("/".join(path.parts[-3:]).encode()))
    shape = (HEIGHT, WIDTH, channels) if channels > 1 else (HEIGHT, WIDTH)
    return written(path, random.integers(0, 256, shape, dtype=np.uint8))


def names(pattern):
    """Every path of a pattern with {several,alternatives}."""
    parts = [part.split(",") if i % 2 else [part] for i, part in enumerate(re.split(r"{(.*?)}", pattern))]
    return ["".join(chosen) for chosen in product(*parts)]


def pictures(root, pattern, channels=3):
    for name in names(pattern):
        picture(root / name, channels)


def flows(root, pattern, value=1.0, valid=None):
    for name in names(pattern):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        write_flow(root / name, np.full((HEIGHT, WIDTH, 2), value, np.float32), valid)


def sintel(root):
    """Two scenes of three frames, two flows each, with masks."""
    frames = "{alley_1,market_5}/frame_000"
    pictures(root, "training/{clean,final}/" + frames + "{1,2,3}.png")
    pictures(root, "training/{invalid,occlusions}/" + frames + "{1,2}.png", 1)
    flows(root, "training/flow/" + frames + "{1,2}.flo")
    return root


def things(root):
    """One scene of three frames in each split: flows of all frames in both directions, as published."""
    pictures(root, "frames_{clean,final}pass/{TRAIN,TEST}/A/0000/{left,right}/000{6,7,8}.png")
    for side, eye in (("left", "L"), ("right", "R")):
        for way, value in (("Future", 1.0), ("Past", -1.0)):
            folder = "optical_flow/{TRAIN,TEST}/A/0000/into_" + f"{way.lower()}/{side}"
            flows(root, f"{folder}/OpticalFlowInto{way}_000{{6,7,8}}_{eye}.pfm", value)
    return root


def chairs(root):
    pictures(root, "data/0000{1,2,3}_img{1,2}.ppm")
    flows(root, "data/0000{1,2,3}_flow.flo")
    (root / "FlyingChairs_train_val.txt").write_text("1\n2\n1\n")
    return root


def kitti(root, images):
    """Two pairs; of the flow of all pixels a quarter is not known, and half of the rest is hidden."""
    column = np.tile(np.arange(WIDTH), (HEIGHT, 1))
    pictures(root, f"training/{images}/00000{{0,1}}_{{10,11}}.png")
    flows(root, "training/flow_occ/00000{0,1}_10.png", 2.0, column >= 2)
    flows(root, "training/flow_noc/00000{0,1}_10.png", 2.0, (column >= 2) & (column < 5))
    return root


def hd1k(root):
    """Two sequences of three frames, each frame with a flow, the last one's leading nowhere."""
    pictures(root, "hd1k_input/image_2/00000{0,2}_000{0,1,2}.png")
    flows(root, "hd1k_flow_gt/flow_occ/00000{0,2}_000{0,1,2}.png")
    return root


def middlebury(root):
    pictures(root, "other-data/{Venus,RubberWhale}/frame{10,11}.png")
    flows(root, "other-gt-flow/{Venus,RubberWhale}/flow10.flo")
    pictures(root, "other-data/Beanbags/frame10.png")  # a pair without a flow
    return root


def spring(root):
    """One scene of three frames; the flows are empty files, for h5py need not be there to list them."""
    for side in ("left", "right"):
        pictures(root, f"train/0001/frame_{side}/frame_{side}_000{{1,2,3}}.png")
        for way, numbers in (("FW", "{1,2}"), ("BW", "{2,3}")):
            for name in names(f"train/0001/flow_{way}_{side}/flow_{way}_{side}_000{numbers}.flo5"):
                (root / name).parent.mkdir(exist_ok=True)
                (root / name).touch()
    return root


def index_lists(folder, entries, train="", val="", test=""):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "FC2_dirnames.txt").write_text("".join(f"{entry}\n" for entry in entries))
    for split, lines in (("train", train), ("val", val), ("test", test)):
        (folder / f"FC2_{split}.txt").write_text("".join(f"{number}\n" for number in lines.split()))
    return folder


def make_folder(folder, names, suffix=".png"):
    """Samples of 12x17 in FlyingChairs2 layout (a count, or their names); the content depends on the name only."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in [f"{i:07d}" for i in range(names)] if isinstance(names, int) else names:
        random = np.random.default_rng(list(name.encode()))
        for part in ("img_0", "img_1"):
            written(folder / f"{name}-{part}{suffix}", random.integers(0, 256, (12, 17, 3), dtype=np.uint8))
        write_flo(folder / f"{name}-flow_01.flo", random.normal(0, 10, (12, 17, 2)).astype(np.float32))
    return folder


def winding(rings, x, y):
    """Winding number by summed angles: another method than geometry.fill's."""
    total = 0.0
    for ring in rings:
        angle = np.arctan2(ring[:, 1] - y, ring[:, 0] - x)
        total += float(((np.roll(angle, -1) - angle + np.pi) % (2 * np.pi) - np.pi).sum())
    return total / (2 * np.pi)


def damage(path, position, bits=1):
    """Change one byte; size and time of modification stay."""
    state, content = path.stat(), bytearray(path.read_bytes())
    content[position] ^= bits
    path.write_bytes(content)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
