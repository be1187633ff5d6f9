"""What an evaluation can tell apart, in words and one table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgeflownas.report.text_table import text_table

__all__ = ["noise_text"]


def noise_text(document: Mapping[str, Any]) -> str:
    """The document of `edgeflownas noise` (see docs/evaluation.md) for people; figures in px."""
    seeds = document["seeds"]
    lines = [
        f"{document['run']}, {document['tier']} evaluation after epoch {document['epoch']}: {document['samples']} "
        f"samples, evaluation set {document['eval_set']}",
        _table(document["archs"], seeds["std"] if seeds else {}),
        "+-: 95 % interval by the evaluation samples; =: within noise of the best of its rank (paired, 95 %)",
        f"mean of the pool                  {_px(document['mean_epe'])} +- {_px(document['mean_epe_margin'])}",
        f"smallest difference at 95 %       {_px(document['smallest_difference'])} (median of the pairs; worst "
        f"{_px(document['smallest_difference_worst_pair'])}); {_share(document['tied_pairs'])} of the pairs are tied",
        _needed(document),
        f"split-half rank correlation       {_tau(document['split_half_tau'])} (Kendall's tau between random halves of "
        "the samples)",
    ]
    trivial = document["trivial_rankings"]
    lines.append(
        f"rank correlation with size        {_tau(trivial['macs'])} with multiply-adds, {_tau(trivial['parameters'])} "
        "with parameters (negative: larger is better)"
    )
    return "\n".join(lines + (_seeds(document, seeds) if seeds else []))


def _needed(document: Mapping[str, Any]) -> str:
    name = "samples needed                    "
    if document["samples_needed"] is None:
        return f"{name}cannot be told"
    return f"{name}{document['samples_needed']:,} to tell {_px(document['resolution'], 5)} apart in half of the pairs"


def _seeds(document: Mapping[str, Any], seeds: Mapping[str, Any]) -> list[str]:
    numbers = ", ".join(map(str, seeds["seeds"]))
    floors = [value for value in (document["smallest_difference"], seeds["smallest_difference"]) if value is not None]
    return [
        f"between training seeds            std {_px(seeds['mean_epe_std'])} of the pool's mean, smallest difference "
        f"{_px(seeds['smallest_difference'])} ({len(seeds['seeds'])} runs, seeds {numbers}, "
        f"{seeds['shared_archs']} archs in all pools)",
        "a difference smaller than either is no difference: "
        + (f"two archs need more than {_px(max(floors))}" if floors else "neither is known here"),
    ]


def _table(rows: list[Mapping[str, Any]], std: Mapping[str, float]) -> str:
    ranks = [row["rank"] for row in rows]
    heading = ["rank", "index", "code", "EPE px", "+-", "Mparams", "GMAC", *(["seed std"] if std else [])]
    cells = []
    for row in sorted(rows, key=lambda row: (row["rank"], row["epe"] or 0.0, row["arch_index"])):
        shared = "=" if ranks.count(row["rank"]) > 1 else ""
        size = [_scaled(row["parameters"], 1e6), _scaled(row["macs"], 1e9)]
        line = [f"{shared}{row['rank']}", str(row["arch_index"]), row["code"], _figure(row["epe"])]
        line += [_figure(row["epe_margin"]), *size]
        cells.append(line + ([f"{std[row['code']]:.4f}" if row["code"] in std else "-"] if std else []))
    return text_table(heading, cells, ("code",))


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _scaled(value: int | None, unit: float) -> str:
    return "-" if value is None else f"{value / unit:.3f}"


def _px(value: float | None, digits: int = 4) -> str:
    return "unknown" if value is None else f"{value:.{digits}f} px"


def _share(value: float | None) -> str:
    return "unknown share" if value is None else f"{100 * value:.1f} %"


def _tau(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"
