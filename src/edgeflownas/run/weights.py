"""Weights that come with the package: NAME.safetensors and its card NAME.json; ``weights:NAME`` on command lines.

They are self-contained: the file holds the network's tensors as ``model/TENSOR``, for a single subnet also batch-norm
statistics recalibrated under protocols (``deploy:192x256/TENSOR``), and, as JSON in its metadata, the keys that decide
the network, its whole search space, and the generated pairs that batch norm was recalibrated on.  The card is for
people: how it was made, and what was measured (docs/weights.md).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeflownas.config.keys import Config, nearest
from edgeflownas.config.load import load_config
from edgeflownas.data.dataset import FlowDataset
from edgeflownas.data.sets import open_dataset
from edgeflownas.data.synthetic.generate import VERSION, generate_dataset
from edgeflownas.errors import ConfigError, DataError
from edgeflownas.evaluate.results import read_tensors, tensor_bytes
from edgeflownas.files import parse_json, replace_file
from edgeflownas.space import SPACES

FOLDER = Path(__file__).parents[1] / "weights"
PREFIX = "weights:"
DEFAULT = "flownet-v1-w16"
FORMAT = 1
TRAINING = "training"  # the statistics for every protocol that has none of its own; they are the model's buffers
REMEDY = "install the package again: pip install --force-reinstall --no-deps edgeflownas"
# Keys that the file keeps: what the network is, and how its calibration samples are cut and grouped.
KEPT = (
    *("train.task", "train.space", "train.arch", "train.width", "train.batch_norm", "train.input_normalisation"),
    *("data.channel_order", "data.flow_divisor", "data.flow_clip", "data.crop_size"),
    *("eval.batch_size", "eval.bn_recal_batches", "eval.eval_batches_per_arch", "eval.eval_pool_size", "runtime.seed"),
)
# Of the card: what `weights list` and `weights show` rely on.
CARD = (
    *("name", "code", "space", "width", "size", "bytes", "sha256", "storage", "recipe", "commit", "machine", "data"),
    *("pairs_seen", "hours", "epe", "int8", "vela", "licence"),
)
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Shipped:
    """Weights of the package, opened and checked.

    ``groups`` are tensors by group (``model``, and protocols with statistics of their own) and name; ``facts`` the
    content of the metadata; ``hash`` the sha256 of the file.
    """

    name: str
    path: Path
    hash: str
    facts: dict[str, Any] = field(repr=False)
    groups: dict[str, Arrays] = field(repr=False)

    def config(self, overrides: Sequence[str] = ()) -> Config:
        """The configuration that the weights stand for, with ``overrides``.  Raises ConfigError."""
        values = self.facts["config"].items()
        kept = [f"--{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in values]
        return load_config(None, [*kept, *overrides])

    def make_pairs(self, split: str, into: Path, note: Callable[[str], None]) -> FlowDataset:
        """Generate the ``train`` (calibration) or ``val`` pairs of these weights in a folder, as ``data synth`` does.

        ``note`` is told of a generator that has changed since.  Raises StorageError where the disk refuses.
        """
        pairs = self.facts["pairs"]
        words = {key: pairs[key] for key in ("seed", "height", "width", "motion") if pairs.get(key) is not None}
        if pairs["version"] != VERSION:
            note(f"the generator of {PREFIX}{self.name} had version {pairs['version']}, today's {VERSION}: other pairs")
        note(f"{pairs[split]} {split} pairs of {words['height']}x{words['width']} are generated, seed {words['seed']}")
        generate_dataset(into, **{"train": 0, "val": 0, split: pairs[split]}, **words)
        return open_dataset(str(into / split), split, f"pairs of {PREFIX}{self.name}")

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns (px) that the weights are meant to be deployed at."""
        rows, columns = self.facts["size"]
        return rows, columns

    @property
    def statistics(self) -> dict[str, dict[str, Any]]:
        """By protocol: the data (``from``) and ``samples`` behind its batch-norm statistics; empty for a supernet."""
        return dict(self.facts["statistics"])


def is_weights(path: Path | str) -> bool:
    """Whether an argument names weights of the package."""
    return str(path).startswith(PREFIX)


def weights_names() -> list[str]:
    """Names of the weights that are there, sorted."""
    return sorted({path.stem for kind in ("safetensors", "json") for path in FOLDER.glob(f"*.{kind}")})


def default_name() -> str:
    """The weights that are taken where none are named.  Raises ConfigError where they are not there."""
    if DEFAULT in (known := weights_names()):
        return DEFAULT
    there = f"take one of {', '.join(PREFIX + name for name in known)}" if known else "give a run directory"
    raise ConfigError(f"the default weights, {DEFAULT}, are not in this version of the package: {there}")


def find_weights(name: str | Path) -> str:
    """The plain name of ``weights:NAME`` or ``NAME``.  Raises ConfigError for one that is not there."""
    plain, known = str(name).removeprefix(PREFIX), weights_names()
    if plain in known:
        return plain
    there = f"known: {', '.join(known)}" if known else "this version of the package has none: give a run directory"
    spelt = {other.replace("-", "_"): other for other in known}  # as keys are, among which `nearest` looks
    close = nearest(plain, spelt)
    hint = f"; did you mean {PREFIX}{spelt[close]}?" if close else ""
    raise ConfigError(f"no weights {plain!r} ({there}){hint}")


def read_card(name: str | Path) -> dict[str, Any]:
    """The card of weights.  Raises ConfigError for an unknown name, DataError for a card that is damaged."""
    path = FOLDER / f"{find_weights(name)}.json"
    try:
        card = parse_json(_read(path))
        if not isinstance(card, dict) or (missing := [key for key in CARD if key not in card]):
            raise ValueError(f"without {', '.join(missing)}" if isinstance(card, dict) else "no mapping")
    except ValueError as error:
        raise DataError(f"{path}: not the card of weights, or damaged ({error}): {REMEDY}") from None
    return card


def read_weights(name: str | Path) -> Shipped:
    """Weights by name.  Raises ConfigError for an unknown name, DataError for a damaged file or card."""
    card = read_card(name)
    path = FOLDER / f"{find_weights(name)}.safetensors"
    content = _read(path)
    digest = hashlib.sha256(content).hexdigest()
    if digest != card["sha256"]:
        found = (
            f"{len(content):,} bytes with sha256 {digest[:16]}, expected {card['bytes']:,} with {card['sha256'][:16]}"
        )
        raise DataError(f"{path}: damaged ({found}): {REMEDY}")
    try:
        arrays, words = read_tensors(path)
        facts = json.loads(words["edgeflownas"])
        if facts["format"] != FORMAT:
            raise ValueError(f"format {facts['format']}, this version reads {FORMAT}")
        groups: dict[str, Arrays] = {}
        for key, array in arrays.items():
            group, _, tensor = key.rpartition("/")
            groups.setdefault(group, {})[tensor] = array.astype(np.float32) if array.dtype == np.float16 else array
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not weights of this package, or damaged ({error}): {REMEDY}") from None
    made_for = facts["space"]["name"]
    if made_for not in SPACES or SPACES[made_for].declaration() != facts["space"]:
        raise DataError(f"{path}: made for search space {made_for} as another version declares it: {REMEDY}")
    return Shipped(path.stem, path, digest, facts, groups)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}): {REMEDY}") from None


def write_weights(
    name: str,
    facts: Mapping[str, Any],
    groups: Mapping[str, Mapping[str, NDArray[Any]]],
    card: Mapping[str, Any],
    folder: Path | None = None,
) -> tuple[Path, Path]:
    """Write weights and their card, both or none, and return the two files; the hash and size of the card follow.

    ``facts`` are the metadata but for the format.  Raises StorageError where the folder cannot be written.
    """
    into = folder or FOLDER
    arrays = {f"{group}/{tensor}": array for group, named in groups.items() for tensor, array in named.items()}
    content = tensor_bytes(arrays, {"edgeflownas": json.dumps({"format": FORMAT, **facts}, sort_keys=True)})
    card = {**card, "name": name, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    assert set(card) >= set(CARD), set(CARD) - set(card)
    replace_file(into / f"{name}.safetensors", content)
    replace_file(into / f"{name}.json", (json.dumps(card, indent=2, allow_nan=False) + "\n").encode())
    return into / f"{name}.safetensors", into / f"{name}.json"
