"""A ranking in words: what it will cost before it begins, and its head when it is done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgeflownas.report.console import SRAM_COUNT, counted, duration, scaled
from edgeflownas.report.text_table import text_table


def workload_text(work: Mapping[str, Any]) -> str:
    """What is about to be done, as rank_space tells it."""
    macs = work["calibration_macs"] + work["evaluation_macs"]
    units = counted(work["units"] - work["units_done"], "unit")
    data, memory, disk = (scaled(work[f"{name}_bytes"], "B") for name in ("data", "memory", "disk"))
    done = f" ({work['units_done']} of {work['units']} units are done)" if work["units_done"] else ""
    many = f" by {work['processes']} processes" if work["processes"] > 1 else ""
    return (
        f"{counted(work['subnets'], 'subnet')} in {units}{done}, {counted(work['nodes'], 'node')}; "
        f"{scaled(macs, 'MAC')}, one by one it would be {work['one_by_one_macs'] / max(macs, 1):.0f} times as many\n"
        f"estimated: {duration(work['seconds'])}{many}, memory {memory} beside {data} of data, disk {disk}"
    )


def ranking_text(document: Mapping[str, Any]) -> str:
    """The best subnets with their margins, how many are as good as the best, the worst and the baseline."""
    facts = document["facts"]
    named = [*document["top"], document["worst"], *filter(None, [document["baseline"]])]
    marks = [""] * len(document["top"]) + ["worst"] + ["baseline"] * (document["baseline"] is not None)
    times = [name for name in named[0] if name.endswith("_ms")]
    heading = ("rank", "code", "epe", "+- 95 %", "median", "p90", "GMAC", "parameters", "sram_kib", *times, "")
    rows = [
        [*_cells(row), *(f"{row[name]:.2f}" for name in times), mark] for row, mark in zip(named, marks, strict=True)
    ]
    return "\n".join(
        [
            f"{counted(document['subnets'], 'subnet')} of {facts['space']}, {facts['run']}/{facts['checkpoint']}",
            f"epe: {facts['epe']}",
            text_table(heading, rows, left=("code", "")),
            SRAM_COUNT,
            _noise(document["within_noise_of_best"], document["top"][0]["epe"]),
        ]
    )


def _noise(tied: int | None, best: float | None) -> str:
    if best is None:
        return "no subnet has a finite EPE: all of them diverged"
    if tied is None:
        return "with one sample nothing is known of the noise"
    return f"within noise of the best (paired differences, 95 %): {counted(tied, 'subnet')}, itself included"


def _cells(row: Mapping[str, Any]) -> list[str]:
    """A figure that is not finite (a subnet that diverged) is a dash."""
    figures = [
        "-" if row[name] is None else f"{row[name]:.4f}" for name in ("epe", "epe_margin", "epe_median", "epe_p90")
    ]
    costs = (f"{row['macs'] / 1e9:.3f}", f"{row['parameters']:,}", f"{row['sram_kib']:.1f}")
    return [str(row["rank"]), row["code"], *figures, *costs]
