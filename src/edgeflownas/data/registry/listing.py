"""Which data sets this machine has: roots, what named them, and the samples of each variant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgeflownas.data.registry.declaration import Declaration
from edgeflownas.data.registry.opening import DATASETS, open_variant, root_of
from edgeflownas.errors import DataError

__all__ = ["ListedSet", "ListedVariant", "list_datasets"]

_KEY = "data list"


@dataclass(frozen=True)
class ListedVariant:
    """A variant with its samples, or why it cannot be opened."""

    variant: str
    samples: int | None
    problem: str | None = None


@dataclass(frozen=True)
class ListedSet:
    """A data set with its root."""

    name: str
    layout: str
    root: str | None
    named_by: str | None
    """``data.roots``, the environment variable, or the file that names the root."""
    found: bool
    """Whether a variant can be opened."""
    variants: tuple[ListedVariant, ...]


def list_datasets(roots: Mapping[str, str] | None = None) -> list[ListedSet]:
    """Every data set, in the order of the table; file names only, nothing is opened.

    Raises:
        ConfigError: data.roots or datasets.yaml holds an unknown name.
    """
    return [_listed(declaration, roots) for declaration in DATASETS.values()]


def _listed(declaration: Declaration, roots: Mapping[str, str] | None) -> ListedSet:
    root = root_of(declaration.name, roots)
    if root is None:
        return ListedSet(declaration.name, declaration.layout, None, None, False, ())
    counted = declaration.counted or declaration.variants
    variants = tuple(_counted(declaration, variant, roots) for variant in counted)
    found = any(variant.samples is not None for variant in variants)
    return ListedSet(declaration.name, declaration.layout, str(root.path), root.named_by, found, variants)


def _counted(declaration: Declaration, variant: str, roots: Mapping[str, str] | None) -> ListedVariant:
    try:
        return ListedVariant(variant, len(open_variant(declaration, variant, _KEY, roots)))
    except DataError as error:
        return ListedVariant(variant, None, str(error).partition("\n")[0].removeprefix(f"{_KEY}: "))
