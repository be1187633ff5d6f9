"""How far a ranking can be trusted, in words and one table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgeflownas.report.text_table import text_table


def trust_text(document: Mapping[str, Any]) -> str:
    """The document of `edgeflownas trust` (see docs/trust.md) for people; errors in px."""
    title = (
        f"{document['run']}/{document['checkpoint']}: {len(document['subnets'])} subnets trained alone for "
        f"{document['truth_steps']:,} steps, {document['samples']} samples, evaluation set {document['eval_set']}, "
        f"zero flow {document['zero_flow_epe']:.4f} px"
    )
    lines = [title, _table(document["rankings"]), *_legend(document), _pairs(document["pairs"])]
    lines += [*_seeds(document["seeds"]), *(f"note: {note}" for note in document["notes"])]
    return "\n".join(lines)


def _table(rows: list[Mapping[str, Any]]) -> str:
    tops, regrets = (list(rows[0][name]) for name in ("precision", "regret"))
    changes = any(row["change"] for row in rows)
    heading = ["ranking by", "tau-b", "Spearman", *(f"of top {k}" for k in tops)]
    heading += [f"regret, best of {k}" if k != "1" else "regret" for k in regrets] + ["change of tau"] * changes
    cells = []
    for row in rows:
        figures = [_figure(row["tau"]), _figure(row["spearman"]), *(_figure(row["precision"][k]) for k in tops)]
        figures += [_figure(row["regret"][k], 4) for k in regrets]
        cells.append([row["name"], *figures, *([_figure(row["change"], sign="+")] if changes else [])])
    return text_table(heading, cells, ("ranking by",))


def _figure(figure: Mapping[str, float | None] | None, digits: int = 2, sign: str = "") -> str:
    if figure is None or figure["value"] is None:
        return "-"
    ends = [figure[name] for name in ("low", "high")]
    value = f"{figure['value']:{sign}.{digits}f}"
    return value if None in ends else f"{value} [{ends[0]:.{digits}f}, {ends[1]:.{digits}f}]"


def _legend(document: Mapping[str, Any]) -> list[str]:
    lines = [
        f"[ ]: 95 % interval over the subnets ({document['draws']:,} bootstrap draws); of top k: share of the "
        "ranking's best k that are truly among the best k; regret: true error of its first, less the best of all, px"
    ]
    visible = [row["change"]["smallest_visible"] for row in document["rankings"] if row["change"]]
    if any(value is not None for value in visible):
        listed = ", ".join("-" if value is None else f"{value:.2f}" for value in visible)
        lines.append(f"smallest change of tau that could be seen, row by row: {listed} (half of the paired interval)")
    return lines


def _pairs(pairs: Mapping[str, int | None]) -> str:
    tied = pairs["truth_within_noise"]
    text = f"pairs of subnets                  {pairs['all']}; within sample noise: {tied} of the truth"
    if pairs["both_apart"] is None:
        return text
    return (
        f"{text}, {pairs['inherited_within_noise']} inherited; of {pairs['both_apart']} told apart by both, "
        f"{pairs['both_apart_same_order']} in the same order"
    )


def _seeds(seeds: Mapping[str, Any]) -> list[str]:
    used = ", ".join(map(str, seeds["in_truth"]))
    truth = (
        f"truth                             seed {used}; standard deviation {seeds['truth_std']:.4f} px between subnets"
    )
    found = seeds["compared"]
    if found is None:
        return [truth, "noise ceiling                     not known: at least three subnets need a second seed"]
    attainable = found["attainable_tau"]
    most = "they do not agree at all" if attainable is None else f"a perfect ranking would reach about {attainable:.2f}"
    return [
        f"{truth}, {found['std']:.4f} px between trainings of one",
        f"noise ceiling                     tau {_figure(found['tau'])} between seeds {found['seeds'][0]} and "
        f"{found['seeds'][1]} of {found['subnets']} subnets; {most} against one of them",
    ]
