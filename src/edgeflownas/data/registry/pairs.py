"""Sets of single pairs: FlyingChairs, KITTI 2012 and 2015, Middlebury."""

from __future__ import annotations

import functools

from edgeflownas.data.dataset import FlowDataset, Sample
from edgeflownas.data.lists import read_lines
from edgeflownas.data.registry.declaration import Declaration, Request
from edgeflownas.data.registry.files import Files
from edgeflownas.errors import DataError

__all__ = ["FLYING_CHAIRS", "KITTI2012", "KITTI2015", "MIDDLEBURY"]

_CHAIRS = "data/NNNNN_{img1.ppm,img2.ppm,flow.flo} and FlyingChairs_train_val.txt"
_CHAIRS_LIST = "FlyingChairs_train_val.txt"
_KITTI = "training/{%s,flow_occ,flow_noc} with NNNNNN_10.png (and NNNNNN_11.png)"
_COLOUR = {"kitti2012": "colored_0", "kitti2015": "image_2"}
_MIDDLEBURY = "other-data/NAME/frame{10,11}.png and other-gt-flow/NAME/flow10.flo, or all three in NAME/"


def _chairs(request: Request) -> FlowDataset:
    """Line i of the split file says of sample i whether it is for training (1) or validation (2)."""
    path = request.lists / _CHAIRS_LIST
    lines = read_lines(path, "the split file of FlyingChairs: a line for each sample, 1 (train) or 2 (val)")
    for number, line in enumerate(lines, start=1):
        if line not in ("1", "2"):
            raise DataError(f"{path}:{number}: {line[:20]!r}, expected 1 (train) or 2 (val)")
    files = Files(request, _CHAIRS)
    folder = request.root / "data"
    found = {int(match[1]) for match in files.matching(folder, r"(\d{5})_flow\.flo")}
    unlisted = sorted(found - set(range(1, len(lines) + 1)))
    if unlisted:
        raise DataError(
            f"{path}: has {len(lines)} lines, but {folder} holds sample {unlisted[0]:05d}: take the split file that "
            "belongs to these files"
        )
    wanted = {"train": ("1",), "val": ("2",), "all": ("1", "2")}[request.variant]
    samples = []
    for number in (number for number, line in enumerate(lines, start=1) if line in wanted):
        parts = [files.need(folder / f"{number:05d}_{part}") for part in ("img1.ppm", "img2.ppm", "flow.flo")]
        samples.append(Sample(f"{number:05d}", *parts))
    return FlowDataset(request.root, request.variant, "index", files.checked(samples), name="flying_chairs")


def _kitti(request: Request, images: str) -> FlowDataset:
    """``occ``: every pixel with a flow, with what is hidden known; ``noc``: the pixels that stay in sight alone."""
    files = Files(request, _KITTI % images)
    training = request.root / "training" if (request.root / "training").is_dir() else request.root
    flows = training / f"flow_{request.variant}"
    in_sight = training / "flow_noc"
    samples = []
    for match in files.matching(flows, r"(\d{6})_10\.png"):
        pair = [files.need(training / images / f"{match[1]}_{number}.png") for number in (10, 11)]
        mask = request.variant == "occ" and in_sight.is_dir()
        occluded = files.need(in_sight / match[0]) if mask else None
        samples.append(Sample(match[1], pair[0], pair[1], flows / match[0], occluded=occluded))
    return FlowDataset(training, request.variant, "folder", files.checked(samples), name=request.name)


def _middlebury(request: Request) -> FlowDataset:
    files = Files(request, _MIDDLEBURY)
    split = (request.root / "other-gt-flow").is_dir()
    flows, frames = (request.root / folder if split else request.root for folder in ("other-gt-flow", "other-data"))
    samples = []
    for match in files.matching(flows, r"[^.].*"):
        flow = flows / match[0] / "flow10.flo"
        if not files.has(flow):
            continue
        images = [files.need(frames / match[0] / f"frame{number}.png") for number in (10, 11)]
        samples.append(Sample(match[0], images[0], images[1], flow))
    return FlowDataset(request.root, request.variant, "folder", files.checked(samples), name="middlebury")


FLYING_CHAIRS = Declaration(
    "flying_chairs", _CHAIRS, ("train", "val", "all"), _chairs, train="train", val="val", has_lists=True
)
KITTI2012, KITTI2015 = (
    Declaration(name, _KITTI % images, ("occ", "noc"), functools.partial(_kitti, images=images), train="occ", val="occ")
    for name, images in _COLOUR.items()
)
MIDDLEBURY = Declaration("middlebury", _MIDDLEBURY, ("all",), _middlebury, train="all", val="all")
