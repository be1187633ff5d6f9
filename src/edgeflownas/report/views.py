"""What the commands that judge and rank say: from their documents to lines and tables."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeflownas.errors import ConfigError
from edgeflownas.evaluate.noise import MOST_SAMPLES, rank_order
from edgeflownas.files import replace_file
from edgeflownas.report.table import SRAM_COUNT, Column, Heading, Table, columns, counted, duration, scaled, told
from edgeflownas.space import Arch, SearchSpace

if TYPE_CHECKING:
    from edgeflownas.evaluate.pool import CalibrationSweep, PoolEvaluation
    from edgeflownas.evaluate.results import ResultRow
    from edgeflownas.run.evaluate import FrozenEvaluation

Document = Mapping[str, Any]
Blocks = list[str | Table]

WORDS = {"depth": "depths", "kernel": "kernels", "conv": "convolutions"}  # kind of choice -> heading
ABOVE_ZERO_FLOW = "no better than zero flow: "
"""How the line begins that stands first where no subnet beats predicting no motion; red on a terminal."""
BESIDE_ZERO = Column("diff %", "+.1f", "difference_percent")
MOST_OF_FRONT = 20  # rows of a front in the text; the files have all


def figure_columns(digits: int) -> list[Column]:
    """Columns of the figures of a result (evaluate/results.py); shares in percent with so many digits."""
    line = (
        "EPE px:.4f=epe | per image:.4f=epe_per_image | Fl-all %:=fl_all | <1px %:=px1 | <3px %:=px3 | <5px %:=px5 | "
        "s0-10:.4f=s0_10 | s10-40:.4f=s10_40 | s40+:.4f=s40_plus | occluded:.4f=epe_occluded | visible:.4f=epe_visible"
    )
    return columns(line.replace("%:", f"%:.{digits}%"), left=False)


def tied(ranks: Sequence[int]) -> Callable[[int], str]:
    """Form of a rank: ``=3`` where others of ``ranks`` share it."""
    return lambda rank: f"{'=' * (ranks.count(rank) > 1)}{rank}"


def against_zero(epe: float | None, zero_flow_epe: float | None) -> float | None:
    """EPE against that of zero flow on the same pixels, in percent: negative where it is better."""
    return 100.0 * (epe - zero_flow_epe) / zero_flow_epe if epe is not None and zero_flow_epe else None


def beside_zero(rows: Iterable[Document], zero_flow_epe: float | None, target: str = "epe") -> list[Document]:
    """Rows with what :data:`BESIDE_ZERO` shows, of the EPE ``target``."""
    return [{**row, "difference_percent": against_zero(row[target], zero_flow_epe)} for row in rows]


def zero_flow_alarm(best: float | None, zero_flow_epe: float | None) -> Blocks:
    """What is said first where the best EPE (px) of a ranking does not beat zero flow; nothing where it is unknown."""
    if zero_flow_epe is None or (best is not None and best < zero_flow_epe):
        return []
    said = "no subnet has a finite EPE" if best is None else f"the best subnet has {best:.4f} px"
    return [
        f"{ABOVE_ZERO_FLOW}{said}, predicting no motion {zero_flow_epe:.4f} px on the same pixels, so this order means "
        "nothing: train longer, or ask `edgeflownas diagnose RUN` why"
    ]


def zero_flow_note(zero_flow_epe: float | None) -> Blocks:
    """Below a table with :data:`BESIDE_ZERO`."""
    return [] if zero_flow_epe is None else [f"diff: to zero flow, whose EPE is {zero_flow_epe:.4f} px"]


def px(value: float | None) -> str:
    """``1.2345 px``."""
    return told(value, "{:.4f} px", "unknown")


# ---- evaluations ----


def pool_table(
    rows: Sequence[tuple[Arch, int, float]],
    space: SearchSpace,
    zero_flow_epe: float | None,
    ranks: Sequence[int] = (),
    margins: Sequence[float] = (),
) -> Table:
    """Subnets ranked by EPE, best first.

    Args:
        rows: (arch, arch_index, EPE in px) of every subnet, in any order.
        space: the space of the archs; its baseline is marked with ``*``.
        zero_flow_epe: EPE in px of predicting no motion on the same pixels; None leaves the comparison out.
        ranks: by place in the order of arch_index, shared within noise (noise.tied_ranks); empty: everyone has its own.
        margins: half of the 95 % interval of each EPE, px, in the same order; empty where they are unknown.
    """
    by_index = sorted(rows, key=lambda row: row[1])
    order = rank_order([row[2] for row in by_index])
    places = [ranks[place] for place in order] if ranks else list(range(1, len(order) + 1))
    baseline = None if space.baseline is None else str(space.parse(space.baseline))
    kinds = [kind for kind in WORDS if any(choice.kind == kind for choice in space.choices)]
    heading: Heading = [
        Column("rank", tied(places)),
        Column("index", name="arch_index"),
        Column("code", lambda code: f"{code} *" if code == baseline else code),
        *(Column(WORDS[kind], left=True, below=True) for kind in kinds),
        *columns("EPE px:.4f=epe" + " | +-:.4f=epe_margin" * bool(margins)),
    ]
    notes = ["* bilinear baseline"] if baseline in [str(arch) for arch, _, _ in rows] else []
    if margins:
        notes.append("+-: 95 % of the evaluation set's noise; pairs are told apart better than this")
    if len(set(places)) < len(places):
        notes.append("=: shares its rank: within noise of the best of that rank, on the same pixels")
    if zero_flow_epe is not None:  # a line holds a margin or the difference in px
        heading += [*([] if margins else columns("diff px:+.3f=difference")), BESIDE_ZERO]
        notes += map(str, zero_flow_note(zero_flow_epe))
    lines = []
    for place, rank in zip(order, places, strict=True):
        arch, index, epe = by_index[place]
        chosen = list(zip(space.choices, space.arch(arch), strict=True))
        words = [" ".join(f"{one.name} {one.options[d]}" for one, d in chosen if one.kind == kind) for kind in kinds]
        line = [rank, index, str(arch), *words, epe, *([margins[place]] if margins else [])]
        if zero_flow_epe is not None:
            line += [] if margins else [epe - zero_flow_epe]
            line.append(against_zero(epe, zero_flow_epe))
        lines.append(line)
    return Table(heading, lines, notes, marked=[number for number, line in enumerate(lines) if line[2] == baseline])


def frozen_view(frozen: FrozenEvaluation, result: PoolEvaluation) -> Blocks:
    """The pool on the frozen evaluation set of a run."""
    held, noise = frozen.eval_set, result.noise
    pool = [(score.arch, index, score.epe) for index, score in enumerate(result.scores)]
    return [
        f"{frozen.checkpoint.name} ({frozen.weights}) on {held.evaluation.label}, evaluation set {held.hash}",
        pool_table(pool, frozen.net.space, result.zero_flow_epe, noise.ranks(result.epes), noise.margins()),
    ]


def results_view(results: Sequence[ResultRow], references: Sequence[ResultRow] = ()) -> Blocks:
    """Results by EPE, best first, then the references on the same pixels; a figure that nobody has gets no column.

    The first line names protocol, split and precision.
    """
    everyone = [*sorted(results, key=lambda row: row.epe), *references]
    first, labels = everyone[0], {(row.protocol, row.split_label, row.samples) for row in everyone}
    assert len(labels) == 1, f"one table holds one protocol and one split, got {labels}"
    figures = figure_columns(2)
    rows = [[row.code or row.model, *(getattr(row, figure.key) for figure in figures)] for row in everyone]
    title = [
        *dict.fromkeys(row.model for row in results if row.code),
        f"protocol {first.protocol}, split {first.split_label}, {first.samples} samples, {first.precision}, "
        f"input {first.batch_shape}",
    ]
    apart = [len(results)] if references and results else []
    return [", ".join(title), Table(["model", *figures], rows, apart=apart).lean()]


def result_document(results: Sequence[ResultRow], references: Sequence[ResultRow]) -> dict[str, Any]:
    """The same rows as plain data under what they have in common."""
    common = {name: getattr(results[0], name) for name in ("protocol", "split_label", "precision", "samples")}
    parts = {"results": results, "references": references}
    return common | {name: [row.to_json() for row in part] for name, part in parts.items()}


def calibration_view(found: CalibrationSweep) -> Blocks:
    """EPE of each arch under every calibration set, what changed between them, and the verdict."""
    own, largest, taus, verdicts = found.own_batches, max(found.others), found.taus(), found.verdicts()
    heading: Heading = [
        *columns("index", missing=""),
        "code",
        *columns(f"own {own}:.4f", missing=""),
        *columns(" | ".join(f"{size}:.4f" for size in found.others)),
        *columns(f"{own}->{largest}:+.4f=more_batches | +-:.4f=more_batches_margin | own->other:+.4f=other_samples"),
        *columns(f"+-:.4f=other_samples_margin | own->{largest}:+.4f=total | +-:.4f=total_margin | gap:.4f | verdict"),
    ]
    rows: list[list[Any]] = []
    for index in rank_order(found.own.epes):
        change = verdicts[index]
        epes = [result.epes[index] for result in (found.own, *found.others.values())]
        figures = [change.more, change.more_margin, change.other, change.other_margin, change.total]
        figures += [change.total_margin, change.relevant]
        rows.append([index, str(found.own.scores[index].arch), *epes, *figures, change.verdict])
    ordered = [told(taus[size], "{:.3f}") for size in found.others]
    rows.append([None, "Kendall tau", None, *ordered, *[""] * 8])
    return [
        Table(heading, rows),
        "EPE px by number of calibration batches: the run's own set, then growing random sets; Kendall tau: to its own",
        f"{own}->{largest}: change with more batches; own->other: with other samples; own->{largest}: with both; +-: "
        "95 % for the whole pool",
        "gap: to the pool's median EPE (at least the median gap); not calibration: all changes, with their +-, are "
        "smaller (docs/evaluation.md)",
    ]


def noise_view(document: Document) -> Blocks:
    """What an evaluation can tell apart (docs/evaluation.md); figures in px."""
    seeds, rows = document["seeds"], document["archs"]
    std = seeds["std"] if seeds else {}
    heading: Heading = [
        Column("rank", tied([row["rank"] for row in rows])),
        *columns("index=arch_index | code | EPE px:.4f=epe | +-:.4f=epe_margin | Mparams:.3f/1e6=parameters"),
        *columns("GMAC:.3f/1e9=macs" + " | seed std:.4f=seed_std" * bool(std)),
    ]
    ordered = sorted(rows, key=lambda row: (row["rank"], row["epe"] or 0.0, row["arch_index"]))
    records = [row | {"seed_std": std.get(row["code"])} for row in ordered]
    title = "{run}, {tier} evaluation after epoch {epoch}: {samples} samples, evaluation set {eval_set}"
    blocks: Blocks = [title.format_map(document), Table.of(heading, records, printed=len(rows) > 1)]
    runs = f"{len(seeds['seeds'])} runs, seeds {', '.join(map(str, seeds['seeds']))}" if seeds else ""
    between = f"between training seeds            std {px(seeds['mean_epe_std'])}" if seeds else ""
    notes = [f"note: {note}" for note in document["notes"]]
    if len(rows) == 1:  # nothing that needs a second one
        (row,) = rows
        alone = f"{row['code']:<34}{px(row['epe'])} +- {px(row['epe_margin'])}"
        seen = [f"{between} ({runs})"] if seeds else []
        return [*blocks, f"{alone} (95 % interval by the evaluation samples)", *seen, *notes]
    smallest, wished, needed = document["smallest_difference"], document["resolution"], document["samples_needed"]
    count = f"more than {MOST_SAMPLES:,}" if needed is None else f"{needed:,}"
    needs = f"{count} to tell {wished:.3g} px apart in half of the pairs" if wished and smallest is not None else ""
    taus = {"half": document["split_half_tau"], **document["trivial_rankings"]}
    tau = {name: told(value, "{:.3f}", "undefined") for name, value in taus.items()}
    lines = [
        "+-: 95 % interval by the evaluation samples; =: within noise of the best of its rank (paired, 95 %)",
        f"mean of the pool                  {px(document['mean_epe'])} +- {px(document['mean_epe_margin'])}",
        f"smallest difference at 95 %       {px(smallest)} (median of the pairs; worst "
        f"{px(document['smallest_difference_worst_pair'])}); "
        f"{told(document['tied_pairs'], '{:.1%}', 'unknown share').replace('%', ' %')} of the pairs are tied",
        f"samples needed                    {needs or 'cannot be told'}",
        f"split-half rank correlation       {tau['half']} (Kendall's tau between random halves of the samples)",
        f"rank correlation with size        {tau['macs']} with multiply-adds, {tau['parameters']} with parameters "
        "(negative: larger is better)",
    ]
    if seeds:
        floors = [value for value in (smallest, seeds["smallest_difference"]) if value is not None]
        known = f"two archs need more than {px(max(floors))}" if floors else "neither is known here"
        lines += [
            f"{between} of the pool's mean, smallest difference {px(seeds['smallest_difference'])} ({runs}, "
            f"{seeds['shared_archs']} archs in all pools)",
            f"a difference smaller than either is no difference: {known}",
        ]
    return [*blocks, *lines, *notes]


# ---- rankings ----


def workload_text(work: Document) -> str:
    """What a ranking is about to do, as rank_space tells it, and what that will cost."""
    macs = work["calibration_macs"] + work["evaluation_macs"]
    data, memory, disk = (scaled(work[f"{name}_bytes"], "B") for name in ("data", "memory", "disk"))
    done = f" ({work['units_done']} of {work['units']} units are done)" if work["units_done"] else ""
    many = f" by {work['processes']} processes" if work["processes"] > 1 else ""
    return (
        f"{counted(work['subnets'], 'subnet')} in {counted(work['units'] - work['units_done'], 'unit')}{done}, "
        f"{counted(work['nodes'], 'node')}; {scaled(macs, 'MAC')}, one by one it would be "
        f"{work['one_by_one_macs'] / max(macs, 1):.0f} times as many\n"
        f"estimated: {duration(work['seconds'])}{many}, memory {memory} beside {data} of data, disk {disk}"
    )


def ranking_view(document: Document) -> Blocks:
    """The best subnets with their margins, how many are as good as the best, the worst and the baseline."""
    facts, best, tied_with_best = document["facts"], document["top"][0], document["within_noise_of_best"]
    rows = [*document["top"], document["worst"] | {"mark": "worst"}]
    if document["baseline"] is not None:
        rows.append(document["baseline"] | {"mark": "baseline"})
    zero = document["zero_flow_epe"]
    heading: Heading = [  # a subnet that diverged has no epe
        *columns("rank | code | epe:.4f"),
        *([] if zero is None else [BESIDE_ZERO]),
        *columns("+- 95 %:.4f=epe_margin | median:.4f=epe_median | p90:.4f=epe_p90 | GMAC:.3f/1e9=macs"),
        *columns("parameters:, | sram_kib:.1f"),
    ]
    heading += [Column(name, ".2f") for name in best if name.endswith("_ms")]
    heading.append(Column("", name="mark", left=True, missing=""))
    if best["epe"] is None:
        noise = "no subnet has a finite EPE: all of them diverged"
    elif tied_with_best is None:
        noise = "with one sample nothing is known of the noise"
    else:
        subnets = counted(tied_with_best, "subnet")
        noise = f"within noise of the best (paired differences, 95 %): {subnets}, itself included"
    return [
        *zero_flow_alarm(best["epe"], zero),
        f"{counted(document['subnets'], 'subnet')} of {facts['space']}, {facts['run']}/{facts['checkpoint']}",
        f"epe: {facts['epe']}",
        Table.of(heading, beside_zero(rows, zero)),
        *zero_flow_note(zero),
        SRAM_COUNT,
        noise,
    ]


def trust_view(document: Document) -> Blocks:
    """How far a ranking can be trusted (docs/trust.md); errors in px."""
    rankings, pairs, seeds = document["rankings"], document["pairs"], document["seeds"]
    changes = [row["change"] for row in rankings if row["change"]]
    tops, regrets = (list(rankings[0][name]) for name in ("precision", "regret"))
    heading: Heading = [
        Column("ranking by", name="name"),
        Column("tau-b", interval(), "tau"),
        Column("Spearman", interval(), "spearman"),
        *(Column(f"of top {k}", interval(), f"precision_{k}") for k in tops),
        *(Column(f"regret, best of {k}" if k != "1" else "regret", interval(4), f"regret_{k}") for k in regrets),
        *([Column("change of tau", interval(sign="+"), "change")] if changes else []),
    ]
    rows = [
        row | {f"{name}_{k}": figure for name in ("precision", "regret") for k, figure in row[name].items()}
        for row in rankings
    ]
    lines = [
        f"[ ]: 95 % interval over the subnets ({document['draws']:,} bootstrap draws); of top k: share of the "
        "ranking's best k that are truly among the best k; regret: true error of its first, less the best of all, px"
    ]
    if any(change["smallest_visible"] is not None for change in changes):
        listed = ", ".join(told(change["smallest_visible"], "{:.2f}") for change in changes)
        lines.append(f"smallest change of tau that could be seen, row by row: {listed} (half of the paired interval)")
    within = "pairs of subnets                  {all}; within sample noise: {truth_within_noise} of the truth"
    if pairs["both_apart"] is not None:
        within += ", {inherited_within_noise} inherited; of {both_apart} told apart by both, {both_apart_same_order} "
        within += "in the same order"
    truth = (
        f"truth                             seed {', '.join(map(str, seeds['in_truth']))}; standard deviation "
        f"{seeds['truth_std']:.4f} px between subnets"
    )
    known, found = "not known: at least three subnets need a second seed", seeds["compared"]
    if found is not None:
        truth += f", {found['std']:.4f} px between trainings of one"
        most = told(found["attainable_tau"], "a perfect ranking would reach about {:.2f}", "they do not agree at all")
        known = "tau {} between seeds {seeds[0]} and {seeds[1]} of {subnets} subnets; {most} against one of them"
        known = known.format(interval()(found["tau"]), **found, most=most)
    title = (
        "{run}/{checkpoint}: {count} subnets trained alone for {truth_steps:,} steps, {samples} samples, evaluation "
        "set {eval_set}, zero flow {zero_flow_epe:.4f} px"
    )
    return [
        title.format(**document, count=len(document["subnets"])),
        Table.of(heading, rows),
        *(*lines, within.format_map(pairs), truth, f"noise ceiling                     {known}"),
        *(f"note: {note}" for note in document["notes"]),
    ]


def interval(digits: int = 2, sign: str = "") -> Callable[[Mapping[str, float | None]], str]:
    """Form of a figure with value, low and high: ``0.50 [0.40, 0.60]``."""

    def form(figure: Mapping[str, float | None]) -> str:
        text = told(figure["value"], f"{{:{sign}.{digits}f}}")
        if None in (figure["value"], figure["low"], figure["high"]):
            return text
        return f"{text} [{figure['low']:.{digits}f}, {figure['high']:.{digits}f}]"

    return form


def search_view(document: Document) -> Blocks:
    """The front of a single search, one line for each strategy of several, and the curve."""
    searches, curve, zero = document["searches"], document["curve"], document["zero_flow_epe"]
    zero = zero if "epe" in document["objectives"] else None  # else it is another set's, of a table
    best = min((row["epe"] for one in searches for row in one["front"] if zero is not None), default=None)
    if len(searches) == 1:
        (one,) = searches
        front = one["front"]
        shown = front[:: max(1, -(-len(front) // MOST_OF_FRONT))]
        names = [*document["objectives"], "evaluation"]
        heading: Heading = ["code", *(Column(name, _number) for name in names)]
        if zero is not None:
            heading.insert(2 + names.index("epe"), BESIDE_ZERO)
            shown = beside_zero(shown, zero)
        blocks: Blocks = [
            *zero_flow_alarm(best, zero),
            f"{one['strategy']}, seed {one['seed']}: {one['evaluated']} subnets evaluated, {len(front)} on the front",
            Table.of(heading, shown, printed=bool(shown)),
            *zero_flow_note(zero),
            *([f"{len(shown)} of {len(front)}, the others in front.csv"] if len(shown) < len(front) else []),
        ]
    else:
        rows = []
        for name in dict.fromkeys(one["strategy"] for one in searches):
            own = [one for one in searches if one["strategy"] == name]
            sizes = sorted(len(one["front"]) for one in own)
            rows.append([name, len(own), max(one["evaluated"] for one in own), f"{sizes[0]} to {sizes[-1]}"])
        known = [] if zero is None else [f"best EPE {px(best)}, zero flow {zero:.4f} px"]
        heading = [*columns("strategy | seeds | evaluated"), Column("on its front", left=False)]
        blocks = [*zero_flow_alarm(best, zero), Table(heading, rows), *known]
    if curve is None:
        return blocks
    seeds = max(own["seeds"] for own in curve["strategies"].values())
    reference = ", ".join(f"{name} {_number(value)}" for name, value in curve["reference"].items())
    spread = f"; mean (lowest to highest) of {seeds} seeds" if seeds > 1 else ""
    return [
        *blocks,
        f"\nshare of the hypervolume of the exact front ({curve['exact_front']} subnets), reference point {reference}"
        f"{spread}",
        curve_table(curve, curve["shown"]),
    ]


def curve_table(curve: Document, counts: Collection[int]) -> Table:
    """After so many evaluations the share of the hypervolume of each strategy, with its lowest and highest seed."""
    strategies = curve["strategies"].values()
    several = any(own["seeds"] > 1 for own in strategies)

    def share(found: Mapping[str, float]) -> str:
        between = f" ({100 * found['lowest']:.2f} to {100 * found['highest']:.2f})" if several else ""
        return f"{100 * found['value']:.2f} %{between}"

    rows = []
    for place, count in enumerate(curve["evaluations"]):
        found = [
            {"value": own["mean"][place]} | {n: own[n][place] for n in ("lowest", "highest")} for own in strategies
        ]
        rows += [[count, *found]] if count in counts else []
    return Table(["evaluations", *(Column(name, share) for name in curve["strategies"])], rows)


def write_search(folder: Path, document: Document, warn: Callable[[str], None] = print) -> dict[str, Path]:
    """Write search.json, front.csv and, with a curve, curve.csv and (with matplotlib) curve.png; returns them by name.

    ``warn`` is told where the picture is left out.

    Raises:
        StorageError: the folder cannot be written.
    """
    written = {"result": folder / "search.json", "front": folder / "front.csv"}
    replace_file(written["result"], [(json.dumps(document, indent=2, allow_nan=False) + "\n").encode()])
    rows = [{"strategy": o["strategy"], "seed": o["seed"], **row} for o in document["searches"] for row in o["front"]]
    replace_file(written["front"], [Table.of(list(rows[0]) if rows else ["code"], rows).csv()])
    if document["curve"] is not None:
        written["curve"] = folder / "curve.csv"
        replace_file(written["curve"], [curve_table(document["curve"], document["curve"]["evaluations"]).csv()])
        from edgeflownas.report.plot import search_figure

        try:
            replace_file(folder / "curve.png", [search_figure(document)])
            written["picture"] = folder / "curve.png"
        except ConfigError as error:  # a missing picture must not cost the rest
            warn(f"{folder / 'curve.png'} is not written: {error}")
    return written


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.0f}" if abs(value) >= 1e5 else f"{value:.4g}"


# ---- weights of the package ----


def weights_view(document: Document) -> Blocks:
    """A line for each of the package's weights, with the error on its own evaluation pairs and its cost on a chip."""
    heading: Heading = [
        *columns("name | code | width | KiB:.0f/1024=bytes | EPE px:.2f=epe | zero flow:.2f=zero_flow"),
        *columns("int8 loss %:+.1f=int8_loss_percent | chip ms:.1f=chip_ms | chip KiB:.0f=chip_kib"),
    ]
    records = []
    for card in document["weights"]:
        first, int8, vela = (card["epe"] or [{}])[0], card["int8"] or {}, card["vela"] or {}
        figures = {"epe": first.get("epe_per_image"), "zero_flow": first.get("zero_flow")}
        cost = {"chip_ms": vela.get("milliseconds"), "chip_kib": vela.get("sram_kib")}
        code = card["code"] or "(supernet)"
        records.append({**card, "code": code, **figures, "int8_loss_percent": int8.get("loss_percent"), **cost})
    labels = {
        f"EPE: {card['epe'][0]['protocol']} on {card['epe'][0]['data']}" for card in document["weights"] if card["epe"]
    }
    return [Table.of(heading, records, notes=sorted(labels)).lean()] if records else []


def card_view(card: Document) -> Blocks:
    """A card: what the weights are and how they were made, line by line; their errors; their cost on the chip."""
    code, (rows, cols), machine = card["code"] or "all subnets", card["size"], card["machine"]
    lines = [
        f"weights:{card['name']}: {code} of space {card['space']}, width {card['width']}, for {rows}x{cols}",
        f"file      {card['bytes']:,} bytes, kernels in {card['storage']}, sha256 {card['sha256'][:16]}",
        f"recipe    {card['recipe']}, commit {card['commit'] or 'unknown'}",
        f"data      {card['data']}",
        f"trained   on {card['pairs_seen']:,} pairs in {card['hours']:.2f} h",
        f"machine   {machine['cpu']}, threads: {machine['threads']}",
        f"licence   {card['licence']}",
    ]
    if (int8 := card["int8"]) is not None:
        lines.append(f"int8      EPE {px(int8['epe'])}, float {px(int8['float_epe'])}, {int8['data']}")
    if (vela := card["vela"]) is not None:
        cost = (
            f"{vela['milliseconds']:.1f} ms, {vela['sram_kib']:.0f} KiB of SRAM, {vela['flash_kib']:.0f} KiB of flash"
        )
        lines.append(f"chip      {vela['target']}: {cost}")
    line = "data | protocol | per image:.4f=epe_per_image | EPE px:.4f=epe | zero flow:.4f=zero_flow | samples"
    return [*lines, *([Table.of(columns(line), card["epe"])] if card["epe"] else [])]
