"""The pool of the last evaluation: how far each subnet is behind the best one, and whether that can be seen."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgeflownas.errors import DataError
from edgeflownas.evaluate.noise import pool_noise
from edgeflownas.evaluate.results import read_sample_errors, sample_errors_name

if TYPE_CHECKING:
    from edgeflownas.report.history import History

WIDTH, HEIGHT = 240.0, 18.0  # of a bar, in the units of its own drawing


def _recorded(history: History, row: int) -> dict[int, int]:
    """arch_index -> rank as recorded (arch_rank_12, shared by ties)."""
    found = re.findall(r"(?:^|(?<=\|))(\d+):(\d+):[^:|]*(?=\||$)", str(history.rows[row].get("arch_rank_12") or ""))
    return {int(arch): int(rank) for rank, arch in found if int(arch) < history.epes.shape[1]}


def ranks_of(history: History, row: int) -> NDArray[np.float64]:
    """Ranks [A] as recorded; by EPE where there are none."""
    found, known = np.full(history.epes.shape[1], np.nan), np.flatnonzero(np.isfinite(history.epes[row]))
    ordered = known[np.argsort(history.epes[row][known], kind="stable")]
    for arch, rank in (_recorded(history, row) or {int(a): place for place, a in enumerate(ordered, start=1)}).items():
        found[arch] = rank
    return found


@dataclass(frozen=True)
class PoolRow:
    """One subnet of the last evaluation; px.

    The difference to the best subnet is what is shown: unlike the EPE itself its bar starts at 0 and shows small
    differences, and its 95 % interval is that of the same difference, on the same pixels.
    """

    rank: str
    arch: int
    code: str
    epe: float
    behind: float
    interval: float | None  # half of the 95 % interval of ``behind``; None where it was not measured
    tied: bool  # shares its rank, or is within the interval of the best
    baseline: bool


def pool_rows(history: History) -> list[PoolRow]:
    """Rows of the last evaluation, best first; without a finite EPE last."""
    if not history.rows:
        return []
    epes, ranks = history.epes[-1], _recorded(history, -1)
    order = sorted(range(len(epes)), key=lambda arch: (not math.isfinite(epes[arch]), epes[arch], arch))
    best, times, intervals = order[0], Counter(ranks.values()), _intervals(history, order[0])
    rows = []
    for place, arch in enumerate(order, start=1):
        epe, interval = float(epes[arch]), intervals.get(arch)
        behind, rank = float(epes[arch] - epes[best]), ranks.get(arch, place if math.isfinite(epe) else "-")
        tied = times[ranks.get(arch, 0)] > 1 or (interval is not None and behind <= interval)
        code = history.codes[arch] if arch < len(history.codes) else ""
        rows.append(PoolRow(str(rank), arch, code, epe, behind, interval, tied, arch == history.baseline_index))
    return rows


def _intervals(history: History, best: int) -> dict[int, float]:
    """Half of the 95 % interval of each other subnet's difference to the best.

    From the errors of the samples of the last evaluation, where the run kept them for these subnets.
    """
    folder = history.source if history.source.is_dir() else history.source.parent
    path = folder / sample_errors_name(int(history.epochs[-1]))
    try:
        stored = read_sample_errors(path) if path.exists() else None
    except DataError:  # the history has no need of it; the table says that no interval is known
        return {}
    if stored is None or stored.codes != history.codes or stored.eval_set != history.text("eval_set")[-1]:
        return {}
    bounds = pool_noise(stored.sample_epe, stored.valid_pixels).bounds
    row = [] if bounds is None else bounds[best].tolist()
    return {arch: value for arch, value in enumerate(row) if arch != best and math.isfinite(value)}


class Bar(NamedTuple):
    """What is drawn of a difference, in units of 240 by 18: zero line, bar and whisker (or the arrow of a cut bar)."""

    zero: str
    x: str
    width: str
    whisker: str


def last_pool(history: History) -> dict[str, Any] | None:
    """What the page shows of the pool of the last evaluation; None for a single model or without an evaluation."""
    rows = pool_rows(history)
    if len(rows) < 2:
        return None
    reach = sorted(row.behind + (row.interval or 0.0) for row in rows if math.isfinite(row.behind)) or [0.0]
    # of a bar that dwarfs all others only a part is shown (it gets an arrow)
    value = reach[-2] if len(reach) > 3 and reach[-1] > 5.0 * reach[-2] > 0.0 else reach[-1]
    end = 1.0
    if value > 0.0:  # the next round number
        power = 10.0 ** math.floor(math.log10(value))
        steps = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 7.5, 10.0)
        end = float(next(step * power for step in steps if step * power >= value * 0.9999))
    measured = [row.behind - row.interval for row in rows if row.interval is not None]
    start = max(-end, min([0.0, *measured]))
    zero_flow = float(history.column("zero_flow_epe")[-1])
    worse = sum(row.epe > zero_flow for row in rows)
    return {
        "rows": [(row, _bar(row, start, end)) for row in rows],
        "measured": bool(measured),
        "epoch": int(history.column("epoch")[-1]),
        "range": f"{start:.2g} to {end:g} px".replace("-", "\u2212"),
        "zero_flow": f"; zero flow has {zero_flow:.4f} px" if math.isfinite(zero_flow) else "",
        "warning": f"{worse} of {len(rows)} score worse than zero flow ({zero_flow:.4f} px)." if worse else "",
    }


def _bar(row: PoolRow, start: float, end: float) -> Bar | None:
    """Bar from 0 to the difference and its interval, on an axis from ``start`` (0, or below where intervals reach)."""
    if not math.isfinite(row.behind):
        return None

    def place(value: float) -> float:
        return min(max((value - start) / (end - start), 0.0), 1.0) * WIDTH

    zero, whisker, middle = place(0.0), "", HEIGHT / 2
    if row.behind > end * 1.0001:
        whisker = f"M{WIDTH - 7} 3 l6 6 l-6 6"
    elif row.interval is not None:
        low, high = place(row.behind - row.interval), place(row.behind + row.interval)
        whisker = f"M{low:.1f} {middle - 4} v8 M{low:.1f} {middle} H{high:.1f} M{high:.1f} {middle - 4} v8"
    width = max(place(row.behind) - zero, 1.5)
    return Bar(f"M{zero:.1f} 0 V{HEIGHT:g}", f"{zero:.1f}", f"{width:.1f}", whisker)
