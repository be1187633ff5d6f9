"""The histories of one page, with the names and colours they go by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeflownas.report.html.charts import Numbers, Series, compact, series

if TYPE_CHECKING:
    from edgeflownas.report.history import History

COLOURS = 8  # c0 to c7 of page.css


class Scope:
    """Names of x axes, colours and series for one history or several."""

    def __init__(self, histories: Sequence[History]) -> None:
        self.histories = tuple(histories)
        self.many = len(self.histories) > 1
        self.axes: dict[str, Numbers] = {
            f"e{run}": compact(history.column("epoch")) for run, history in enumerate(histories)
        }

    def axis(self, name: str, values: Sequence[float] | NDArray[np.float64]) -> str:
        """Make an x axis known that is not the epochs of a whole run."""
        self.axes[name] = compact(values)
        return name

    def id(self, name: str, run: int) -> str:
        """Anchor of a figure that belongs to one run."""
        return f"{name}-{run}" if self.many else name

    def look(self, run: int) -> dict[str, Any]:
        """Colour and style of a run among several."""
        return {"colour": f"c{run % COLOURS}", "style": ("line", "dashed", "dotted")[run // COLOURS % 3]}

    def each(self, column: str, factor: float = 1.0) -> tuple[Series, ...]:
        """One line a run: ``factor`` times this column of every history that has it."""
        found = (
            series(history.name, f"e{run}", factor * history.column(column), **self.look(run))
            for run, history in enumerate(self.histories)
        )
        return tuple(filter(None, found))

    def lines(self, run: int, *wanted: tuple[str, str, dict[str, Any]]) -> tuple[Series, ...]:
        """Lines of one run: (name in the legend, column, look)."""
        history = self.histories[run]
        found = (series(name, f"e{run}", history.column(column), **look) for name, column, look in wanted)
        return tuple(filter(None, found))
