"""What the commands that judge and rank say: from their documents to lines and tables."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgeflownas.evaluate.noise import MOST_SAMPLES, rank_order
from edgeflownas.report.table import SRAM_COUNT, Column, Heading, Table, counted, duration, percent, scaled, told
from edgeflownas.space import Arch, SearchSpace

if TYPE_CHECKING:
    from edgeflownas.evaluate.pool import CalibrationSweep, PoolEvaluation
    from edgeflownas.evaluate.results import ResultRow
    from edgeflownas.run.evaluate import FrozenEvaluation

Document = Mapping[str, Any]
Blocks = list[str | Table]

WORDS = {"depth": "depths", "kernel": "kernels", "conv": "convolutions"}  # kind of choice -> heading
FIGURES = {
    **{"epe": "EPE px", "epe_per_image": "per image", "fl_all": "Fl-all %"},
    **{"px1": "<1px %", "px3": "<3px %", "px5": "<5px %"},
    **{"s0_10": "s0-10", "s10_40": "s10-40", "s40_plus": "s40+", "epe_occluded": "occluded", "epe_visible": "visible"},
}
MOST_OF_FRONT = 20  # rows of a front in the text; the files have all
_SEEDS = {"value": "mean", "lowest": "lowest", "highest": "highest"}


def figure_columns(percent_digits: int) -> list[Column]:
    """Columns of the figures of a result, shares in percent."""
    forms = {name: percent(percent_digits) if "%" in title else ".4f" for name, title in FIGURES.items()}
    return [Column(title, forms[name], name, left=False) for name, title in FIGURES.items()]


def tied(ranks: Sequence[int]) -> Callable[[int], str]:
    """Form of a rank: ``=3`` where others of ``ranks`` share it."""
    return lambda rank: f"{'=' * (ranks.count(rank) > 1)}{rank}"


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
    columns: Heading = [
        Column("rank", tied(places)),
        Column("index", name="arch_index"),
        Column("code", lambda code: f"{code} *" if code == baseline else code),
        *(Column(WORDS[kind], left=True, below=True) for kind in kinds),
        Column("EPE px", ".4f", "epe"),
        *([Column("+-", ".4f", "epe_margin")] if margins else []),
    ]
    notes = ["* bilinear baseline"] if baseline in [str(arch) for arch, _, _ in rows] else []
    if margins:
        notes.append("+-: 95 % of the evaluation set's noise; pairs are told apart better than this")
    if len(set(places)) < len(places):
        notes.append("=: shares its rank: within noise of the best of that rank, on the same pixels")
    if zero_flow_epe is not None:  # a line holds a margin or the difference in px
        columns += [] if margins else [Column("diff px", "+.3f", "difference")]
        columns.append(Column("diff %", "+.1f", "difference_percent"))
        notes.append(f"diff: to zero flow, whose EPE is {zero_flow_epe:.4f} px")
    lines = []
    for place, rank in zip(order, places, strict=True):
        arch, index, epe = by_index[place]
        chosen = list(zip(space.choices, space.arch(arch), strict=True))
        words = [" ".join(f"{one.name} {one.options[d]}" for one, d in chosen if one.kind == kind) for kind in kinds]
        line = [rank, index, str(arch), *words, epe, *([margins[place]] if margins else [])]
        if zero_flow_epe is not None:
            line += [] if margins else [epe - zero_flow_epe]
            line.append(100.0 * (epe - zero_flow_epe) / zero_flow_epe if zero_flow_epe > 0 else None)
        lines.append(line)
    return Table(columns, lines, notes, marked=[number for number, line in enumerate(lines) if line[2] == baseline])


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
    ranked = sorted(results, key=lambda row: row.epe)
    everyone = [*ranked, *references]
    labels = {(row.protocol, row.split_label, row.samples) for row in everyone}
    assert len(labels) == 1, f"one table holds one protocol and one split, got {labels}"
    first = everyone[0]
    rows = [[row.code or row.model, *(getattr(row, name) for name in FIGURES)] for row in everyone]
    apart = [len(ranked)] if references and results else []
    names = [name for name in dict.fromkeys(row.model for row in results if row.code)]
    title = (
        f"protocol {first.protocol}, split {first.split_label}, {first.samples} samples, {first.precision}, "
        f"input {first.batch_shape}"
    )
    table = Table(["model", *figure_columns(percent_digits=2)], rows, apart=apart)
    return [", ".join([*names, title]), table.lean()]


def result_document(results: Sequence[ResultRow], references: Sequence[ResultRow]) -> dict[str, Any]:
    """The same rows as plain data under what they have in common."""
    common = {name: getattr(results[0], name) for name in ("protocol", "split_label", "precision", "samples")}
    rows = {"results": results, "references": references}
    return {**common, **{name: [row.to_json() for row in part] for name, part in rows.items()}}


def calibration_view(found: CalibrationSweep) -> Blocks:
    """EPE of each arch under every calibration set, what changed between them, and the verdict."""
    own, largest, taus, verdicts = found.own_batches, max(found.others), found.taus(), found.verdicts()
    columns: Heading = [
        Column("index", missing=""),
        "code",
        Column(f"own {own}", ".4f", missing=""),
        *(Column(str(size), ".4f") for size in found.others),
        Column(f"{own}->{largest}", "+.4f", "more_batches"),
        Column("+-", ".4f", "more_batches_margin"),
        Column("own->other", "+.4f", "other_samples"),
        Column("+-", ".4f", "other_samples_margin"),
        Column(f"own->{largest}", "+.4f", "total"),
        Column("+-", ".4f", "total_margin"),
        Column("gap", ".4f"),
        "verdict",
    ]
    rows: list[list[Any]] = []
    for index in rank_order(found.own.epes):
        change = verdicts[index]
        more, other = (change.more, change.more_margin), (change.other, change.other_margin)
        last = (change.total, change.total_margin, change.relevant, change.verdict)
        epes = [result.epes[index] for result in (found.own, *found.others.values())]
        rows.append([index, str(found.own.scores[index].arch), *epes, *more, *other, *last])
    ordered = [told(taus[size], "{:.3f}") for size in found.others]
    rows.append([None, "Kendall tau", None, *ordered, *[""] * 8])
    return [
        Table(columns, rows),
        "EPE px by number of calibration batches: the run's own set, then growing random sets; Kendall tau: to its own",
        f"{own}->{largest}: change with more batches; own->other: with other samples; own->{largest}: with both; +-: "
        "95 % for the whole pool",
        "gap: to the pool's median EPE (at least the median gap); not calibration: all changes, with their +-, are "
        "smaller (docs/evaluation.md)",
    ]


def noise_view(document: Document) -> Blocks:
    """What an evaluation can tell apart (docs/evaluation.md); figures in px."""
    seeds, rows = document["seeds"], document["archs"]
    ranks, std = [row["rank"] for row in rows], seeds["std"] if seeds else {}
    columns: Heading = [
        Column("rank", tied(ranks)),
        Column("index", name="arch_index"),
        "code",
        Column("EPE px", ".4f", "epe"),
        Column("+-", ".4f", "epe_margin"),
        Column("Mparams", ".3f", "parameters", scale=1e6),
        Column("GMAC", ".3f", "macs", scale=1e9),
        *([Column("seed std", ".4f", "seed_std")] if std else []),
    ]
    records = [
        row | {"seed_std": std.get(row["code"])}
        for row in sorted(rows, key=lambda row: (row["rank"], row["epe"] or 0.0, row["arch_index"]))
    ]
    title = (
        f"{document['run']}, {document['tier']} evaluation after epoch {document['epoch']}: {document['samples']} "
        f"samples, evaluation set {document['eval_set']}"
    )
    runs = f"{len(seeds['seeds'])} runs, seeds {', '.join(map(str, seeds['seeds']))}" if seeds else ""
    notes = [f"note: {note}" for note in document["notes"]]
    table = Table.of(columns, records, printed=len(rows) > 1)
    if len(rows) == 1:  # nothing that needs a second one
        (row,) = rows
        alone = (
            f"{row['code']:<34}{px(row['epe'])} +- {px(row['epe_margin'])} (95 % interval by the evaluation samples)"
        )
        spread = [f"between training seeds            std {px(seeds['mean_epe_std'])} ({runs})"] if seeds else []
        return [title, table, alone, *spread, *notes]
    smallest, wished, needed = document["smallest_difference"], document["resolution"], document["samples_needed"]
    count = f"more than {MOST_SAMPLES:,}" if needed is None else f"{needed:,}"
    needs = f"{count} to tell {wished:.3g} px apart in half of the pairs" if wished else ""
    tau, trivial = "{:.3f}", document["trivial_rankings"]
    by_size = {name: told(trivial[name], tau, "undefined") for name in ("macs", "parameters")}
    lines = [
        "+-: 95 % interval by the evaluation samples; =: within noise of the best of its rank (paired, 95 %)",
        f"mean of the pool                  {px(document['mean_epe'])} +- {px(document['mean_epe_margin'])}",
        f"smallest difference at 95 %       {px(smallest)} (median of the pairs; worst "
        f"{px(document['smallest_difference_worst_pair'])}); "
        f"{told(document['tied_pairs'], '{:.1%}', 'unknown share').replace('%', ' %')} of the pairs are tied",
        f"samples needed                    {'cannot be told' if smallest is None or not wished else needs}",
        f"split-half rank correlation       {told(document['split_half_tau'], tau, 'undefined')} (Kendall's tau "
        "between random halves of the samples)",
        f"rank correlation with size        {by_size['macs']} with multiply-adds, {by_size['parameters']} with "
        "parameters (negative: larger is better)",
    ]
    if seeds:
        floors = [value for value in (smallest, seeds["smallest_difference"]) if value is not None]
        lines += [
            f"between training seeds            std {px(seeds['mean_epe_std'])} of the pool's mean, smallest "
            f"difference {px(seeds['smallest_difference'])} ({runs}, {seeds['shared_archs']} archs in all pools)",
            "a difference smaller than either is no difference: "
            + (f"two archs need more than {px(max(floors))}" if floors else "neither is known here"),
        ]
    return [title, table, *lines, *notes]


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
    columns: Heading = [
        "rank",
        "code",
        Column("epe", ".4f"),  # a subnet that diverged has none
        Column("+- 95 %", ".4f", "epe_margin"),
        Column("median", ".4f", "epe_median"),
        Column("p90", ".4f", "epe_p90"),
        Column("GMAC", ".3f", "macs", scale=1e9),
        Column("parameters", ","),
        Column("sram_kib", ".1f"),
        *(Column(name, ".2f") for name in best if name.endswith("_ms")),
        Column("", name="mark", left=True, missing=""),
    ]
    if best["epe"] is None:
        noise = "no subnet has a finite EPE: all of them diverged"
    elif tied_with_best is None:
        noise = "with one sample nothing is known of the noise"
    else:
        subnets = counted(tied_with_best, "subnet")
        noise = f"within noise of the best (paired differences, 95 %): {subnets}, itself included"
    return [
        f"{counted(document['subnets'], 'subnet')} of {facts['space']}, {facts['run']}/{facts['checkpoint']}",
        f"epe: {facts['epe']}",
        Table.of(columns, rows),
        SRAM_COUNT,
        noise,
    ]


def trust_view(document: Document) -> Blocks:
    """How far a ranking can be trusted (docs/trust.md); errors in px."""
    rankings, pairs, seeds = document["rankings"], document["pairs"], document["seeds"]
    changes = [row["change"] for row in rankings if row["change"]]
    tops, regrets = (list(rankings[0][name]) for name in ("precision", "regret"))
    columns: Heading = [
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
    within = (
        f"pairs of subnets                  {pairs['all']}; within sample noise: {pairs['truth_within_noise']} of the "
        "truth"
    )
    if pairs["both_apart"] is not None:
        within += (
            f", {pairs['inherited_within_noise']} inherited; of {pairs['both_apart']} told apart by both, "
            f"{pairs['both_apart_same_order']} in the same order"
        )
    truth = (
        f"truth                             seed {', '.join(map(str, seeds['in_truth']))}; standard deviation "
        f"{seeds['truth_std']:.4f} px between subnets"
    )
    ceiling, found = (
        "noise ceiling                     not known: at least three subnets need a second seed",
        seeds["compared"],
    )
    if found is not None:
        truth += f", {found['std']:.4f} px between trainings of one"
        most = told(found["attainable_tau"], "a perfect ranking would reach about {:.2f}", "they do not agree at all")
        ceiling = (
            f"noise ceiling                     tau {interval()(found['tau'])} between seeds {found['seeds'][0]} and "
            f"{found['seeds'][1]} of {found['subnets']} subnets; {most} against one of them"
        )
    return [
        f"{document['run']}/{document['checkpoint']}: {len(document['subnets'])} subnets trained alone for "
        f"{document['truth_steps']:,} steps, {document['samples']} samples, evaluation set {document['eval_set']}, "
        f"zero flow {document['zero_flow_epe']:.4f} px",
        Table.of(columns, rows),
        *(*lines, within, truth, ceiling),
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
    searches, curve = document["searches"], document["curve"]
    if len(searches) == 1:
        (one,) = searches
        step = max(1, -(-len(one["front"]) // MOST_OF_FRONT))
        shown = one["front"][::step]
        names = [*document["objectives"], "evaluation"]
        blocks: Blocks = [
            f"{one['strategy']}, seed {one['seed']}: {one['evaluated']} subnets evaluated, {len(one['front'])} on the "
            "front",
            Table.of(["code", *(Column(n, _number) for n in names)], shown, printed=bool(shown)),
            *([f"{len(shown)} of {len(one['front'])}, the others in front.csv"] if step > 1 else []),
        ]
    else:
        rows = []
        for name in dict.fromkeys(one["strategy"] for one in searches):
            own = [one for one in searches if one["strategy"] == name]
            sizes = sorted(len(one["front"]) for one in own)
            rows.append([name, len(own), max(one["evaluated"] for one in own), f"{sizes[0]} to {sizes[-1]}"])
        heading: Heading = ["strategy", "seeds", "evaluated", Column("on its front", left=False)]
        blocks = [Table(heading, rows)]
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
    rows = [
        [count, *({name: own[series][place] for name, series in _SEEDS.items()} for own in strategies)]
        for place, count in enumerate(curve["evaluations"])
        if count in counts
    ]
    several = any(own["seeds"] > 1 for own in strategies)
    return Table(["evaluations", *(Column(name, _share(several)) for name in curve["strategies"])], rows)


def _share(spread: bool) -> Callable[[Mapping[str, float]], str]:
    form = "{value:.2f} % ({lowest:.2f} to {highest:.2f})" if spread else "{value:.2f} %"
    return lambda share: form.format(**{name: 100 * value for name, value in share.items()})


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.0f}" if abs(value) >= 1e5 else f"{value:.4g}"
