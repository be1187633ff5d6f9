"""TensorBoard event files.  The only importer of tensorboard; a run without it needs neither package nor folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgeflownas.errors import ConfigError

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

__all__ = ["Tracker"]


class Tracker:
    """Curves and pictures of one run.

    Each start adds one event file to ``directory``.  A resumed run gives ``purge_step``, the first step it will log
    again: TensorBoard then hides what an abandoned tail of the run wrote at that step and beyond.  These files are
    for the eye only; the facts of a run are in events.jsonl.

    Args:
        directory: folder for the event files, made if missing.
        enabled: False makes every method a no-op and nothing is imported or written.
        purge_step: first step not to be trusted in older files; None for a fresh run.

    Raises:
        ConfigError: enabled without the tensorboard package.
    """

    def __init__(self, directory: Path, enabled: bool = True, purge_step: int | None = None) -> None:
        self._writer: SummaryWriter | None = _open_writer(directory, purge_step) if enabled else None

    @property
    def enabled(self) -> bool:
        """Whether anything is written (drawing pictures costs time)."""
        return self._writer is not None

    def scalars(self, step: int, values: Mapping[str, float | None]) -> None:
        """Log each ``tag: value`` at ``step``; None (not measured) is left out, NaN and infinity are kept."""
        if self._writer is not None:
            for tag, value in values.items():
                if value is not None:
                    self._writer.add_scalar(tag, float(value), step)

    def images(self, step: int, tag: str, picture: NDArray[np.uint8]) -> None:
        """Log one RGB picture, uint8 [H, W, 3]."""
        if self._writer is not None:
            self._writer.add_image(tag, picture, step, dataformats="HWC")

    def flush(self) -> None:
        """Hand everything to the operating system, every runtime.summary_flush_every steps."""
        if self._writer is not None:
            self._writer.flush()

    def close(self) -> None:
        """Flush and end the event file; later calls do nothing."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def __enter__(self) -> Tracker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _open_writer(directory: Path, purge_step: int | None) -> SummaryWriter:
    """The import alone takes a second, so it waits until a run asks for it."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ConfigError(
            f"runtime.tensorboard true needs the package tensorboard ({error}): "
            "pip install tensorboard, or set runtime.tensorboard to false"
        ) from error
    return SummaryWriter(str(directory), purge_step=purge_step)
