"""Data sets by name, ``NAME[:VARIANT][@ROOT]``, or by a folder in FlyingChairs2 layout; and which this machine has.

How the named ones are laid out below a root is a :class:`Layout` each.  Only names are looked at to find their
samples; no file of a sample is opened.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path, PurePosixPath
from string import Formatter
from typing import Any, NamedTuple

from edgeflownas.config.keys import nearest
from edgeflownas.config.load import read_yaml
from edgeflownas.data.dataset import FlowDataset, Sample
from edgeflownas.data.fc2 import find_samples, open_index, scan_fc2
from edgeflownas.errors import BadSample, ConfigError, DataError, StorageError
from edgeflownas.files import first_of, read_lines

Words = Mapping[str, tuple[str, ...]]
Bound = dict[str, str]

_NUMBER = r"\d{4}"
_CHAIRS_LIST = "FlyingChairs_train_val.txt"


@dataclass
class Opening:
    """One opening of a data set: what is asked for, and the names below its root, each folder listed once."""

    layout: Layout
    variant: str
    words: Words  # what the words of the layout's patterns stand for in this variant
    root: Path
    lists: Path  # folder of its list files (FC2_*.txt, Sintel_val.txt, ...): the root unless another was named
    key: str  # configuration key or option that asked for it, for messages

    def __post_init__(self) -> None:
        self.what = f"{self.key}: {self.layout.name}:{self.variant}"  # the beginning of a message
        self.must = f"must hold {self.layout.holds}"  # the end of one
        inside = self.root / self.layout.inside
        self.base = inside if inside.is_dir() else self.root
        self._listed: dict[str, frozenset[str]] = {}
        self._missing: dict[str, None] = {}

    def matching(self, folder: str, pattern: str) -> list[re.Match[str]]:
        """The names in a folder below the base that match as a whole, sorted.  Raises DataError, StorageError."""
        if not (self.base / folder).is_dir():
            raise DataError(f"{self.what}: no folder {self.base / folder}; the root {self.root} {self.must}")
        return [match for name in sorted(self._names(folder)) if (match := re.fullmatch(pattern, name))]

    def has(self, file: str) -> bool:
        """Whether there is a file of that name below the base."""
        folder, _, name = file.rpartition("/")
        return name in self._names(folder)

    def need(self, file: str) -> Path:
        """The path of a file below the base; noted as missing where it is not there."""
        if not self.has(file):
            self._missing[file] = None  # a frame of two samples is missing once
        return self.base / file

    def _names(self, folder: str) -> frozenset[str]:
        if folder not in self._listed:
            try:
                self._listed[folder] = frozenset(os.listdir(self.base / folder))
            except (FileNotFoundError, NotADirectoryError):
                self._listed[folder] = frozenset()
            except OSError as error:
                raise StorageError(f"{self.key}: {self.base / folder} cannot be listed: {error.strerror}") from error
        return self._listed[folder]

    def complete(self, samples: Sequence[Sample]) -> tuple[Sample, ...]:
        """The samples in the order of their names.  Raises DataError: there is none, or files of them are missing."""
        if missing := [self.base / file for file in self._missing]:
            found = f"{len(missing)} files are missing below {self.root}:{first_of(missing)}"
            raise DataError(f"{self.what}: {found}\nCopy them; the root {self.must}")
        if not samples:
            raise DataError(f"{self.what}: no samples below {self.root}; it {self.must}")
        return tuple(sorted(samples, key=lambda sample: sample.name))


def _by_patterns(opening: Opening, wanted: Callable[[Bound], bool] = lambda bound: True) -> FlowDataset:
    """A sample for each flow file that fits the layout and is ``wanted``."""
    layout = opening.layout
    folders = {part: opening.base / pattern.partition("/")[0] for part, pattern in layout.files.items()}
    there = [part for part, folder in folders.items() if part == "image" or folder.is_dir()]  # masks may be left out
    samples = [
        _sample(opening, flow, bound, there)
        for flow, found in _flows(opening, "", layout.flow.split("/"), {})
        if wanted(found)
        for bound in _choices(opening.words, found, opening.words)
    ]
    complete = opening.complete([sample for sample in samples if sample is not None])
    return FlowDataset(opening.base, opening.variant, "folder", complete, name=layout.name)


def _sample(opening: Opening, flow: str, bound: Bound, parts: Sequence[str]) -> Sample | None:
    """The files that belong to a flow; None at the end of a sequence, where it leads to nothing."""
    layout = opening.layout
    step = -1 if bound.get("way") in ("past", "BW") else 1
    following = {**bound, "n": f"{int(bound['n']) + step:0{len(bound['n'])}d}"}
    second = layout.files["image"].format(**following)
    if layout.ends_open and not opening.has(second) and not opening.has(layout.flow.format(**following)):
        return None
    paths: dict[str, Path] = {}
    for part in parts:
        file = layout.files[part].format(**bound)
        if part == "image":
            paths["image1"], paths["image2"] = opening.need(file), opening.need(second)
        elif file != flow:
            paths[part] = opening.need(file)
    name = layout.sample.format(**bound)
    several = len(opening.words.get("look", ())) > 1
    return Sample(f"{bound['look']}/{name}" if several else name, flow=opening.base / flow, **paths)


def _flows(opening: Opening, folder: str, parts: Sequence[str], bound: Bound) -> Iterator[tuple[str, Bound]]:
    """The flow files below a folder whose paths fit a pattern, and what its words stand for there."""
    part, *rest = parts
    pieces = [(re.escape(text), word) for text, word, _, _ in Formatter().parse(part)]
    for known in _choices(opening.words, bound, [word for _, word in pieces]):
        if all(word is None or word in known for _, word in pieces):
            found = [(part.format(**known), known)]
        else:
            groups = {word: f"(?P<{word}>{opening.layout.free.get(word, _NUMBER)})" for _, word in pieces if word}
            groups |= {word: re.escape(value) for word, value in known.items()}
            pattern = "".join(text + (groups[word] if word else "") for text, word in pieces)
            found = [(match[0], {**known, **match.groupdict()}) for match in opening.matching(folder, pattern)]
        for name, now_known in found:
            path = f"{folder}/{name}" if folder else name
            if rest:
                yield from _flows(opening, path, rest, now_known)
            elif opening.has(path):
                yield path, now_known


def _choices(words: Words, bound: Bound, asked: Collection[str | None]) -> Iterator[Bound]:
    """``bound`` with every choice of values for those of ``words`` that are asked for and have none yet."""
    names = [name for name in words if name in asked and name not in bound]
    for values in product(*(words[name] for name in names)):
        chosen = {**bound, **dict(zip(names, values, strict=True))}
        if "way" in chosen:
            chosen["Way"] = chosen["way"].title()  # into_future/OpticalFlowIntoFuture_0006_L.pfm
        yield chosen


def _end_of(path: Path, count: int) -> str:
    """``TRAIN/A/0000/left/0006``: what list files call an image, whatever stands before and whichever suffix."""
    return "/".join(path.with_suffix("").parts[-count:])


# --- what single sets have of their own ---


def _fc2(opening: Opening) -> FlowDataset:
    """``val``, or ``val-occ``: the same pairs with the masks of hidden pixels (occ_01.png), which training ignores."""
    kind, _, rest = opening.variant.partition("-")
    if kind == "index":
        return open_index(opening.lists, opening.root, rest, opening.key)
    found = scan_fc2(opening.root / kind, kind, opening.key)
    if not rest:
        return found
    opening = replace(opening, layout=replace(opening.layout, holds=f"{_FOLDERS} and NNNNNNN-occ_01.png"))
    samples = [replace(sample, occluded=opening.need(f"{kind}/{sample.name}-occ_01.png")) for sample in found.samples]
    return replace(found, split=opening.variant, samples=opening.complete(samples))


def _generated(opening: Opening) -> FlowDataset:
    found = _fc2(opening)
    if found.source != "generated":
        raise DataError(
            f"{opening.what}: {opening.root} is no generated set (no dataset.json says so); "
            f"for other data of this layout write fc2:{opening.variant}@{opening.root}"
        )
    return found


def _chairs(opening: Opening) -> FlowDataset:
    """Line i of the split file says of sample i whether it is for training (1) or validation (2)."""
    path = opening.lists / _CHAIRS_LIST
    lines = read_lines(path, "the split file of FlyingChairs: a line for each sample, 1 (train) or 2 (val)")
    for number, line in enumerate(lines, start=1):
        if line not in ("1", "2"):
            raise DataError(f"{path}:{number}: {line[:20]!r}, expected 1 (train) or 2 (val)")
    found = {int(match[1]) for match in opening.matching("data", r"(\d{5})_flow\.flo")}
    unlisted = sorted(found - set(range(1, len(lines) + 1)))
    if unlisted:
        raise DataError(
            f"{path}: has {len(lines)} lines, but {opening.root / 'data'} holds sample {unlisted[0]:05d}: "
            "take the split file that belongs to these files"
        )
    names = [f"{number:05d}" for number, line in enumerate(lines, start=1) if line in opening.words["line"]]
    parts = ("img1.ppm", "img2.ppm", "flow.flo")
    samples = [Sample(name, *(opening.need(f"data/{name}_{part}") for part in parts)) for name in names]
    return FlowDataset(opening.root, opening.variant, "index", opening.complete(samples), name=opening.layout.name)


def _things(opening: Opening) -> FlowDataset:
    """Without the images that the authors list as unusable (TRAIN/A/0004/left/0012.png), where the list is there."""
    path = opening.lists / "all_unused_files.txt"
    lines = read_lines(path, "the authors' list of unusable images, one a line") if path.exists() else []
    unusable = {_end_of(Path(line), 5) for line in lines if line}
    found = _by_patterns(opening)
    usable = [each for each in found.samples if unusable.isdisjoint(_end_of(i, 5) for i in (each.image1, each.image2))]
    note = f"{len(found) - len(usable)} samples left out by {path.name}" if unusable else ""
    return replace(found, samples=opening.complete(usable), note=note)


def _sintel(opening: Opening) -> FlowDataset:
    """``PASS-val``: the scenes and frames of a list, ``PASS-train``: the others, ``PASS``: all."""
    (part,) = opening.words["part"]
    if not part:
        return _by_patterns(opening)
    path = opening.lists if opening.lists.is_file() else opening.lists / "Sintel_val.txt"
    lines = read_lines(path, "the scenes (or SCENE/frame_NNNN) that sintel:PASS-val holds and sintel:PASS-train lacks")
    held_out = {_end_of(Path(line.split()[0]), 2) for line in lines if line and not line.startswith("#")}
    if not held_out:
        raise DataError(f"{path}: is empty, expected scenes or SCENE/frame_NNNN, one a line")

    def wanted(bound: Bound) -> bool:
        named = held_out & {bound["scene"], f"{bound['scene']}/frame_{bound['n']}"}
        return bool(named) == (part == "val")

    return replace(_by_patterns(opening, wanted), source="index", note=f"{part} part by {path}")


def _middlebury(opening: Opening) -> FlowDataset:
    """As published, or with the flow unpacked beside the images."""
    if not (opening.root / opening.words["flows"][0]).is_dir():
        opening = replace(opening, words={**opening.words, "flows": (".",), "frames": (".",)})
    return _by_patterns(opening)


# --- the data sets ---


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A data set that can be asked for by name, and how its files lie below a root.

    Patterns are paths with words in braces.  A word has the values of the variant (``look``, ``side``, ``way``, ...)
    or is read off the names in a folder; ``n`` is the number of a frame.
    """

    name: str
    holds: str  # what the root holds, in words
    variants: Mapping[str, Words]  # to the values that words take, a sample for each combination; first: for training
    val: str = ""  # the variant meant for evaluation where a specification has none, unless it is the first
    counted: tuple[str, ...] = ()  # variants that `data list` counts, where there are too many to count all
    spelt: str = ""  # what docs/data.md says of the variants, where their names are too many or say too little
    has_lists: bool = False  # whether a root NAME_lists may name another folder for its list files
    open: Callable[[Opening], FlowDataset] = _by_patterns
    inside: str = ""  # folder of the root that the patterns begin in, where it is there
    flow: str = ""  # pattern of the flow files
    files: Mapping[str, str] = field(default_factory=dict)  # of the images and, where there are any, the masks
    sample: str = ""  # name of a sample, behind its look where there are several
    free: Mapping[str, str] = field(default_factory=dict)  # what words without a value may be; else four digits
    ends_open: bool = False  # whether the last frame of a sequence has a flow too, which is passed over


_FOLDERS = "train/ and val/ with NNNNNNN-{img_0.png,img_1.png,flow_01.flo}"
_FOLDER_VARIANTS: Mapping[str, Words] = {name: {} for name in ("train", "val", "train-occ", "val-occ")}
_LOOKS = {"clean": ("clean",), "final": ("final",), "both": ("clean", "final")}
_SIDES = {"": ("left", "right"), "-left": ("left",), "-right": ("right",)}
_WAYS = {"": ("future", "past"), "-future": ("future",), "-past": ("past",)}


def _kitti(name: str, images: str) -> Layout:
    """``occ``: every pixel with a flow, with what is hidden known; ``noc``: the pixels that stay in sight alone."""
    return Layout(
        name=name,
        holds=f"training/{{{images},flow_occ,flow_noc}} with NNNNNN_10.png (and NNNNNN_11.png)",
        variants={kind: {"kind": (kind,), "n": ("10",)} for kind in ("occ", "noc")},
        spelt="`occ` (all pixels with a flow), `noc` (those that stay in sight)",
        inside="training",
        flow="flow_{kind}/{pair}_{n}.png",
        files={"image": f"{images}/{{pair}}_{{n}}.png", "occluded": "flow_noc/{pair}_{n}.png"},
        sample="{pair}",
        free={"pair": r"\d{6}"},
    )


_ALL = (
    Layout(
        name="fc2",
        holds=f"{_FOLDERS}; for index-*: FC2_dirnames.txt and FC2_{{train,val,test}}.txt",
        variants={**_FOLDER_VARIANTS, "index-train": {}, "index-val": {}, "index-test": {}},
        val="val",
        has_lists=True,
        open=_fc2,
    ),
    Layout(
        name="flying_chairs",
        holds=f"data/NNNNN_{{img1.ppm,img2.ppm,flow.flo}} and {_CHAIRS_LIST}",
        variants={"train": {"line": ("1",)}, "val": {"line": ("2",)}, "all": {"line": ("1", "2")}},
        val="val",
        has_lists=True,
        open=_chairs,
    ),
    Layout(
        name="flying_things3d",
        holds="frames_cleanpass/ or frames_finalpass/, and optical_flow/, each with {TRAIN,TEST}/{A,B,C}/NNNN",
        variants={
            f"{look}-{split.lower()}{way}{side}": dict(
                look=_LOOKS[look], split=(split,), way=_WAYS[way], side=_SIDES[side]
            )
            for look, split, way, side in product(_LOOKS, ("TRAIN", "TEST"), _WAYS, _SIDES)
        },
        val="clean-test",
        counted=("clean-train", "clean-test", "final-train", "final-test"),
        spelt="`{clean,final,both}-{train,test}`, also with `-future` or `-past`, then `-left` or `-right`",
        has_lists=True,
        open=_things,
        flow="optical_flow/{split}/{letter}/{scene}/into_{way}/{side}/OpticalFlowInto{Way}_{n}_{eye}.pfm",
        files={"image": "frames_{look}pass/{split}/{letter}/{scene}/{side}/{n}.png"},
        sample="{split}/{letter}/{scene}/{way}/{side}/{n}",
        free={"letter": "[A-Z]", "eye": "[LR]"},
        ends_open=True,
    ),
    Layout(
        name="sintel",
        holds="training/{clean,final,flow}/SCENE/frame_NNNN.{png,flo} (and invalid/, occlusions/)",
        variants={
            f"{look}-{part}" if part else look: {"look": _LOOKS[look], "part": (part,)}
            for look, part in product(_LOOKS, ("", "train", "val"))
        },
        counted=("clean", "final", "both"),
        has_lists=True,
        open=_sintel,
        inside="training",
        flow="flow/{scene}/frame_{n}.flo",
        files={
            "invalid": "invalid/{scene}/frame_{n}.png",
            "occluded": "occlusions/{scene}/frame_{n}.png",
            "image": "{look}/{scene}/frame_{n}.png",
        },
        sample="{scene}/frame_{n}",
        free={"scene": r"[^.].*"},
    ),
    _kitti("kitti2012", "colored_0"),
    _kitti("kitti2015", "image_2"),
    Layout(
        name="middlebury",
        holds="other-data/NAME/frame{10,11}.png and other-gt-flow/NAME/flow10.flo, or all three in NAME/",
        variants={"all": {"flows": ("other-gt-flow",), "frames": ("other-data",), "n": ("10",)}},
        open=_middlebury,
        flow="{flows}/{name}/flow{n}.flo",
        files={"image": "{frames}/{name}/frame{n}.png"},
        sample="{name}",
        free={"name": r"[^.].*"},
    ),
    Layout(
        name="spring",
        holds="train/NNNN/{frame,flow_FW,flow_BW}_{left,right}",
        variants={
            "left": {"side": ("left",), "way": ("FW",)},
            "right": {"side": ("right",), "way": ("FW",)},
            "left-backward": {"side": ("left",), "way": ("BW",)},
            "right-backward": {"side": ("right",), "way": ("BW",)},
            "all": {"side": ("left", "right"), "way": ("FW", "BW")},
            "all-forward": {"side": ("left", "right"), "way": ("FW",)},
            "all-backward": {"side": ("left", "right"), "way": ("BW",)},
        },
        counted=("left", "right", "all"),
        flow="train/{scene}/flow_{way}_{side}/flow_{way}_{side}_{n}.flo5",
        files={"image": "train/{scene}/frame_{side}/frame_{side}_{n}.png"},
        sample="{scene}/{way}/{side}/{n}",
    ),
    Layout(
        name="hd1k",
        holds="hd1k_input/image_2 and hd1k_flow_gt/flow_occ",
        variants={"all": {}},
        flow="hd1k_flow_gt/flow_occ/{sequence}_{n}.png",
        files={"image": "hd1k_input/image_2/{sequence}_{n}.png"},
        sample="{sequence}_{n}",
        free={"sequence": r"\d{6}"},
        ends_open=True,
    ),
    Layout(
        name="generated",
        holds=f"{_FOLDERS}, and dataset.json",
        variants=_FOLDER_VARIANTS,
        val="val",
        open=_generated,
    ),
)
DATASETS = {layout.name: layout for layout in _ALL}


def documented(page: str) -> str:
    """The text of docs/data.md with its table of the data sets written anew."""
    head, rule, rest = page.partition("|---|---|---|\n")
    for layout in _ALL:
        variants = layout.spelt or ", ".join(f"`{name}`" for name in layout.variants)
        judged = f"; `{layout.val}` for evaluation" if layout.val else ""
        rule += f"| `{layout.name}` | {variants}{judged} | {layout.holds} |\n"
    return head + rule + rest[rest.index("\n\n") + 1 :]


# --- from what a user writes to the samples ---

_SPEC = re.compile(r"(?P<name>[^:@/]+)(?::(?P<variant>[^@]*))?(?:@(?P<root>.*))?", re.DOTALL)


def is_named(spec: str) -> bool:
    """Whether a specification begins with the name of a data set; otherwise it is a folder."""
    match = _SPEC.fullmatch(spec)
    return match is not None and match["name"] in DATASETS


def open_dataset(
    spec: str, split_default: str, key: str = "data.train_dir", roots: Mapping[str, str] | None = None
) -> FlowDataset:
    """The samples of a data set by name, or of a folder in FlyingChairs2 layout; file names only, nothing is opened.

    Args:
        spec: ``NAME[:VARIANT][@ROOT]`` such as ``sintel:final@/data/sintel``, or a folder.
        split_default: ``train`` or ``val``: the split that a folder is, and which variant a bare name means.
        key: configuration key or option that holds ``spec``, for messages.
        roots: name to folder (data.roots), before the environment and datasets.yaml.

    ``A + B`` is all samples of both.  Raises ConfigError: an unknown variant, or no root is known for the name.
    DataError: files that are not there, or an empty split.
    """
    if " + " in spec:
        return _mixture([(part, open_dataset(part, split_default, key, roots)) for part in spec.split(" + ")], key)
    match = _SPEC.fullmatch(spec)
    if match is None or match["name"] not in DATASETS:
        if match and not Path(spec).exists() and (close := nearest(match["name"], DATASETS)):
            missing = f"no folder {spec} (from {Path.cwd()}), and no data set of that name"
            raise DataError(f"{key}: {missing}; did you mean {close}?")
        return scan_fc2(spec, split_default, key)
    name, variant, written_root = match.groups()
    layout = DATASETS[name]
    if variant is None:
        variant = layout.val if layout.val and split_default != "train" else next(iter(layout.variants))
    if written_root == "":
        raise ConfigError(f"{key}: {spec!r}: a folder must follow the @, such as {name}@/data/{name}")
    if variant not in layout.variants:
        close = nearest(variant, layout.variants)
        hint = f"; did you mean {name}:{close}?" if close else ""
        raise ConfigError(f"{key}: {name} has no variant {variant!r} (known: {', '.join(layout.variants)}){hint}")
    root = Root(Path(written_root).expanduser(), "@") if written_root else find_root(name, roots)
    if root is None:
        raise ConfigError(
            f"{key}: {name}: no folder is known for this data set: write {name}:{variant}@FOLDER, set data.roots or "
            f"{_variable(name)}, or add a line '{name}: FOLDER' to {roots_file()}"
        )
    if not root.path.is_dir():
        raise DataError(f"{key}: {name}: no folder {root.path} (named by {root.named_by}); it must hold {layout.holds}")
    lists = find_root(f"{name}_lists", roots) if layout.has_lists else None
    where = root.path, lists.path if lists else root.path
    return layout.open(Opening(layout, variant, layout.variants[variant], *where, key))


def _mixture(sets: Sequence[tuple[str, FlowDataset]], key: str) -> FlowDataset:
    """All samples of several sets, each named after its set.  Raises ConfigError where one is given twice."""
    labels = [re.sub(r"[^\w.-]", "_", spec.partition("@")[0].strip()).strip("_") for spec, _ in sets]
    if len(set(labels)) < len(labels):
        raise ConfigError(f"{key}: two of the sets are called {max(labels, key=labels.count)}: name each set once")
    samples = [
        replace(sample, name=f"{label}/{sample.name}")
        for label, (_, dataset) in zip(labels, sets, strict=True)
        for sample in dataset.samples
    ]
    folders = [dataset.directory.absolute() for _, dataset in sets]
    split, name = ("+".join(dict.fromkeys(getattr(d, word) for _, d in sets)) for word in ("split", "name"))
    note = "; ".join(filter(None, (dataset.note for _, dataset in sets)))
    parts = tuple(zip(labels, (dataset.directory for _, dataset in sets), strict=True))
    common = Path(os.path.commonpath(folders))
    return FlowDataset(
        common, split, sets[0][1].source, tuple(sorted(samples, key=lambda s: s.name)), None, name, note, parts
    )


def without(dataset: FlowDataset, excluded: Collection[str], key: str) -> FlowDataset:
    """The samples whose flow files do not end as one of ``excluded`` says (paths, or text files of paths).

    Raises DataError where nothing is left, or a text file cannot be read.
    """
    paths: list[str] = []
    for text in excluded:
        listed = Path(text).suffix == ".txt"
        lines = read_lines(Path(text), "flow files to leave out, one a line") if listed else [text]
        paths += [line.strip().replace("\\", "/") for line in lines if line.strip() and not line.startswith("#")]
    wholes = [PurePosixPath(path).parts for path in paths]
    # The root may be another machine's.
    ends = {parts[parts.index("optical_flow") + 1 :] if "optical_flow" in parts else parts for parts in wholes}
    lengths = {len(parts) for parts in ends}
    kept = tuple(s for s in dataset.samples if not any(s.flow.parts[-n:] in ends for n in lengths))
    if not kept:
        raise DataError(f"{key}: data.exclude leaves none of {len(dataset)} samples: shorten the list")
    left_out = f"{len(dataset) - len(kept)} samples left out by data.exclude ({len(ends)} paths)"
    return replace(dataset, samples=kept, note="; ".join(filter(None, (dataset.note, left_out))))


def open_complete(
    spec: str, split: str, key: str, roots: Mapping[str, str] | None = None
) -> tuple[FlowDataset, list[BadSample]]:
    """As :func:`open_dataset`, but of a folder with incomplete samples the others, and what is missing: for a check."""
    try:
        return open_dataset(spec, split, key, roots), []
    except DataError:
        if is_named(spec) or not Path(spec).is_dir():
            raise
        samples, problems = find_samples(Path(spec), key)
        if not problems:
            raise
        return FlowDataset(Path(spec), split, "folder", samples), problems


# --- where the data sets of this machine are ---


class Root(NamedTuple):
    """A folder and what named it."""

    path: Path
    named_by: str  # data.roots, EDGEFLOWNAS_DATA_SINTEL or the path of the file


def list_datasets(roots: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
    """Every data set, in the order of the table, as JSON: its root, what named it, and the samples of each variant.

    File names only.  A variant has a ``problem`` where it cannot be opened, and a set is ``found`` where one of them
    can.  Raises ConfigError: data.roots or datasets.yaml holds an unknown name.
    """
    rows = []
    for name, layout in DATASETS.items():
        root = find_root(name, roots)
        variants: list[dict[str, Any]] = []
        for variant in (layout.counted or layout.variants) if root else ():
            samples, problem = None, None
            try:
                samples = len(open_dataset(f"{name}:{variant}", "val", "data list", roots))
            except DataError as error:
                problem = str(error).partition("\n")[0].removeprefix("data list: ")
            variants.append({"variant": variant, "samples": samples, "problem": problem})
        place, named_by = (str(root.path), root.named_by) if root else (None, None)
        found = any(row["samples"] is not None for row in variants)
        row = {"name": name, "layout": layout.holds, "root": place, "named_by": named_by, "found": found}
        rows.append({**row, "variants": variants})
    return rows


def roots_file() -> Path:
    """``datasets.yaml`` in $XDG_CONFIG_HOME or ~/.config, below edgeflownas/."""
    home = os.environ.get("XDG_CONFIG_HOME")
    return (Path(home) if home else Path.home() / ".config") / "edgeflownas" / "datasets.yaml"


def find_root(name: str, roots: Mapping[str, str] | None = None) -> Root | None:
    """The folder of ``name``: data.roots, else the environment variable, else datasets.yaml.  Raises ConfigError."""
    folder, named_by = _checked_roots(roots or {}, "data.roots").get(name), "data.roots"
    if not folder:
        folder, named_by = os.environ.get(_variable(name)), _variable(name)
    if not folder:
        folder, named_by = _read_roots(roots_file()).get(name), str(roots_file())
    return Root(Path(folder).expanduser(), named_by) if folder else None


def _variable(name: str) -> str:
    return f"EDGEFLOWNAS_DATA_{name.upper()}"


def _read_roots(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    content, _ = read_yaml(path, "lines such as 'sintel: /data/sintel'")
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: must hold lines such as 'sintel: /data/sintel'")
    listed = _checked_roots(content, str(path))
    for name, folder in listed.items():
        if not Path(folder).expanduser().is_absolute():
            raise ConfigError(f"{path}: {name}: {folder!r} must be an absolute path (or begin with ~)")
    return listed


def _checked_roots(content: Mapping[Any, Any], where: str) -> dict[str, str]:
    known = {*DATASETS, *(f"{name}_lists" for name, layout in DATASETS.items() if layout.has_lists)}
    for name, folder in content.items():
        if name not in known:
            close = nearest(str(name), known)
            hint = f"; did you mean {close}?" if close else ""
            raise ConfigError(f"{where}: no data set is called {name!r} (known: {', '.join(sorted(known))}){hint}")
        if not isinstance(folder, str) or not folder:
            raise ConfigError(f"{where}: {name}: must be a folder (got {folder!r})")
    return {str(name): str(folder) for name, folder in content.items()}
