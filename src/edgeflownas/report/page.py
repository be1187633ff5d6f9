"""The report: one HTML file with everything inside, which asks the network for nothing (templates/report.html)."""

from __future__ import annotations

import base64
import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeflownas.errors import ConfigError
from edgeflownas.files import replace_file
from edgeflownas.report.compare import Progress, differing, training_details
from edgeflownas.report.diagnosis import RULES, Diagnosis, diagnose
from edgeflownas.report.figures import Chart, Numbers, Scope, all_charts
from edgeflownas.report.history import History, read_histories
from edgeflownas.report.html import Table, page
from edgeflownas.report.logs import is_run
from edgeflownas.report.pictures import GAP, STRIP
from edgeflownas.report.pool import last_pool

if TYPE_CHECKING:
    from edgeflownas.report.diagnosis import Finding

TABLE_ROWS = 100  # of a chart's table; the files hold every row
LARGEST = 400  # px: width of a picture of a flow
QUALITY = 85  # of WebP
MOST = 6  # rows of pictures; more would make the page heavy

VERDICTS = {
    "healthy": ("Healthy", "✓", "Nothing found that would make this run's figures doubtful."),
    "too early to say": ("Too early to say", "…", "Too few evaluations to judge; come back after eight of them."),
    "look here": ("Look here", "!", "Something limits this run or its figures; the list says what, and what to try."),
    "stop": ("Stop", "✕", "Going on as it is wastes time: read the first finding before you train further."),
}
TOPICS = {"epe": "EPE", "archs": "subnets", "tau": "agreement of rankings", "lr": "learning rate", "pool": "pool table"}
LABELS = {
    "split_label": "split label",
    "eval_set": "evaluation set",
    "calibration_set": "calibration set",
    "epe_protocol": "EPE protocol",
    "eval_samples_per_arch": "samples per subnet",
    "bn_recal_batches": "calibration batches",
}


def write_report(runs: Mapping[str, Path], out: Path, figures: Path | None = None) -> dict[str, Any]:
    """Write the page of ``runs`` (by name) to ``out``, replacing it as a whole; returns what was found, as plain data.

    Raises:
        StorageError: something cannot be read or written.
        DataError: a history that cannot be understood.
        ConfigError: figures are wanted of runs without an evaluation, or without matplotlib.
    """
    waiting = {name: path for name, path in runs.items() if _waits(path)}
    left_out = [f"{path}: no evaluation yet, so it is not on the page" for path in waiting.values()]
    histories = [
        replace(history, name=f"{name}:{history.model}" if history.model else name)
        for name, path in runs.items()
        if name not in waiting
        for history in read_histories(path)
    ]
    diagnoses = [diagnose(history) for history in histories]
    written = time.strftime("%Y-%m-%d %H:%M")
    if histories:
        details = [_details(history) for history in histories]
        text = render(histories, diagnoses, details=details, notes=left_out, written=written)
    else:
        reason = "The page fills after the first evaluated epoch (eval.eval_every_epoch); until then see train.log."
        text, left_out = waiting_page(", ".join(runs), reason, written), []
    replace_file(out, [text.encode()])
    if figures is not None:
        from edgeflownas.report.plot import write_figures

        if not histories:
            raise ConfigError(f"--figures {figures}: none of these runs has an evaluation to draw yet")
        write_figures(histories, diagnoses, figures)
    pairs = zip(histories, diagnoses, strict=True)
    found = [{"run": history.name, "path": str(history.source), **own.to_json()} for history, own in pairs]
    unjudged = {"verdict": "no evaluation yet", "findings": []}
    found += [{"run": name, "path": str(path), **unjudged} for name, path in waiting.items()]
    return {"report": str(out), "figures": figures and str(figures), "left_out": left_out, "runs": found}


def _waits(path: Path) -> bool:
    """Whether this is a run directory whose first evaluation is still to come."""
    history, events = path / "eval_history.csv", path / "events.jsonl"
    if not is_run(path):
        return False
    if not history.exists():
        return not events.exists() or b'"evaluation"' not in events.read_bytes()
    with history.open("rb") as file:
        return len(file.readlines(1 << 16)) < 2


def _details(history: History) -> dict[str, str]:
    """How the run trains, in words; nothing for a history without its run directory."""
    if history.run is None:
        return {}
    last: dict[str, Any] = {name: value for name, value in history.rows[-1].items() if not isinstance(value, str)}
    names = ("global_step", "seen_samples", "coverage_share", "eval_samples_per_arch")
    updates, seen, coverage, samples = map(last.get, names)
    progress = Progress(updates, seen, coverage, samples, history.pool_size)
    return training_details(history.run.config, history.run.manifest, progress)


def render(
    histories: Sequence[History],
    diagnoses: Sequence[Diagnosis],
    *,
    details: Sequence[Mapping[str, str]] = (),
    notes: Sequence[str] = (),
    written: str = "",
) -> str:
    """The page of one run or several.

    Args:
        histories: at least one, each with at least one evaluation and a name of its own.
        diagnoses: one for each.
        details: how each run trains, in words (report/compare.py), where that is known.
        notes: said above everything, e.g. which runs were left out.
        written: when, in words.
    """
    assert histories and len(histories) == len(diagnoses)
    scope, items = Scope(histories), numbered(diagnoses)
    sections, names = all_charts(scope, diagnoses), [history.name for history in histories]
    charts = [chart for group in sections.values() for chart in group]
    pools = [  # tables; stand-ins for figures, so that findings about the pool link to them
        Chart(scope.id("pool", run), "pool", "The pool" + scope.of(run), "", "", run=run)
        for run, history in enumerate(histories)
        if history.pool_size > 1
    ]
    tables = [(chart, last_pool(histories[chart.run or 0])) for chart in pools]
    data = {"axes": scope.axes, "charts": [chart.document() for chart in charts], "marks": marks(items, charts)}
    return page(
        "report.html",
        title=names[0] if len(names) == 1 else f"{len(names)} runs: {', '.join(names)}",
        status="" if scope.many else _status(histories[0]),
        data=data | {"runs": names, "roles": [_roles(history) for history in histories]},
        waiting="",
        notes=notes,
        written=written,
        runs=_runs(histories, diagnoses, details) if scope.many else [],
        verdicts=[_verdict(scope, run, own, items, [*charts, *pools]) for run, own in enumerate(diagnoses)],
        key_figures=[(scope.of(run, ""), list(_tiles(history))) for run, history in enumerate(histories)],
        charts={title: [_frame(chart, group, scope, items) for chart in group] for title, group in sections.items()},
        pools=[{"chart": chart, "links": _links(items, chart), **shown} for chart, shown in tables if shown],
        readings=[found for run, own in enumerate(diagnoses) if (found := _readings(scope, run, own))["tables"]],
        pictures=[flow for run in range(len(histories)) if (flow := _pictures(scope, run)) is not None],
        origins=[_origin(scope, run, details[run] if details else {}) for run in range(len(histories))],
    )


def waiting_page(name: str, reason: str, written: str = "") -> str:
    """The page of a run that has not been evaluated yet."""
    data = {"axes": {}, "charts": [], "marks": [], "runs": [name], "roles": []}
    return page("report.html", title=name, status="", data=data, charts={}, waiting=reason, written=written)


def _status(history: History) -> str:
    planned = f" of {history.planned_epochs}" if history.planned_epochs else ""
    pool = "single model" if history.pool_size == 1 else f"pool of {history.pool_size} subnets"
    split = history.text("split_label")[-1] or "unknown split"
    return f"epoch {history.column('epoch')[-1]:.0f}{planned} · {pool} · {split}"


def _roles(history: History) -> dict[str, int | None]:
    """Subnets that are always coloured: best and worst of the last evaluation, and the baseline."""
    if not history.rows or history.pool_size == 1:
        return {}
    last = dict(enumerate(history.epes[-1].tolist()))
    known = [arch for arch, epe in last.items() if not math.isnan(epe)]
    best, worst = min(known, key=last.__getitem__, default=None), max(known, key=last.__getitem__, default=None)
    return {"best": best, "worst": worst, "baseline": history.baseline_index}


# -- verdict and findings --


@dataclass(frozen=True)
class Numbered:
    """A finding with its number on the page: 1, 2 ... of a single run, 2.1 of the second run among several."""

    number: str
    run: int
    finding: Finding

    @property
    def anchor(self) -> str:
        """Id of its element."""
        return "finding-" + self.number.replace(".", "-")

    @property
    def title(self) -> str:
        """What it is called."""
        return RULES[self.finding.id].title

    def belongs(self, chart: Chart) -> bool:
        """Whether it is about what a chart shows."""
        there = chart.run in (None, self.run) and self.run in (chart.runs or (self.run,))
        return there and chart.topic in self.finding.charts


def numbered(diagnoses: Sequence[Diagnosis]) -> list[Numbered]:
    """All findings of all runs, in their order."""
    many = len(diagnoses) > 1
    return [
        Numbered(f"{run + 1}.{place}" if many else str(place), run, finding)
        for run, diagnosis in enumerate(diagnoses)
        for place, finding in enumerate(diagnosis.findings, start=1)
    ]


def marks(items: Sequence[Numbered], charts: Sequence[Chart]) -> list[dict[str, Any]]:
    """Findings at epochs, for the charts that show them: what report.js needs to mark them."""
    return [
        {"number": item.number, "anchor": item.anchor, "title": item.title, "run": item.run}
        | {"epochs": list(item.finding.epochs), "severity": item.finding.severity}
        | {"span": len(item.finding.epochs) == 2 and not RULES[item.finding.id].dated}
        | {"charts": [chart.id for chart in charts if item.belongs(chart)]}
        for item in items
        if item.finding.severity != "ok"
    ]


def _verdict(
    scope: Scope, run: int, diagnosis: Diagnosis, items: Sequence[Numbered], charts: Sequence[Chart]
) -> dict[str, Any]:
    """The verdict in a word, what needs attention, and the rest, which is folded."""
    word, sign, sentence = VERDICTS[diagnosis.verdict]
    own = [(item, _topics(item, charts)) for item in items if item.run == run]
    loud = [entry for entry in own if entry[0].finding.severity in ("stop", "warning")]
    quiet = [entry for entry in own if entry not in loud]
    fine = sum(item.finding.severity == "ok" for item, _ in quiet)
    counts = ((len(quiet) - fine, "to know"), (fine, "that is no problem" if fine == 1 else "that are no problem"))
    kind, heading = diagnosis.verdict.replace(" ", "-"), f"{scope.of(run, '')}: {word}" if scope.many else word
    return {
        **{"kind": kind, "heading": heading, "sign": sign, "sentence": sentence, "loud": loud, "quiet": quiet},
        "counts": ", ".join(f"{count} {words}" for count, words in counts if count),
        "not_judged": [(RULES[rule.id].title, rule.reason) for rule in diagnosis.not_judged],
        "price": (diagnosis.price or {}).get("text", ""),
    }


def _topics(item: Numbered, charts: Sequence[Chart]) -> list[tuple[str, str]]:
    """Words and anchor of the first figure of each topic that a finding is about."""
    first = {chart.topic: chart for chart in reversed(charts) if item.belongs(chart)}
    return [(TOPICS.get(chart.topic, chart.topic), chart.id) for chart in reversed(first.values())]


def _links(items: Sequence[Numbered], chart: Chart) -> list[Numbered]:
    """The findings that stand below a figure."""
    return [item for item in items if item.belongs(chart) and item.finding.severity != "ok"]


# -- figures in numbers --


def _tiles(history: History) -> Iterator[tuple[str, str, str]]:
    """The numbers people ask for first, of the last evaluation: name, value, and small words after it."""

    def last(column: str) -> float:
        return float(history.column(column)[-1])

    def px(value: float) -> str:
        return f"{value:.4f}" if math.isfinite(value) else "not finite"

    epochs, means = history.column("epoch"), history.column("mean_epe_12")
    yield "Epoch", f"{epochs[-1]:.0f}", f" of {history.planned_epochs}" if history.planned_epochs else ""
    kind, lowest = ("EPE", "Lowest EPE") if history.pool_size == 1 else ("Mean EPE", "Lowest mean EPE")
    yield kind, px(means[-1]), " px"
    by = str(history.run.key("eval.best_by") or "mean") if history.run is not None else "mean"
    if by != "mean" and math.isfinite(last("best_epe")):
        yield f"Best by {by.replace('_', ' ')}", px(last("best_epe")), f" px at epoch {last('best_epoch'):.0f}"
    elif np.isfinite(means).any():
        best = int(np.nanargmin(means))
        yield lowest, px(means[best]), f" px at epoch {epochs[best]:.0f}"
    zero = last("zero_flow_epe")
    if math.isfinite(zero) and zero > 0.0 and math.isfinite(means[-1]):
        share = f"{100.0 * (means[-1] / zero - 1.0):+.1f} %".replace("-", "\u2212")
        yield "Against zero flow", share, f" ({zero:.3f} px)"
    if history.pool_size > 1:
        noise = last("smallest_difference_12")
        told = f" px; told apart from {noise:.4f}" if math.isfinite(noise) else " px"
        yield "Spread of the pool", px(last("std_epe_12")), told
    with np.errstate(invalid="ignore", divide="ignore"):
        seen = float(np.float64(last("unique_samples")) / last("train_samples"))
    for name, share_, rest in (("Clipped", last("clip_rate"), " of checks"), ("Data seen by an epoch", seen, "")):
        if math.isfinite(share_):
            yield name, f"{100.0 * share_:.3g} %", rest
    if math.isfinite(last("lr")):
        yield "Learning rate", f"{last('lr'):.3g}", ""


def _frame(chart: Chart, group: Sequence[Chart], scope: Scope, items: Sequence[Numbered]) -> dict[str, Any]:
    """A figure with its findings and its table; an odd narrow one takes a whole row, so that none stands by a hole."""
    narrow = [chart for chart in group if chart.kind in ("lines", "stack") and chart.run in (None, 0)]
    wide = len(narrow) % 2 == 1 and chart is narrow[0]
    return {"chart": chart, "wide": wide, "links": _links(items, chart), "table": _chart_table(chart, scope.axes)}


def _chart_table(chart: Chart, axes: Mapping[str, Numbers]) -> Table:
    """A column a line, a row a place of the x axis; long histories are thinned, and it says so."""
    columns = [(line.name, line) for line in chart.series]
    for panel in chart.panels:
        columns += [(f"{panel.title}: {line.name}" if chart.run is None else line.name, line) for line in panel.series]
    columns = list({(name, line.x): (name, line) for name, line in columns}.values())
    places = sorted({x for _, line in columns for x in axes[line.x] if x is not None})
    every = -(-len(places) // TABLE_ROWS) if places else 1
    shown = places[::every] + ([places[-1]] if places and (len(places) - 1) % every else [])
    values = [dict(zip(axes[line.x], line.y, strict=True)) for _, line in columns]
    form = ".4g" if chart.digits > 4 or chart.scale == "log" else f".{chart.digits}f"
    found = [(x, [own.get(x) for own in values]) for x in shown]
    rows = [[f"{x:g}", *("-" if value is None else format(value, form) for value in row)] for x, row in found]
    note = f"Every {every}th of {len(places)} rows; the files of the run hold all." if every > 1 else ""
    return Table(f"{chart.title}: {chart.y_label}", [chart.x_label, *(name for name, _ in columns)], rows, note)


def _runs(
    histories: Sequence[History], diagnoses: Sequence[Diagnosis], details: Sequence[Mapping[str, str]]
) -> list[Table]:
    """One line a run, and the keys in which they differ; no column of EPEs, which may belong to different sets."""
    rows = []
    for history, diagnosis in zip(histories, diagnoses, strict=True):
        planned = f" of {history.planned_epochs}" if history.planned_epochs else ""
        where = [history.text(name)[-1] or "not recorded" for name in ("split_label", "eval_set")]
        rows.append([history.name, diagnosis.verdict, f"{history.column('epoch')[-1]:.0f}{planned}", *where])
    header = ["run", "verdict", "epoch", "evaluated on", "evaluation set"]
    tables = [Table("The runs of this page; EPEs are comparable within one figure only.", header, rows)]
    names = [history.name for history in histories]
    if details and (keys := differing(dict(zip(names, details, strict=True)))[0]):
        lines = [[key, *(values.get(key, "-") for values in details)] for key in keys]
        tables.append(Table("What differs in how they train.", ["key", *names], lines))
    return tables


def _origin(scope: Scope, run: int, details: Mapping[str, str]) -> dict[str, Any]:
    """What the figures belong to: labels, training in words; folded data, plan, code, machine, every key."""
    history = scope.histories[run]
    labels = [(words, history.text(name)[-1] or "not recorded") for name, words in LABELS.items()]
    manifest = getattr(history.run, "manifest", None) or {}
    groups = {title: manifest.get(title.lower()) for title in ("Data", "Plan", "Code", "Environment")}
    if config := getattr(history.run, "config", None):
        groups["Configuration"] = dict(config)
    notes = ["While reading: " + "; ".join(history.notes) + "."] if history.notes else []
    if history.run is None:
        notes.append(f"Read from {history.source.name} alone: no run directory, so no manifest.")
    shown = {"Labels of the last evaluation": labels if history.rows else [], "How it trains": list(details.items())}
    kept = [(name, rows) for name, rows in shown.items() if rows or name.startswith("Labels")]
    folded = [(name, _flat(group)) for name, group in groups.items() if isinstance(group, dict)]
    tables, more = ([Table(name, ["key", "value"], rows) for name, rows in group] for group in (kept, folded))
    return {"heading": scope.of(run, "") or "This run", "tables": tables, "folded": more, "notes": notes}


def _flat(document: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Leaves of nested mappings as (dotted key, text)."""
    found: list[tuple[str, str]] = []
    for key, value in document.items():
        if isinstance(value, dict) and value:
            found += _flat(value, f"{prefix}{key}.")
        else:
            found.append((f"{prefix}{key}", "-" if value is None else str(value)))
    return found


def _readings(scope: Scope, run: int, diagnosis: Diagnosis) -> dict[str, Any]:
    """What the diagnosis works out beside its findings: which epoch each criterion chooses, how far rankings hold."""
    tables, criteria, stability = [], diagnosis.criteria, diagnosis.stability
    if criteria:
        names = [str(row["criterion"]) for row in criteria]
        rows = []
        for row in criteria:
            costs = [f"+{row['costs_px'][name]:.4f}" if name in row["costs_px"] else "-" for name in names]
            rows.append([str(row["criterion"]), f"{row['epoch']}", f"{row['value_px']:.4f}", *costs])
        what = "What eval.best_by would have chosen, and how far that epoch is above the lowest of the others."
        header = ["criterion", "chooses epoch", "its value (px)", *(f"costs in {name} (px)" for name in names)]
        tables.append(Table(what, header, rows))
    words = {"macs": "more MACs is better", "parameters": "more parameters is better"}
    found = {
        "the last two evaluations": stability.get("last_two"),
        "the last two evaluations, interval over samples": stability.get("samples"),
        **{f"the last one and: {words.get(k, k)}": tau for k, tau in (stability.get("trivial") or {}).items()},
    }
    rows = []
    for name, taus in found.items():
        if taus and taus.get("tau") is not None:
            tau, low, high = ("-" if taus.get(key) is None else f"{taus[key]:.2f}" for key in ("tau", "low", "high"))
            rows.append([name, tau, f"{low} to {high}"])
    if rows:
        caption = "Kendall's tau of two rankings: 1 the same order, 0 no relation."
        tables.append(Table(caption, ["rankings", "tau", "95 % interval"], rows))
    shown = scope.histories[run].pool_size > 1
    return {"id": scope.id("criteria", run), "run": run, "name": scope.of(run, ""), "tables": tables if shown else []}


# -- the pictures a run drew at its last evaluation --


def _pictures(scope: Scope, run: int) -> dict[str, Any] | None:
    """A row of panels for each picture of ``RUN/pictures/index.json``; None where there is none."""
    folder = scope.histories[run].source / "pictures"
    try:
        index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    listed = index.get("pictures") if isinstance(index, dict) else None
    entries = [entry for entry in listed or [] if isinstance(entry, dict)]
    if not entries:
        return None
    facts = {name: index.get(name, "?") for name in ("epoch", "checkpoint")}
    rows = [_picture_row(folder, entry) for entry in entries[:MOST]]
    return {"id": scope.id("pictures", run), "heading": "Flow" + scope.of(run), "rows": rows, **facts}


def _picture_row(folder: Path, entry: Mapping[str, Any]) -> dict[str, Any]:
    """Title and panels; none of a picture that cannot be read, for a page must not fail over an image."""
    names = {"best": "best subnet", "baseline": "baseline", "worst": "worst subnet"}
    roles = " and ".join(names.get(str(role), str(role)) for role in entry.get("roles") or [])
    known = [("EPE", entry.get("epe"), "on the evaluation set"), ("EPE", entry.get("sample_epe"), "of this pair")]
    known.append(("zero flow", entry.get("zero_flow_epe"), "of this pair"))
    epes = [f"{who} {epe:.4f} px {name}" for who, epe, name in known if isinstance(epe, int | float)]
    words = [roles, str(entry.get("code", "")), str(entry.get("sample", "")), *epes]
    picture = cv2.imread(str(folder / Path(str(entry.get("file", ""))).name), cv2.IMREAD_COLOR)
    labels = [str(label) for label in entry.get("panels") or []]
    panels = [] if picture is None or not labels else list(zip(labels, _uris(picture, len(labels)), strict=True))
    return {"title": " · ".join(filter(None, words)), "sample": entry.get("sample", ""), "panels": panels}


def _uris(picture: NDArray[Any], count: int) -> list[str]:
    """The panels of a drawn row (report/pictures.py) without their label strips, which become text on the page."""
    width, found = (picture.shape[1] - GAP * (count - 1)) // count, []
    for place in range(count):
        panel = picture[STRIP:, place * (width + GAP) : place * (width + GAP) + width]
        if width > LARGEST:
            size = (LARGEST, max(1, round(panel.shape[0] * LARGEST / width)))
            panel = cv2.resize(panel, size, interpolation=cv2.INTER_AREA)
        data = cv2.imencode(".webp", np.ascontiguousarray(panel), [cv2.IMWRITE_WEBP_QUALITY, QUALITY])[1]
        found.append("data:image/webp;base64," + base64.b64encode(data.data).decode("ascii"))
    return found
