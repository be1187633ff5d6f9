"""Tiny data sets in the layouts of the real ones."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeflownas.data.formats import write_flo, write_flow

HEIGHT, WIDTH = 6, 8


def written(path: Path, image: NDArray[np.generic]) -> Path:
    """An image as it stands, in OpenCV's order of channels."""
    assert cv2.imwrite(str(path), image)
    return path


def picture(path: Path, channels: int = 3) -> Path:
    """A PNG or PPM whose content depends on its path's last parts."""
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(list("/".join(path.parts[-3:]).encode()))
    shape = (HEIGHT, WIDTH, channels) if channels > 1 else (HEIGHT, WIDTH)
    return written(path, random.integers(0, 256, shape, dtype=np.uint8))


def flow(path: Path, value: float = 1.0, valid: np.ndarray | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_flow(path, np.full((HEIGHT, WIDTH, 2), value, np.float32), valid)
    return path


def sintel(root: Path) -> Path:
    """Two scenes of three frames, two flows each, with masks."""
    for scene in ("alley_1", "market_5"):
        for number in (1, 2, 3):
            for look in ("clean", "final"):
                picture(root / "training" / look / scene / f"frame_{number:04d}.png")
            if number < 3:
                flow(root / "training" / "flow" / scene / f"frame_{number:04d}.flo")
                for mask in ("invalid", "occlusions"):
                    picture(root / "training" / mask / scene / f"frame_{number:04d}.png", 1)
    return root


def things(root: Path) -> Path:
    """One scene of three frames in each split: flows of all frames in both directions, as published."""
    for split in ("TRAIN", "TEST"):
        scene = f"{split}/A/0000"
        for side in ("left", "right"):
            for number in (6, 7, 8):
                for look in ("clean", "final"):
                    picture(root / f"frames_{look}pass" / scene / side / f"{number:04d}.png")
                for way in ("future", "past"):
                    name = f"OpticalFlowInto{way.title()}_{number:04d}_{side[0].upper()}.pfm"
                    flow(root / "optical_flow" / scene / f"into_{way}" / side / name, 1.0 if way == "future" else -1.0)
    return root


def chairs(root: Path, lines: str = "1\n2\n1\n") -> Path:
    for number in range(1, len(lines.split()) + 1):
        for part in ("img1.ppm", "img2.ppm"):
            picture(root / "data" / f"{number:05d}_{part}")
        flow(root / "data" / f"{number:05d}_flow.flo")
    (root / "FlyingChairs_train_val.txt").write_text(lines)
    return root


def kitti(root: Path, images: str) -> Path:
    """Two pairs; of the flow of all pixels a quarter is not known, and half of the rest is hidden."""
    valid = np.zeros((HEIGHT, WIDTH), np.bool_)
    valid[:, 2:] = True
    in_sight = valid.copy()
    in_sight[:, 5:] = False
    for name in ("000000", "000001"):
        for number in (10, 11):
            picture(root / "training" / images / f"{name}_{number}.png")
        flow(root / "training" / "flow_occ" / f"{name}_10.png", 2.0, valid)
        flow(root / "training" / "flow_noc" / f"{name}_10.png", 2.0, in_sight)
    return root


def hd1k(root: Path) -> Path:
    """Two sequences of three frames, each frame with a flow, the last one's leading nowhere."""
    for sequence in (0, 2):
        for number in range(3):
            picture(root / "hd1k_input" / "image_2" / f"{sequence:06d}_{number:04d}.png")
            flow(root / "hd1k_flow_gt" / "flow_occ" / f"{sequence:06d}_{number:04d}.png")
    return root


def middlebury(root: Path) -> Path:
    for name in ("Venus", "RubberWhale"):
        for number in (10, 11):
            picture(root / "other-data" / name / f"frame{number}.png")
        flow(root / "other-gt-flow" / name / "flow10.flo")
    picture(root / "other-data" / "Beanbags" / "frame10.png")  # a pair without a flow
    return root


def spring(root: Path) -> Path:
    """One scene of three frames; the flows are empty files, for h5py need not be there to list them."""
    scene = root / "train" / "0001"
    for side in ("left", "right"):
        for number in (1, 2, 3):
            picture(scene / f"frame_{side}" / f"frame_{side}_{number:04d}.png")
        for way, numbers in (("FW", (1, 2)), ("BW", (2, 3))):
            for number in numbers:
                path = scene / f"flow_{way}_{side}" / f"flow_{way}_{side}_{number:04d}.flo5"
                path.parent.mkdir(exist_ok=True)
                path.touch()
    return root


def index_lists(folder: Path, entries: list[str], train: str = "", val: str = "", test: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "FC2_dirnames.txt").write_text("".join(f"{entry}\n" for entry in entries))
    for split, lines in (("train", train), ("val", val), ("test", test)):
        (folder / f"FC2_{split}.txt").write_text("".join(f"{number}\n" for number in lines.split()))
    return folder


def fc2(folder: Path, names: list[str] | int, suffix: str = ".png") -> Path:
    """Samples of 12x17 in FlyingChairs2 layout (a count, or their names); the content depends on the name only."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in [f"{i:07d}" for i in range(names)] if isinstance(names, int) else names:
        random = np.random.default_rng(list(name.encode()))
        for part in ("img_0", "img_1"):
            written(folder / f"{name}-{part}{suffix}", random.integers(0, 256, (12, 17, 3), dtype=np.uint8))
        write_flo(folder / f"{name}-flow_01.flo", random.normal(0, 10, (12, 17, 2)).astype(np.float32))
    return folder
