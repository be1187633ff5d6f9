"""The subnet that is shipped, extracted from its run and recalibrated; the pairs it is calibrated and verified on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgeflownas.data.dataset import FlowDataset, load_eval_sample
from edgeflownas.data.formats import image_size
from edgeflownas.data.sets import open_dataset
from edgeflownas.data.synthetic.generate import FIRST_VAL, generate_pair
from edgeflownas.errors import ConfigError, DataError
from edgeflownas.evaluate.calibration import set_buffers
from edgeflownas.evaluate.frozen import freeze_split
from edgeflownas.evaluate.pool import full_precision
from edgeflownas.export.verify import Sample
from edgeflownas.hardware.latency import torch_threads
from edgeflownas.models.blocks import GRID, InputForm
from edgeflownas.models.flownet import FlowNet
from edgeflownas.run.manifest import memory_in_words
from edgeflownas.run.run import SHOWN, Run, Subnet
from edgeflownas.run.setup import Note

SMALLEST, LARGEST = 32, 4096  # px a side; generated pairs have them too
EXPORTED = (*SHOWN, "data.val_dir", "data.on_bad_sample")  # keys an export reads: also those of the pairs
GENERATED = "synth"
MEMORY = "the run's calibration batches do not fit this machine's memory: free some"
Size = tuple[int, int]


def open_exported(path: Path, overrides: Sequence[str], calibration_data: str | None, note: Note) -> Run:
    """The run; a supernet of the package recalibrates batch norm on ``calibration_data``, where these are no synth."""
    run = Run.open(path, overrides, note, used=EXPORTED, what="this")
    if not run.recalibrates or calibration_data in (None, GENERATED):
        return run
    return Run.open(path, [*overrides, f"--data.train_dir={calibration_data}"], note, used=EXPORTED, what="this")


def extracted(subnet: Subnet, progress: Callable[[str, int], Any]) -> Subnet:
    """The same with a network of its arch alone: evaluation mode, float32, on the CPU.

    Batch norm is recalibrated as an evaluation does it; ``progress`` opens a bar with a label and the number of
    batches, as Console.task does.
    """
    net, batches = subnet.net, subnet.calibration
    if isinstance(net, FlowNet) and len(net.space) > 1:
        net = net.subnet(subnet.arch)
    if batches is not None:
        bar = progress("calibrate", len(batches))
        with bar as meter, full_precision(), torch_threads(1), memory_in_words(MEMORY):
            set_buffers(net, batches, meter.advance)
    return replace(subnet, net=net.to(device="cpu", dtype=torch.float32).eval().requires_grad_(False))


def check_export_size(size: tuple[int, int]) -> None:
    """Raises ConfigError unless rows and columns (px) are multiples of 16 from 32 to 4096.

    A device does not repeat edges to pad, so a graph of another size would compute something else.
    """
    if any(side % GRID or not SMALLEST <= side <= LARGEST for side in size):
        multiples = [[side - side % GRID for side in size], [side + -side % GRID for side in size]]
        nearest = sorted({tuple(min(max(side, SMALLEST), LARGEST) for side in sides) for sides in multiples})
        words = " or ".join("x".join(map(str, sides)) for sides in nearest)
        raise ConfigError(
            f"--size {size[0]}x{size[1]}: rows and columns must be multiples of {GRID} from {SMALLEST} to {LARGEST}: "
            f"the nearest are {words}"
        )


@dataclass(frozen=True)
class Pairs:
    """Pairs of one size."""

    label: str
    names: tuple[str, ...]
    samples: tuple[Sample, ...]

    def __len__(self) -> int:
        return len(self.names)

    @property
    def images(self) -> list[NDArray[np.uint8]]:
        """What goes into the network."""
        return [sample.images for sample in self.samples]

    @property
    def hash(self) -> str:
        """sha256 over names and pixels, the first 16 digits."""
        total = hashlib.sha256()
        for name, images in zip(self.names, self.images, strict=True):
            total.update(f"{name} {images.shape} ".encode())
            total.update(images.tobytes())
        return total.hexdigest()[:16]

    def facts(self) -> dict[str, Any]:
        """Where they come from, plain data."""
        return {"from": self.label, "pairs": len(self), "names": list(self.names), "hash": self.hash}

    def batches(self, form: InputForm, advance: Callable[[], None] = lambda: None) -> Iterator[Tensor]:
        """Images [1,6,h,w] as a network of ``form`` takes them; ``advance`` is called after each."""
        for images in self.images:
            yield form.encode(torch.from_numpy(images[None]), torch.float32)
            advance()


def open_pairs(
    option: str, spec: str | None, split: str, run: Run, count: int, size: Size, note: Callable[[str], None]
) -> Pairs:
    """Pairs of the data that ``option`` names as ``spec``, or of the run's own ``split``; of the package's generated.

    Raises:
        DataError: no such data, or frames smaller than ``size``; says what to do.
    """
    settings = run.config.data
    if spec == GENERATED or (spec is None and run.shipped is not None and f"data.{split}_dir" not in run.given):
        return generated_pairs(count, size, split)
    own = settings.train_dir if split == "train" else settings.val_dir
    try:
        dataset = open_dataset(spec or own, split, option if spec else f"data.{split}_dir", settings.roots)
    except DataError as error:
        raise DataError(f"{error}\nsay where pairs are with {option} DIR, or generate some: {option} synth") from None
    return read_pairs(dataset, count, size, option, note, settings.on_bad_sample == "quarantine")


def read_pairs(
    dataset: FlowDataset, count: int, size: Size, option: str, note: Callable[[str], None], skip_bad: bool = False
) -> Pairs:
    """The middle (rows, columns of ``size``) of up to ``count`` pairs spread over a data set.

    ``option`` is what named the data, for messages; ``skip_bad`` takes the next pair for one that cannot be read;
    ``note`` is told where there are fewer pairs.

    Raises:
        DataError: frames smaller than ``size``, or a pair that cannot be read.
    """
    found = image_size(dataset.samples[0].image1)
    if found[0] < size[0] or found[1] < size[1]:
        raise DataError(
            f"{option}: the frames of {dataset.directory} are {found[0]}x{found[1]}, smaller than --size "
            f"{size[0]}x{size[1]}: give a smaller --size, other data, or generated pairs with {option} synth"
        )
    label = f"{dataset.name}:{dataset.split}/{len(dataset)}"
    split = freeze_split(dataset, label, size, 1, count, "spread", option, note, skip_bad=skip_bad)
    position = {name: index for index, name in enumerate(dataset.names)}
    places = zip(map(position.__getitem__, split.names), split.windows, strict=True)
    loaded = (load_eval_sample(dataset, place, window, None) for place, window in places)
    return Pairs(split.label, split.names, tuple(Sample(own.images, own.flow, own.valid) for own in loaded))


def generated_pairs(count: int, size: Size, split: str) -> Pairs:
    """The first pairs of ``train`` or ``val`` of seed 0, as ``edgeflownas data synth`` makes them at this size.

    Raises:
        ConfigError: a side outside 32 to 4096 px.
    """
    first = FIRST_VAL if split == "val" else 0
    samples = []
    for index in range(first, first + count):
        pair = generate_pair(0, index, *size)
        samples.append(Sample(np.concatenate([pair.image1, pair.image2], axis=-1), pair.flow, np.ones(size, np.bool_)))
    return Pairs(f"generated:{split}/seed0", tuple(f"{first + index:07d}" for index in range(count)), tuple(samples))


def example_pairs(size: Size) -> Pairs:
    """The two generated pairs that lie beside every int8 model: no pixel of a data set is shipped."""
    return generated_pairs(2, size, "val")
