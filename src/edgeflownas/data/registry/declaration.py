"""What one data set declares: its name, its variants, and the function that finds their samples below a root."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgeflownas.data.dataset import FlowDataset

__all__ = ["Declaration", "Request"]


@dataclass(frozen=True)
class Request:
    """One opening of a data set."""

    name: str
    variant: str
    root: Path
    lists: Path
    """Folder of its list files (FC2_*.txt, Sintel_val.txt, ...): the root unless another was named."""
    key: str
    """Configuration key or option that asked for it, for messages."""

    @property
    def spec(self) -> str:
        """``NAME:VARIANT``, for messages."""
        return f"{self.name}:{self.variant}"


@dataclass(frozen=True)
class Declaration:
    """A data set that can be asked for by name."""

    name: str
    layout: str
    """What the root holds, in words."""
    variants: tuple[str, ...]
    open: Callable[[Request], FlowDataset]
    train: str
    """The variant meant where a specification has none, for training ..."""
    val: str
    """... and for evaluation."""
    counted: tuple[str, ...] = ()
    """Variants that `data list` counts, where there are too many to count all."""
    has_lists: bool = False
    """Whether a root NAME_lists may name another folder for its list files."""

    def variant_for(self, split: str) -> str:
        """The variant of a specification without one."""
        return self.train if split == "train" else self.val
