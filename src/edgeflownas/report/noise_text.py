"""What an evaluation can tell apart, in words and one table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgeflownas.evaluate.noise import MOST_SAMPLES
from edgeflownas.report.text_table import text_table


def noise_text(document: Mapping[str, Any]) -> str:
    """The document of `edgeflownas noise` (see docs/evaluation.md) for people; figures in px."""
    seeds = document["seeds"]
    notes = [f"note: {note}" for note in document["notes"]]
    if len(document["archs"]) == 1:
        return "\n".join(_alone(document, seeds) + notes)
    lines = [
        _title(document),
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
    return "\n".join(lines + (_seeds(document, seeds) if seeds else []) + notes)


def _title(document: Mapping[str, Any]) -> str:
    return (
        f"{document['run']}, {document['tier']} evaluation after epoch {document['epoch']}: {document['samples']} "
        f"samples, evaluation set {document['eval_set']}"
    )


def _alone(document: Mapping[str, Any], seeds: Mapping[str, Any] | None) -> list[str]:
    """Of a single model: nothing that needs a second one."""
    row = document["archs"][0]
    lines = [
        _title(document),
        f"{row['code']:<34}{_px(row['epe'])} +- {_px(row['epe_margin'])} (95 % interval by the evaluation samples)",
    ]
    if seeds:
        lines.append(f"between training seeds            std {_px(seeds['mean_epe_std'])} ({_runs(seeds)})")
    return lines


def _runs(seeds: Mapping[str, Any]) -> str:
    return f"{len(seeds['seeds'])} runs, seeds {', '.join(map(str, seeds['seeds']))}"


def _needed(document: Mapping[str, Any]) -> str:
    name = "samples needed                    "
    wished, needed = document["resolution"], document["samples_needed"]
    if document["smallest_difference"] is None or not wished:
        return f"{name}cannot be told"
    count = f"more than {MOST_SAMPLES:,}" if needed is None else f"{needed:,}"
    return f"{name}{count} to tell {wished:.3g} px apart in half of the pairs"


def _seeds(document: Mapping[str, Any], seeds: Mapping[str, Any]) -> list[str]:
    floors = [value for value in (document["smallest_difference"], seeds["smallest_difference"]) if value is not None]
    return [
        f"between training seeds            std {_px(seeds['mean_epe_std'])} of the pool's mean, smallest difference "
        f"{_px(seeds['smallest_difference'])} ({_runs(seeds)}, "
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


def _px(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4f} px"


def _share(value: float | None) -> str:
    return "unknown share" if value is None else f"{100 * value:.1f} %"


def _tau(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"
