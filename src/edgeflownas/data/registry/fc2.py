"""FlyingChairs2 and generated sets: the same layout, a folder for each split, or (FlyingChairs2) index lists."""

from __future__ import annotations

from dataclasses import replace

from edgeflownas.data.dataset import FlowDataset
from edgeflownas.data.fc2 import scan_fc2
from edgeflownas.data.fc2_index import open_index
from edgeflownas.data.registry.declaration import Declaration, Request
from edgeflownas.data.registry.files import Files
from edgeflownas.errors import DataError

__all__ = ["FC2", "GENERATED"]

_FOLDERS = "train/ and val/ with NNNNNNN-{img_0.png,img_1.png,flow_01.flo}"
_FC2 = f"{_FOLDERS}; for index-*: FC2_dirnames.txt and FC2_{{train,val,test}}.txt"
_PARTS = ("train", "val", "train-occ", "val-occ")


def _fc2(request: Request) -> FlowDataset:
    kind, _, split = request.variant.partition("-")
    if kind == "index":
        return open_index(request.lists, request.root, split, request.key)
    return _folder(request)


def _folder(request: Request) -> FlowDataset:
    """``val``, or ``val-occ``: the same pairs with the masks of hidden pixels (occ_01.png), which training ignores."""
    split, _, with_masks = request.variant.partition("-")
    found = scan_fc2(request.root / split, split, request.key)
    if not with_masks:
        return found
    files = Files(request, f"{_FOLDERS} and NNNNNNN-occ_01.png")
    samples = [
        replace(sample, occluded=files.need(found.directory / f"{sample.name}-occ_01.png")) for sample in found.samples
    ]
    return replace(found, split=request.variant, samples=files.checked(samples))


def _generated(request: Request) -> FlowDataset:
    found = _folder(request)
    if found.source != "generated":
        raise DataError(
            f"{request.key}: {request.spec}: {request.root} is no generated set (no dataset.json says so); "
            f"for other data of this layout write fc2:{request.variant}@{request.root}"
        )
    return found


FC2 = Declaration(
    "fc2",
    _FC2,
    (*_PARTS, "index-train", "index-val", "index-test"),
    _fc2,
    train="train",
    val="val",
    has_lists=True,
)
GENERATED = Declaration("generated", f"{_FOLDERS}, and dataset.json", _PARTS, _generated, train="train", val="val")
