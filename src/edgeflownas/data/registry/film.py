"""Sets of films: Sintel, Spring, FlyingThings3D, HD1K.  A sample is a frame, its neighbour in time and the flow."""

from __future__ import annotations

from pathlib import Path

from edgeflownas.data.dataset import FlowDataset, Sample, Source
from edgeflownas.data.lists import read_lines
from edgeflownas.data.registry.declaration import Declaration, Request
from edgeflownas.data.registry.files import Files
from edgeflownas.errors import DataError

__all__ = ["FLYING_THINGS3D", "HD1K", "SINTEL", "SPRING"]

_SINTEL = "training/{clean,final,flow}/SCENE/frame_NNNN.{png,flo} (and invalid/, occlusions/)"
_SINTEL_LIST = "Sintel_val.txt"
_THINGS = "frames_cleanpass/ or frames_finalpass/, and optical_flow/, each with {TRAIN,TEST}/{A,B,C}/NNNN"
_THINGS_FLOW = r"OpticalFlowInto%s_(\d{4})_[LR]\.pfm"
_EXCLUDED = "all_unused_files.txt"
_SPRING = "train/NNNN/{frame,flow_FW,flow_BW}_{left,right}"
_HD1K = "hd1k_input/image_2 and hd1k_flow_gt/flow_occ"


def _sintel(request: Request) -> FlowDataset:
    look, _, part = request.variant.partition("-")
    looks = ("clean", "final") if look == "both" else (look,)
    training = request.root / "training" if (request.root / "training").is_dir() else request.root
    files = Files(request, _SINTEL)
    held_out = _held_out(request) if part else frozenset()
    samples = []
    for scene in files.matching(training / "flow", r"[^.].*"):
        for match in files.matching(training / "flow" / scene[0], r"frame_(\d{4})\.flo"):
            name = f"{scene[0]}/frame_{match[1]}"
            if part and (bool({name, scene[0]} & held_out) != (part == "val")):
                continue
            masks = [_mask(files, training / kind, f"{name}.png") for kind in ("invalid", "occlusions")]
            for pass_ in looks:
                images = [
                    files.need(training / pass_ / scene[0] / f"frame_{number:04d}.png")
                    for number in (int(match[1]), int(match[1]) + 1)
                ]
                label = f"{pass_}/{name}" if look == "both" else name
                flow = training / "flow" / scene[0] / match[0]
                samples.append(Sample(label, images[0], images[1], flow, masks[0], masks[1]))
    note = f"{part} part by {request.lists / _SINTEL_LIST}" if part else ""
    source: Source = "index" if part else "folder"
    return FlowDataset(training, request.variant, source, files.checked(samples), name="sintel", note=note)


def _held_out(request: Request) -> frozenset[str]:
    """Scenes and SCENE/frame_NNNN of the list; of a path its last two parts count, the suffix does not."""
    path = request.lists / _SINTEL_LIST
    lines = read_lines(path, "the scenes (or SCENE/frame_NNNN) that sintel:PASS-val holds and sintel:PASS-train lacks")
    words = [line.split()[0] for line in lines if line and not line.startswith("#")]
    if not words:
        raise DataError(f"{path}: is empty, expected scenes or SCENE/frame_NNNN, one a line")
    return frozenset("/".join(Path(word).with_suffix("").parts[-2:]) for word in words)


def _mask(files: Files, folder: Path, name: str) -> Path | None:
    """A mask, None where the set was unpacked without that folder."""
    return files.need(folder / name) if folder.is_dir() else None


def _things(request: Request) -> FlowDataset:
    words = request.variant.split("-")
    looks = [look for look in ("clean", "final") if words[0] in (look, "both")]
    split = words[1].upper()
    directions = [way for way in ("future", "past") if way in words or not {"future", "past"} & set(words)]
    sides = [side for side in ("left", "right") if side in words or not {"left", "right"} & set(words)]
    files = Files(request, _THINGS)
    excluded = _excluded(request)
    samples: list[Sample] = []
    dropped = 0
    top = request.root / "optical_flow" / split
    for letter in files.matching(top, "[A-Z]"):
        for scene in files.matching(top / letter[0], r"\d{4}"):
            for way in directions:
                for side in sides:
                    place = (f"{split}/{letter[0]}/{scene[0]}", way, side)
                    found = _things_scene(request, files, place, looks)
                    kept = [sample for sample in found if not excluded & _frames(sample)]
                    dropped += len(found) - len(kept)
                    samples += kept
    note = f"{dropped} samples left out by {_EXCLUDED}" if excluded else ""
    return FlowDataset(
        request.root, request.variant, "folder", files.checked(samples), name="flying_things3d", note=note
    )


def _things_scene(request: Request, files: Files, place: tuple[str, str, str], looks: list[str]) -> list[Sample]:
    """The samples of one scene, direction and camera."""
    scene, way, side = place
    folder = request.root / "optical_flow" / scene / f"into_{way}" / side
    step = 1 if way == "future" else -1
    found = []
    flows = {int(match[1]): match for match in files.matching(folder, _THINGS_FLOW % way.title())}
    for number, match in flows.items():
        numbers = number, number + step
        for look in looks:
            frames = request.root / f"frames_{look}pass" / scene / side
            if numbers[1] not in flows and not files.has(frames / f"{numbers[1]:04d}.png"):
                continue  # the first frame has no past and the last no future, though flows of them were published
            images = [files.need(frames / f"{each:04d}.png") for each in numbers]
            label = f"{scene}/{way}/{side}/{match[1]}"
            found.append(
                Sample(f"{look}/{label}" if len(looks) > 1 else label, images[0], images[1], folder / match[0])
            )
    return found


def _excluded(request: Request) -> frozenset[str]:
    """Images of the authors' list of unusable ones (TRAIN/A/0004/left/0012.png), where the list is there."""
    path = request.lists / _EXCLUDED
    if not path.exists():
        return frozenset()
    lines = read_lines(path, "the authors' list of unusable images, one a line")
    return frozenset("/".join(Path(line).with_suffix("").parts[-5:]) for line in lines if line)


def _frames(sample: Sample) -> set[str]:
    return {"/".join(path.with_suffix("").parts[-5:]) for path in (sample.image1, sample.image2)}


def _spring(request: Request) -> FlowDataset:
    words = request.variant.split("-")
    sides = [side for side in ("left", "right") if words[0] in (side, "all")]
    ways = {"forward": ("FW",), "backward": ("BW",)}.get(words[-1], ("FW", "BW") if words[0] == "all" else ("FW",))
    files = Files(request, _SPRING)
    top = request.root / "train"
    samples = []
    for scene in files.matching(top, r"\d{4}"):
        for side in sides:
            for way in ways:
                folder = top / scene[0] / f"flow_{way}_{side}"
                for match in files.matching(folder, rf"flow_{way}_{side}_(\d{{4}})\.flo5"):
                    numbers = int(match[1]), int(match[1]) + (1 if way == "FW" else -1)
                    frames = top / scene[0] / f"frame_{side}"
                    images = [files.need(frames / f"frame_{side}_{number:04d}.png") for number in numbers]
                    samples.append(
                        Sample(f"{scene[0]}/{way}/{side}/{match[1]}", images[0], images[1], folder / match[0])
                    )
    return FlowDataset(request.root, request.variant, "folder", files.checked(samples), name="spring")


def _hd1k(request: Request) -> FlowDataset:
    files = Files(request, _HD1K)
    frames = request.root / "hd1k_input" / "image_2"
    flows = request.root / "hd1k_flow_gt" / "flow_occ"
    samples = []
    for match in files.matching(flows, r"(\d{6})_(\d{4})\.png"):
        following = f"{match[1]}_{int(match[2]) + 1:04d}.png"
        if not files.has(frames / following) and not files.has(flows / following):
            continue  # the last frame of a sequence has a flow, but nothing to go to
        images = (files.need(frames / match[0]), files.need(frames / following))
        samples.append(Sample(f"{match[1]}_{match[2]}", images[0], images[1], flows / match[0]))
    return FlowDataset(request.root, request.variant, "folder", files.checked(samples), name="hd1k")


SINTEL = Declaration(
    "sintel",
    _SINTEL,
    tuple(f"{look}{part}" for look in ("clean", "final", "both") for part in ("", "-train", "-val")),
    _sintel,
    train="clean",
    val="clean",
    counted=("clean", "final", "both"),
    has_lists=True,
)
FLYING_THINGS3D = Declaration(
    "flying_things3d",
    _THINGS,
    tuple(
        f"{look}-{split}{way}{side}"
        for look in ("clean", "final", "both")
        for split in ("train", "test")
        for way in ("", "-future", "-past")
        for side in ("", "-left", "-right")
    ),
    _things,
    train="clean-train",
    val="clean-test",
    counted=("clean-train", "clean-test", "final-train", "final-test"),
    has_lists=True,
)
SPRING = Declaration(
    "spring",
    _SPRING,
    ("left", "right", "left-backward", "right-backward", "all", "all-forward", "all-backward"),
    _spring,
    train="left",
    val="left",
    counted=("left", "right", "all"),
)
HD1K = Declaration("hd1k", _HD1K, ("all",), _hd1k, train="all", val="all")
