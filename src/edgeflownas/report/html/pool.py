"""The pool of the last evaluation as a table: how far each subnet is behind the best, and whether that can be seen.

A bar from 0 is the difference to the best subnet: unlike a bar of the EPE itself it shows small differences without
cutting the axis.  The whisker is the 95 % interval of that same difference, on the same pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeflownas.errors import DataError
from edgeflownas.evaluate.noise import PoolNoise, pool_noise
from edgeflownas.evaluate.results import read_sample_errors, sample_errors_name
from edgeflownas.report.html.markup import Markup, join, table, tag

if TYPE_CHECKING:
    from edgeflownas.report.histories import History

WIDTH, HEIGHT = 240.0, 18.0  # of a bar, in the units of its own drawing


@dataclass(frozen=True)
class PoolRow:
    """One subnet of the last evaluation; px."""

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
    epes = history.epes[-1]
    entries = [entry.split(":") for entry in (history.text("arch_rank_12")[-1] or "").split("|")]
    ranks = {int(arch): rank for rank, arch, _ in (e for e in entries if len(e) == 3) if arch.isdecimal()}
    order = sorted(range(len(epes)), key=lambda arch: (not math.isfinite(epes[arch]), epes[arch], arch))
    best = order[0]
    noise = _noise(history)
    intervals = None if noise is None else noise.bounds[best]
    shared = {rank for rank in ranks.values() if list(ranks.values()).count(rank) > 1}
    rows = []
    for place, arch in enumerate(order, start=1):
        behind = float(epes[arch] - epes[best])
        interval = None if intervals is None or not math.isfinite(intervals[arch]) else float(intervals[arch])
        rank = ranks.get(arch, str(place) if math.isfinite(epes[arch]) else "-")
        within = interval is not None and arch != best and behind <= interval
        code = history.codes[arch] if arch < len(history.codes) else ""
        rows.append(
            PoolRow(
                rank, arch, code, float(epes[arch]), behind, interval if arch != best else None,
                rank in shared or within, arch == history.baseline_index,
            )
        )  # fmt: skip
    return rows


def _noise(history: History) -> PoolNoise | None:
    """Noise of the last evaluation from the errors of its samples, where the run kept them for these subnets."""
    folder = history.source if history.source.is_dir() else history.source.parent
    path = folder / sample_errors_name(int(history.epochs[-1]))
    try:
        stored = read_sample_errors(path) if path.exists() else None
    except DataError:  # the history has no need of it; the table says that no interval is known
        return None
    if stored is None or stored.codes != history.codes or stored.eval_set != history.text("eval_set")[-1]:
        return None
    return pool_noise(stored.sample_epe, stored.valid_pixels)


def pool_section(history: History, anchor: str, run: int, heading: str, links: Markup | None) -> Markup | None:
    """The table with its bars; None for a single model or without an evaluation."""
    rows = pool_rows(history)
    if len(rows) < 2:
        return None
    measured = any(row.interval is not None for row in rows)
    reach = [row.behind + (row.interval or 0.0) for row in rows if math.isfinite(row.behind)]
    end = _round_up(_longest_shown(reach))
    start = max(-end, min([0.0, *(row.behind - row.interval for row in rows if row.interval is not None)]))
    zero_flow = float(history.column("zero_flow_epe")[-1])
    worse = sum(row.epe > zero_flow for row in rows)
    warning = f"{worse} of {len(rows)} score worse than zero flow ({zero_flow:.4f} px)." if worse else ""
    header = ["rank", "subnet", "EPE (px)", "behind the best (px)", f"{start:.2g} to {end:g} px".replace("-", "\u2212")]
    body = [_cells(row, start, end) for row in rows]
    interval = (
        "Whisker: 95 % interval of the difference to the best, on the same pixels; ≈ marks subnets that share their "
        "rank or are within that interval of the best."
        if measured
        else "No errors of single samples were stored, so no noise interval is known for these differences."
    )
    epoch = int(history.column("epoch")[-1])
    caption = f"Subnets at epoch {epoch}, best first; ★ is the baseline."
    return tag(
        "figure",
        tag("figcaption", tag("h3", heading), tag("p", "How far each subnet is behind the best one. ", interval)),
        table(caption, header, body, warning),
        links,
        id=f"fig-{anchor}",
        class_="pool",
        data_run=run,
    )


def _longest_shown(reach: list[float]) -> float:
    """The longest bar; of one that dwarfs all others only a part is shown (it gets an arrow)."""
    ordered = sorted(reach)
    longest = ordered[-1] if ordered else 0.0
    second = ordered[-2] if len(ordered) > 1 else longest
    return second if len(ordered) > 3 and longest > 5.0 * second > 0.0 else longest


def _round_up(value: float) -> float:
    """The next of 1, 2, 2.5, 5 times a power of ten; 1 for 0."""
    if not value > 0.0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    steps = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 7.5, 10.0)
    return float(next(step * power for step in steps if step * power >= value * 0.9999))


def _cells(row: PoolRow, start: float, end: float) -> list[str]:
    known = math.isfinite(row.epe)
    margin = None if row.interval is None else tag("span", f"± {row.interval:.4f}")
    words = "best" if row.behind == 0.0 else f"+{row.behind:.4f} " if math.isfinite(row.behind) else "-"
    return [
        row.rank + (" ≈" if row.tied else ""),
        tag("span", f"{row.arch}{' ★' if row.baseline else ''} ", tag("span", row.code), class_="pair"),
        (f"{row.epe:.4f}" if known else "nan"),
        tag("span", words, margin, class_="pair"),
        _bar(row, start, end),
    ]


def _bar(row: PoolRow, start: float, end: float) -> Markup:
    """Bar from 0 to the difference and its interval, on an axis from ``start`` (0, or below where intervals reach)."""
    if not math.isfinite(row.behind):
        return Markup("")

    def place(value: float) -> float:
        return min(max((value - start) / (end - start), 0.0), 1.0) * WIDTH

    middle, zero = HEIGHT / 2, place(0.0)
    kind = "tied" if row.tied else "apart"
    parts = [tag("path", d=f"M{zero:.1f} 0 V{HEIGHT:g}", class_="zero")]
    wide = max(place(row.behind) - zero, 1.5)
    parts.append(tag("rect", x=f"{zero:.1f}", y=4, width=f"{wide:.1f}", height=HEIGHT - 8, class_=kind))
    if row.behind > end * 1.0001:
        parts.append(tag("path", d=f"M{WIDTH - 7} 3 l6 6 l-6 6", class_="whisker"))
    elif row.interval is not None:
        low, high = place(row.behind - row.interval), place(row.behind + row.interval)
        cap = f"M{low:.1f} {middle - 4} v8 M{low:.1f} {middle} H{high:.1f} M{high:.1f} {middle - 4} v8"
        parts.append(tag("path", d=cap, class_="whisker"))
    box = f"-1 0 {WIDTH + 2:g} {HEIGHT:g}"
    return tag("svg", join(parts), viewBox=box, preserveAspectRatio="none", class_="bar", aria_hidden="true")
