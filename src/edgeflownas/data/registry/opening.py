"""From what a user writes to the samples: the grammar of specifications and the table of data sets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from edgeflownas.config.keys import nearest
from edgeflownas.data.dataset import FlowDataset
from edgeflownas.data.fc2 import scan_fc2
from edgeflownas.data.registry.declaration import Declaration, Request
from edgeflownas.data.registry.fc2 import FC2, GENERATED
from edgeflownas.data.registry.film import FLYING_THINGS3D, HD1K, SINTEL, SPRING
from edgeflownas.data.registry.pairs import FLYING_CHAIRS, KITTI2012, KITTI2015, MIDDLEBURY
from edgeflownas.data.registry.roots import Root, find_root, roots_file, variable_of
from edgeflownas.errors import ConfigError, DataError

__all__ = ["DATASETS", "is_named", "open_dataset", "open_variant", "root_of"]

DATASETS: dict[str, Declaration] = {
    declaration.name: declaration
    for declaration in (
        *(FC2, FLYING_CHAIRS, FLYING_THINGS3D, SINTEL, KITTI2012),
        *(KITTI2015, MIDDLEBURY, SPRING, HD1K, GENERATED),
    )
}
_ROOT_NAMES = (*DATASETS, *(f"{name}_lists" for name, declaration in DATASETS.items() if declaration.has_lists))
_NAME = re.compile(r"([^:@/]*)(?=[:@]|$)")
_SPEC = re.compile(r"(?P<name>[^:@/]+)(?::(?P<variant>[^@]*))?(?:@(?P<root>.*))?", re.DOTALL)


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
        if not Path(spec).exists():
            _hint_at_name(spec, key)
        return scan_fc2(spec, split_default, key)
    match = _SPEC.fullmatch(spec)
    assert match is not None
    declaration = DATASETS[match["name"]]
    variant = declaration.variant_for(split_default) if match["variant"] is None else match["variant"]
    if match["root"] is not None and not match["root"]:
        raise ConfigError(f"{key}: {spec!r}: a folder must follow the @, such as {match['name']}@/data/{match['name']}")
    root = Root(Path(match["root"]).expanduser(), "@") if match["root"] else None
    return open_variant(declaration, variant, key, roots, root)


def open_variant(
    declaration: Declaration,
    variant: str,
    key: str,
    roots: Mapping[str, str] | None = None,
    root: Root | None = None,
) -> FlowDataset:
    """One variant of a data set, below ``root`` or the root that is known.  Raises as :func:`open_dataset`."""
    name = declaration.name
    if variant not in declaration.variants:
        close = nearest(variant, declaration.variants)
        hint = f"; did you mean {name}:{close}?" if close else ""
        raise ConfigError(f"{key}: {name} has no variant {variant!r} (known: {', '.join(declaration.variants)}){hint}")
    found = root or root_of(name, roots)
    if found is None:
        raise ConfigError(
            f"{key}: {name}: no folder is known for this data set: write {name}:{variant}@FOLDER, set data.roots or "
            f"{variable_of(name)}, or add a line '{name}: FOLDER' to {roots_file()}"
        )
    if not found.path.is_dir():
        raise DataError(
            f"{key}: {name}: no folder {found.path} (named by {found.named_by}); it must hold {declaration.layout}"
        )
    lists = root_of(f"{name}_lists", roots) if declaration.has_lists else None
    return declaration.open(Request(name, variant, found.path, lists.path if lists else found.path, key))


def root_of(name: str, roots: Mapping[str, str] | None = None) -> Root | None:
    """The folder that configuration, environment or datasets.yaml give for a name.  Raises ConfigError."""
    return find_root(name, _ROOT_NAMES, roots)


def _hint_at_name(spec: str, key: str) -> None:
    """A folder that is not there may be a misspelt name."""
    match = _NAME.match(spec)
    close = nearest(match[1], DATASETS) if match and match[1] else None
    if close:
        raise DataError(
            f"{key}: no folder {spec} (from {Path.cwd()}), and no data set of that name; did you mean {close}?"
        )
