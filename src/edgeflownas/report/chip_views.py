"""What the commands about chips and files for them say: costs, what fits, exports and their verification."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeflownas.hardware.costs import stage_costs
from edgeflownas.hardware.latency import WARM_UP, CpuLatency, draw_archs
from edgeflownas.models.graph import Buffer
from edgeflownas.report.console import Console
from edgeflownas.report.table import Column, Heading, Table, columns, counted, duration, size_text, told
from edgeflownas.report.views import BESIDE_ZERO, Blocks, Document, against_zero, zero_flow_note
from edgeflownas.space import Arch, SearchSpace

NEAREST = 3  # cases shown of those that a limit stops
COSTS = {
    "parameters": "parameters",
    "macs": "multiply-adds",
    "int8_weight_kib": "int8 weights, KiB",
    "sram_kib": "peak of activations, KiB",
    "cpu_ms": "CPU time, ms (measured)",
}


# ---- edgeflownas vela ----


def vela_view(documents: Sequence[Document]) -> Blocks:
    """One model operator by operator (docs/vela.md), or several, of the same target and mode, a row each."""
    facts = documents[0]["facts"]
    not_kept: Blocks = [f"! {not_kept_text(one)}" for one in documents if not one["arena_kept"]]
    if len(documents) == 1:
        return [*_operators(documents[0], not_kept), facts_text(facts)]
    heading: Heading = [
        *columns("model=name | ms:,.2f=milliseconds | a second:,.1f=fps"),
        Column("SRAM KiB", lambda sram: f"{sram['value']:,.1f}{'' if sram['kept'] else '!'}", "sram_kib"),
        *columns(f"{constants_word(facts)} KiB:,.1f=flash_kib | MMAC:,.1f/1e6=macs | MAC use %:.0%=utilisation"),
        *columns("operators=npu_ops"),
    ]
    rows = [
        {**one, "fps": 1e3 / one["milliseconds"], "sram_kib": {"value": one["sram_kib"], "kept": one["arena_kept"]}}
        for one in documents
    ]
    return [Table.of(heading, rows), *not_kept, facts_text(facts)]


def _operators(document: Document, not_kept: Blocks) -> Blocks:
    """A row for each operator, the total, the peak of memory."""
    cycles, layers, peak = int(document["cycles"]), document["layers"], document["peak"]
    rows = [
        layer
        | {
            "name": {"value": layer["name"], "cascade": layer["cascade"]},
            "milliseconds": float(document["milliseconds"]) * layer["cycles"] / cycles,
            "share": layer["cycles"] / cycles,
            "sram_kib": layer["sram_bytes"] / 1024,
        }
        for layer in layers
    ]
    rows.append({**document, "name": {"value": "total", "cascade": 0}, "kind": "", "share": 1.0})
    heading: Heading = [
        Column("operator", lambda name: name["value"] + f" [{name['cascade']}]" * (name["cascade"] != 0), "name", True),
        *columns("kind | ms:,.2f=milliseconds | %:.1%=share | MMAC:,.1f/1e6=macs | MAC use %:.0%=utilisation"),
        *columns("SRAM KiB:,.1f=sram_kib"),
    ]
    words = {"tensor": "", "stripes": "stripes of ", "weights": "weights of "}
    alive = ", ".join(f"{words[b['use']]}{' = '.join(b['names'])} {b['bytes'] / 1024:,.1f}" for b in peak["alive"])
    gaps = f", gaps {peak['gaps_kib']:,.1f}" if peak["gaps_kib"] else ""
    used = ", ".join(f"{name} {kib:,.1f} KiB" for name, kib in document["memories"].items())
    cascades = any(layer["cascade"] for layer in layers)
    return [
        document["name"],
        Table.of(heading, rows),
        f"peak of SRAM at {', '.join(peak['operators'])}: {alive}{gaps} KiB",
        *(["[n]: operators of one cascade run stripe by stripe in turn"] if cascades else []),
        *not_kept,
        f"memory: {used} (weights compressed); operators: {document['npu_ops']} on the accelerator, "
        f"{document['cpu_ops']} on the CPU",
    ]


def targets_view(targets: Sequence[Mapping[str, str]]) -> Blocks:
    """A row for each target."""
    return [Table.of(columns("target=name | accelerator | system_config | memory_mode | ini"), targets)]


def facts_text(facts: Mapping[str, str]) -> str:
    """What decides the figures of a chip, in a line."""
    return (
        "Vela {version}, {target}: {accelerator} at {clock}, mode {mode}, arena {arena}, {system_config} / "
        "{memory_mode}, ini sha256 {ini_sha256:.12}"
    ).format_map(facts)


def constants_word(facts: Mapping[str, str]) -> str:
    """Where weights and biases lie: ``flash``, or ``weights in Dram``."""
    return "flash" if "Flash" in facts["constants"] else f"weights in {facts['constants']}"


def not_kept_text(document: Document) -> str:
    """For a model with ``arena_kept`` false."""
    return (
        f"{document['name']}: the limit of the arena, {document['facts']['arena']}, is not kept: "
        f"it needs {document['sram_kib']:,.1f} KiB"
    )


# ---- edgeflownas fit-target ----


def fit_view(document: Document) -> Blocks:
    """What fits a chip, and why the rest does not (docs/fit_target.md)."""
    facts, budget, constants = document["facts"], document["budget"], constants_word(document["facts"])
    limits = {"sram_kib": ("SRAM", "KiB"), "flash_kib": (constants, "KiB"), "milliseconds": ("time", "ms")}
    at_most = ", ".join(f"{limits[name][0]} {most:,.6g} {limits[name][1]}" for name, most in budget.items() if most)
    failed: Blocks = []
    for limit, (word, unit) in limits.items():
        rows = sorted((r for r in document["failed"] if r["limit"] == limit), key=lambda r: r["needs"] / r["allowed"])
        if rows:
            few = counted(len(rows), "case")
            failed.append(f"{word}: {few}, where even the smallest subnet needs too much, nearest:")
        failed += [
            f"  {size_text(row['size'])} {row['outputs']}: {row['needs']:,.1f} {unit}, "
            f"{row['needs'] / row['allowed'] - 1:.1%} over {row['allowed']:,.1f} ({row['code']}, {row['mode']}, by "
            f"{row['by']})"
            for row in rows[:NEAREST]
        ]
    if document["too_slow"]:
        pairs = int(document["subnets"] * (document["cases"] - len(document["failed"])))  # of cases where one fits
        failed.append(
            f"time: in the other cases {document['too_slow']:,} of {pairs:,} subnets x cases are too slow by the table "
            "(an estimate)"
        )
    return [
        f"{document['subnets']:,} subnets of {document['space']}, width {document['width']}, in "
        f"{counted(document['cases'], 'case')} (image size and outputs); at most {at_most}",
        "{target}: Vela {version}, {accelerator} at {clock}, ini {ini_sha256:.12}".format_map(facts),
        "",
        *_fits(document, constants),
        *(["", "what does not fit:", *failed] if failed else []),
    ]


def _fits(document: Document, constants: str) -> Blocks:
    rows, ranked = document["fits"], document["ranked_at"]
    if not rows:
        return ["nothing fits"]
    heading = columns(
        f"code | size | outputs | ms:.2f=milliseconds | fps:.2f | SRAM KiB:.1f=sram_kib | "
        f"{constants} KiB:.1f=flash_kib | mode"
    )
    heading[1] = Column("size", size_text)
    order: Blocks = ["order: most multiply-adds of the graph first; no accuracy is known without a ranking"]
    if ranked is not None:
        heading.insert(1, Column("epe", lambda epe: f"{epe['value']:.4f}{' ' if epe['measured_here'] else '*'}"))
        rows = [{**row, "epe": {"value": row["epe"], "measured_here": row["epe_measured_here"]}} for row in rows]
        order = [
            "order: smallest EPE first, then finer outputs, then larger images",
            f"* measured at {size_text(ranked)} with the flow at full size, and only assumed to keep its order at this "
            "size and these outputs; larger images and finer outputs are usually better",
        ]
    if document["further"]:
        order.append(
            f"{counted(document['further'], 'further case')}: the smallest subnet fits, the best that does was not "
            "looked for (--top)"
        )
    head = "what fits, the best subnet of each case; figures are Vela's of the whole graph:"
    return [head, Table.of(heading, rows), *order]


def fit_table(document: Document) -> Table:
    """A row for each size and outputs that was decided: ``fits`` yes or no, and why not."""
    rows = [{"fits": "yes", **row} for row in document["fits"]] + [{"fits": "no", **row} for row in document["failed"]]
    for row in rows:
        mode, _, arena = row["mode"].partition(", arena ")
        row["size"] = size_text(row["size"])
        row["figures_by"] = facts_text(document["facts"] | {"mode": mode, "arena": arena or "no limit"})
    return Table.of(list(dict.fromkeys(name for row in rows for name in row)), rows)


# ---- edgeflownas export, edgeflownas verify ----


def export_view(report: Document) -> Blocks:
    """The facts of report.json (docs/export.md): files, what quantisation costs in EPE, time on chip and CPU."""
    facts, vela = report["model"], report.get("vela")
    files = [
        {"file": name, "kib": entry["bytes"] / 1024, "what": entry["what"]} for name, entry in report["files"].items()
    ]
    measured = ", ".join(f"{name} {value:.1f} ms" for name, value in report["measured"]["cpu_ms"].items())
    chip: Blocks = []
    if vela is not None:
        words = (
            "on the chip: {milliseconds:.2f} ms ({fps:.1f} a second), SRAM {sram_kib:,.0f} KiB, {word} "
            "{flash_kib:,.0f} KiB, {npu_ops} operators on the NPU, {cpu_ops} on the CPU"
        )
        chip = ["", words.format(**vela, word=constants_word(vela)), facts_text(vela)]
    return [
        f"subnet {facts['code']} of {facts['space']}, width {facts['width']}, {size_text(facts['size'])}",
        "",
        Table.of(columns("file | KiB:,.1f=kib | what"), files),
        "",
        *(verification_view(report["verification"]) if report["verification"] else ["not verified"]),
        *chip,
        "",
        f"on this CPU, one thread: {measured}",
    ]


def folder_view(document: Document) -> Blocks:
    """A deploy folder held against its report (docs/verify.md)."""
    facts, files, vectors, found = (document[name] for name in ("model", "files", "vectors", "verification"))
    told_above = [] if found is None else found["reasons"]
    return [
        f"{document['folder']}: subnet {facts['code']} of {facts['space']}, width {facts['width']}, "
        f"{size_text(facts['size'])}",
        f"files with the hash of the report: {sum(not problem for problem in files.values())} of {len(files)}",
        f"outputs of test vectors that LiteRT gives to the bit: {sum(not one['differing'] for one in vectors)} of "
        f"{len(vectors)}",
        *([] if found is None else ["", *verification_view(found)]),
        Table(["file", "problem"], list(files.items()), printed=False),
        *(reason for reason in document["reasons"] if reason not in told_above),
        f"verdict: {document['verdict']}",
    ]


def verification_view(found: Document) -> Blocks:
    """Every path, what fails and where the error enters."""
    scores = {row["path"]: row for row in found["paths"]}
    named = {row["path"] for row in found["outputs"]}
    rows: list[Document] = [row for name, row in scores.items() if name not in named]
    for place, row in enumerate(found["outputs"]):  # EPE and loss beside the first output of a path
        first = place == 0 or found["outputs"][place - 1]["path"] != row["path"]
        rows.append({**(scores.get(row["path"], {}) if first else {}), **row})
    zero = scores.get("zero flow", {}).get("epe")
    rows = [{**row, "difference_percent": against_zero(row.get("epe"), zero)} for row in rows]
    heading: Heading = [
        *columns("path | EPE px:.4f=epe"),
        *([] if zero is None else [BESIDE_ZERO]),
        *columns("loss %:+.2f=loss_percent | +-:.2f=margin_percent | output | SNR dB:.1f=snr_db"),
        *columns("largest difference:.2g=max_difference | EPE against float:.2g=epe_against_float"),
    ]
    where = f" of {found['from']}" if "from" in found else ""
    blocks: Blocks = [
        f"verification on {counted(found['pairs'], 'pair')}{where}: {found['verdict']}",
        Table.of(heading, rows, missing=""),
        *zero_flow_note(zero),
        *found["reasons"],
        *found["notes"],
    ]
    heading = [
        *columns("operator=name | kind | SNR dB:.1f=snr_db | lost here:.1f=added_db | own SNR dB:.1f=own_snr_db")
    ]
    enters = Column("moves flow, px  ", lambda flow: f"{flow['value']:.3g}{' <' if flow['worst'] else '  '}", "flow_px")
    for name, layers in found["layers"].items():
        worst = max(layers, key=lambda row: row["flow_px"])
        moved = [{**row, "flow_px": {"value": row["flow_px"], "worst": row is worst}} for row in layers]
        blocks += ["", f"{name}, operator by operator (the error enters at <):", Table.of([*heading, enters], moved)]
    return blocks


# ---- edgeflownas profile ----

Network = tuple[SearchSpace, int, tuple[int, int]]  # space, width, rows and columns
Costs = Mapping[str, NDArray[Any]]  # columns, of every arch


def measured_times(
    network: Network, archs: Sequence[Arch], sample: int, seed: int, threads: int, console: Console
) -> dict[str, NDArray[Any]]:
    """Column cpu_ms of a ``sample`` of the archs, nan where nothing was measured; says first how long it takes."""
    chosen = draw_archs(network[0], sample, seed) if len(archs) > 1 else [0]
    model = CpuLatency(threads)
    trial = CpuLatency(threads, repeats=1).costs(*network, archs[-1:])["cpu_ms"][0]
    seconds = trial / 1e3 * (model.repeats + WARM_UP) * len(chosen)
    console.info(f"measuring {len(chosen)} of {len(archs)} subnets: at most about {duration(seconds)}")
    with console.task("measure", len(chosen)) as meter:
        model.advance = meter.advance
        times = model.costs(*network, [archs[position] for position in chosen])
    found = np.full((len(times), len(archs)), np.nan)
    found[:, chosen] = list(times.values())
    return dict(zip(times, found, strict=True))


def profile_document(
    network: Network, archs: Sequence[Arch], columns: Costs, facts: Mapping[str, str]
) -> dict[str, Any]:
    """Plain data (docs/cost.md): of one arch its stages, operators and peak, of several the extremes of each column."""
    space, width, size = network
    head = {"space": space.name, "width": width, "size": list(size)}
    if len(archs) == 1:

        def shape(buffer: Buffer) -> list[int]:
            return [buffer.channels, buffer.rows, buffer.columns]

        stages = stage_costs(space, width, archs[0], size)
        peak = max((stage.peak for stage in stages), key=lambda moment: moment.bytes)
        alive = [{"name": one.name, "shape": shape(one), "bytes": one.bytes} for one in peak.alive]
        return {
            **head,
            **{"arch": str(archs[0]), "words": space.describe(archs[0])},
            **{name: column[0].item() for name, column in columns.items()},
            "stages": [
                {"name": stage.name, "output": shape(stage.output)}
                | {name: getattr(stage, name) for name in ("parameters", "macs", "weight_bytes")}
                | {"peak_bytes": stage.peak.bytes}
                | {"operators": {moment.op.output.name: moment.bytes for moment in stage.moments}}
                for stage in stages
            ],
            "peak": {"stage": peak.op.stage, "operator": peak.op.output.name, "alive": alive},
            "facts": dict(facts),
        }
    found = {}
    for name, column in columns.items():
        low, high = int(np.nanargmin(column)), int(np.nanargmax(column))
        found[name] = {"min": column[low].item(), "median": float(np.nanmedian(column)), "max": column[high].item()}
        found[name] |= {"min_arch": str(archs[low]), "max_arch": str(archs[high])}
        found[name] |= {"archs": int(np.isfinite(column).sum())}
    return head | {"archs": len(archs), "columns": found, "facts": dict(facts)}


def profile_table(space: SearchSpace, archs: Sequence[Arch], columns: Costs, facts: Mapping[str, str]) -> Table:
    """Code, the option of each block in words, the columns, and ``COLUMN_by`` with what decides its figures."""
    rows = []
    for arch, figures in zip(archs, zip(*(column.tolist() for column in columns.values()), strict=True), strict=True):
        words = [choice.meaning(digit) for choice, digit in zip(space.choices, arch, strict=True)]
        rows.append([str(arch), *words, *figures, *facts.values()])
    names = ["code", *(choice.name for choice in space.choices), *columns, *(f"{name}_by" for name in facts)]
    return Table(names, rows)


def profile_view(document: Document) -> Blocks:
    """Of one arch its stages, operators and peak, of several the extremes of each figure (docs/cost.md)."""
    title = f"space {document['space']}, width {document['width']}, {size_text(document['size'])}"
    facts = [f"{name}: {words}" for name, words in document["facts"].items()]
    if "arch" in document:
        return [f"{title}, arch {document['arch']}", *_stages(document), *facts]
    rows = []
    for name, column in document["columns"].items():
        exact = name in ("parameters", "macs")
        figures = [round(column[which]) if exact else float(column[which]) for which in ("min", "median", "max")]
        ends = [column["min_arch"], column["max_arch"]] if column["min"] < column["max"] else ["(all alike)", ""]
        few = f", {column['archs']} archs" if column["archs"] < document["archs"] else ""
        rows.append([COSTS.get(name, name) + few, *figures, *ends])

    def form(figure: float) -> str:
        return f"{figure:,}" if isinstance(figure, int) else f"{figure:,.2f}"

    heading = [Column("", name="figure"), *(Column(which, form) for which in ("min", "median", "max"))]
    table = Table([*heading, "arch at min", "arch at max"], rows)
    return [f"{title}, {document['archs']:,} archs", table, *facts]


def _stages(document: Document) -> Blocks:
    """A row for each stage, the total, and what is alive at the peak."""
    peak = document["peak"]
    rows = [
        stage
        | {
            "int8_weight_kib": stage["weight_bytes"] / 1024,
            "sram_kib": {"value": stage["peak_bytes"] / 1024, "peak": stage["name"] == peak["stage"]},
        }
        for stage in document["stages"]
    ]
    rows.append({**document, "name": "total", "sram_kib": {"value": document["sram_kib"], "peak": False}})
    heading: Heading = [
        Column("stage", name="name"),
        Column("output", size_text, missing=""),
        *columns("parameters:, | MMAC:,.1f/1e6=macs | int8 weights KiB:,.1f=int8_weight_kib"),
        Column("alive KiB  ", lambda alive: f"{alive['value']:,.1f}{' <' if alive['peak'] else '  '}", "sram_kib"),
    ]
    alive = ", ".join(f"{one['name']} {size_text(one['shape'])} {one['bytes'] / 1024:,.1f}" for one in peak["alive"])
    chips = [name for name in document if name.endswith("_ms") and name not in COSTS]
    cpu = told(document.get("cpu_ms"), "CPU time {:.2f} ms (median of forward passes, batch 1, float32)", "")
    return [
        Table.of(heading, rows),
        f"peak at {peak['operator']} ({peak['stage']}), alive: {alive} KiB",
        *([cpu] if cpu else []),
        *(f"{name.removesuffix('_ms')} {document[name]:.2f} ms" for name in chips),
    ]
