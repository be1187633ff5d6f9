"""Data sets by name, ``NAME[:VARIANT][@ROOT]``, or by a folder in FlyingChairs2 layout; and which this machine has."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from edgeflownas.config.keys import nearest
from edgeflownas.config.load import parse_yaml
from edgeflownas.data.dataset import FlowDataset
from edgeflownas.data.fc2 import find_samples, scan_fc2
from edgeflownas.data.layouts import DATASETS, Opening
from edgeflownas.errors import BadSample, ConfigError, DataError

_NAME = re.compile(r"([^:@/]*)(?=[:@]|$)")
_SPEC = re.compile(r"(?P<name>[^:@/]+)(?::(?P<variant>[^@]*))?(?:@(?P<root>.*))?", re.DOTALL)
_LARGEST_ROOTS_FILE = 2**20  # bytes


# --- from what a user writes to the samples ---


def is_named(spec: str) -> bool:
    """Whether a specification begins with the name of a data set; otherwise it is a folder."""
    match = _NAME.match(spec)
    return match is not None and match[1] in DATASETS


def open_dataset(
    spec: str, split_default: str, key: str = "data.train_dir", roots: Mapping[str, str] | None = None
) -> FlowDataset:
    """The samples of a data set by name, or of a folder in FlyingChairs2 layout; file names only, nothing is opened.

    Args:
        spec: ``NAME[:VARIANT][@ROOT]`` such as ``sintel:final@/data/sintel``, or a folder.
        split_default: ``train`` or ``val``: the split that a folder is, and which variant a bare name means.
        key: configuration key or option that holds ``spec``, for messages.
        roots: name to folder (data.roots), before the environment and datasets.yaml.

    Raises:
        ConfigError: an unknown variant, or no root is known for the name.
        DataError: files that are not there, or an empty split.
    """
    if not is_named(spec):
        match = _NAME.match(spec)
        close = nearest(match[1], DATASETS) if match and match[1] and not Path(spec).exists() else None
        if close:
            raise DataError(
                f"{key}: no folder {spec} (from {Path.cwd()}), and no data set of that name; did you mean {close}?"
            )
        return scan_fc2(spec, split_default, key)
    match = _SPEC.fullmatch(spec)
    assert match is not None
    name, written_root = match["name"], match["root"]
    layout = DATASETS[name]
    variant = layout.variant_for(split_default) if match["variant"] is None else match["variant"]
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
    named_by: str
    """``data.roots``, ``EDGEFLOWNAS_DATA_SINTEL`` or the path of the file."""


def list_datasets(roots: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
    """Every data set, in the order of the table, as JSON: its root, what named it, and the samples of each variant.

    File names only, nothing is opened.  A variant has a ``problem`` where it cannot be opened, and a set is ``found``
    where one of them can.

    Raises:
        ConfigError: data.roots or datasets.yaml holds an unknown name.
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
        rows.append(
            {
                "name": name,
                "layout": layout.holds,
                "root": str(root.path) if root else None,
                "named_by": root.named_by if root else None,
                "found": any(row["samples"] is not None for row in variants),
                "variants": variants,
            }
        )
    return rows


def roots_file() -> Path:
    """``datasets.yaml`` in $XDG_CONFIG_HOME or ~/.config, below edgeflownas/."""
    home = os.environ.get("XDG_CONFIG_HOME")
    base = Path(home) if home else Path.home() / ".config"
    return base / "edgeflownas" / "datasets.yaml"


def find_root(name: str, roots: Mapping[str, str] | None = None) -> Root | None:
    """The folder of ``name``: data.roots wins over the environment variable, and that over datasets.yaml.

    Raises:
        ConfigError: data.roots or datasets.yaml holds an unknown name, or what is no folder name.
    """
    configured = _checked_roots(roots or {}, "data.roots")
    if name in configured:
        return Root(Path(configured[name]).expanduser(), "data.roots")
    variable = _variable(name)
    if os.environ.get(variable):
        return Root(Path(os.environ[variable]).expanduser(), variable)
    path = roots_file()
    listed = _read_roots(path)
    return Root(Path(listed[name]).expanduser(), str(path)) if name in listed else None


def _variable(name: str) -> str:
    return f"EDGEFLOWNAS_DATA_{name.upper()}"


def _read_roots(path: Path) -> dict[str, str]:
    try:
        if path.stat().st_size > _LARGEST_ROOTS_FILE:
            raise ConfigError(f"{path}: has {path.stat().st_size} bytes, expected lines such as 'sintel: /data/sintel'")
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is no text (byte {error.start} is not UTF-8)") from None
    content, _ = parse_yaml(text, str(path))
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
    known: Collection[str] = {*DATASETS, *(f"{name}_lists" for name, layout in DATASETS.items() if layout.has_lists)}
    for name, folder in content.items():
        if name not in known:
            close = nearest(str(name), known)
            hint = f"; did you mean {close}?" if close else ""
            raise ConfigError(f"{where}: no data set is called {name!r} (known: {', '.join(sorted(known))}){hint}")
        if not isinstance(folder, str) or not folder:
            raise ConfigError(f"{where}: {name}: must be a folder (got {folder!r})")
    return {str(name): str(folder) for name, folder in content.items()}
