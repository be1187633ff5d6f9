"""The report: one HTML file with everything inside, which asks the network for nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgeflownas.errors import ConfigError
from edgeflownas.files import replace_file
from edgeflownas.report.details import Progress, training_details
from edgeflownas.report.diagnosis import Diagnosis, diagnose
from edgeflownas.report.history import History, read_history
from edgeflownas.report.html.accuracy import accuracy_charts, subnet_charts
from edgeflownas.report.html.charts import Chart
from edgeflownas.report.html.document import whole_page
from edgeflownas.report.html.findings import Numbered, back_links, marks, numbered, verdict_section
from edgeflownas.report.html.flows import pictures_section
from edgeflownas.report.html.markup import Markup, join, tag
from edgeflownas.report.html.pool import pool_section
from edgeflownas.report.html.readings import readings
from edgeflownas.report.html.scope import Scope
from edgeflownas.report.html.sections import chart_frame, facts_section, key_figures, runs_table
from edgeflownas.report.html.training import gradient_charts, plan_charts, time_charts


def write_report(runs: Mapping[str, Path], out: Path, figures: Path | None = None) -> dict[str, Any]:
    """Write the page of ``runs`` (by name) to ``out``, replacing it as a whole; returns what was found, as plain data.

    Raises:
        StorageError: something cannot be read or written.
        DataError: a history that cannot be understood.
        ConfigError: figures are wanted of runs without an evaluation, or without matplotlib.
    """
    waiting = {name: path for name, path in runs.items() if _waits(path)}
    left_out = [f"{path}: no evaluation yet, so it is not on the page" for path in waiting.values()]
    histories = [replace(read_history(path), name=name) for name, path in runs.items() if name not in waiting]
    diagnoses = [diagnose(history) for history in histories]
    written = time.strftime("%Y-%m-%d %H:%M")
    if histories:
        details = [_details(history) for history in histories]
        page = render(histories, diagnoses, details=details, notes=left_out, written=written)
    else:
        reason = "The page fills after the first evaluated epoch (eval.eval_every_epoch); until then see train.log."
        page, left_out = waiting_page(", ".join(runs), reason, written), []
    replace_file(out, [page.encode()])
    if figures is not None:
        from edgeflownas.report.paper_figures import write_figures

        if not histories:
            raise ConfigError(f"--figures {figures}: none of these runs has an evaluation to draw yet")
        write_figures(histories, diagnoses, figures)
    found = [
        {"run": history.name, "path": str(history.source), **diagnosis.to_json()}
        for history, diagnosis in zip(histories, diagnoses, strict=True)
    ]
    found += [
        {"run": name, "path": str(path), "verdict": "no evaluation yet", "findings": []}
        for name, path in waiting.items()
    ]
    return {
        "report": str(out),
        "figures": None if figures is None else str(figures),
        "left_out": left_out,
        "runs": found,
    }


def _waits(path: Path) -> bool:
    """Whether this is a run directory whose first evaluation is still to come."""
    history, events = path / "eval_history.csv", path / "events.jsonl"
    if not (path / "run_manifest.json").exists():
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


def all_charts(scope: Scope, diagnoses: Sequence[Diagnosis]) -> dict[str, list[Chart]]:
    """The figures of the page by section, in its order; sections without one are left out."""
    found = {
        "Accuracy": list(accuracy_charts(scope)),
        "Subnets": list(subnet_charts(scope, [diagnosis.stability for diagnosis in diagnoses])),
        "Gradients": list(gradient_charts(scope)),
        "Rate and data": list(plan_charts(scope)),
        "Time": list(time_charts(scope)),
    }
    return {name: charts for name, charts in found.items() if charts}


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
        details: how each run trains, in words (report/details.py), where that is known.
        notes: said above everything, e.g. which runs were left out.
        written: when, in words.
    """
    assert histories and len(histories) == len(diagnoses)
    scope = Scope(histories)
    sections = all_charts(scope, diagnoses)
    charts = [chart for group in sections.values() for chart in group]
    items = numbered(diagnoses)
    names = [history.name for history in histories]
    body = [*(tag("p", note, class_="banner") for note in notes)]
    if scope.many:
        body.append(tag("section", runs_table(histories, [d.verdict for d in diagnoses], details), id="runs"))
    body.append(verdict_section(names, diagnoses, items, [*charts, *_pool_charts(scope)]))
    figures = (key_figures(h, h.name if scope.many else "") for h in histories)
    body.append(tag("section", tag("h2", "Key figures"), join(figures), id="key-figures"))
    body += [_section(title, group, scope, items, diagnoses) for title, group in sections.items()]
    facts = (
        tag(
            "div",
            facts_section(h, details[run] if details else {}, h.name if scope.many else "This run"),
            class_="facts",
        )
        for run, h in enumerate(histories)
    )
    body.append(tag("section", tag("h2", "Labels and origin"), join(facts), id="origin"))
    data = {
        "axes": scope.axes,
        "charts": [chart.document() for chart in charts],
        "marks": marks(items, charts),
        "runs": names,
        "roles": [_roles(history) for history in histories],
    }
    return _document(_title(names), _status(histories), body, written, data)


def _section(
    title: str, group: Sequence[Chart], scope: Scope, items: Sequence[Numbered], diagnoses: Sequence[Diagnosis]
) -> Markup:
    """A heading and its charts; an odd narrow one takes a whole row, so that none stands beside a hole."""
    narrow = [chart for chart in group if chart.kind in ("lines", "stack") and chart.run in (None, 0)]
    first = narrow[0] if len(narrow) % 2 else None
    inner = [chart_frame(chart, scope.axes, back_links(items, chart), chart is first) for chart in group]
    if title != "Subnets":
        return tag("section", tag("h2", title), tag("div", join(inner), class_="grid"), id=_anchor(title))
    inner = [*_pools(scope, items), *inner, *_readings(scope, diagnoses)]
    whole = tag("section", tag("h2", title), tag("div", join(inner), class_="grid"), id=_anchor(title))
    return join([whole, _pictures(scope)])


def waiting_page(name: str, reason: str, written: str = "") -> str:
    """The page of a run that has not been evaluated yet."""
    body = [tag("article", tag("h2", "No evaluation yet"), tag("p", reason), class_="verdict look-here")]
    return _document(name, "", body, written, {"axes": {}, "charts": [], "marks": [], "runs": [name], "roles": []})


def _title(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{len(names)} runs: {', '.join(names)}"


def _status(histories: Sequence[History]) -> str:
    if len(histories) > 1:
        return ""
    history = histories[0]
    epoch, planned = history.column("epoch")[-1], history.planned_epochs
    pool = "single model" if history.pool_size == 1 else f"pool of {history.pool_size} subnets"
    of = f" of {planned}" if planned else ""
    return f"epoch {epoch:.0f}{of} · {pool} · {history.text('split_label')[-1] or 'unknown split'}"


def _roles(history: History) -> dict[str, int | None]:
    """Subnets that are always coloured: best and worst of the last evaluation, and the baseline."""
    if not history.rows or history.pool_size == 1:
        return {}
    last = history.epes[-1]
    known = [arch for arch in range(len(last)) if last[arch] == last[arch]]
    best = min(known, key=lambda arch: last[arch], default=None)
    worst = max(known, key=lambda arch: last[arch], default=None)
    return {"best": best, "worst": worst, "baseline": history.baseline_index}


def _pool_charts(scope: Scope) -> list[Chart]:
    """Stand-ins, so that findings about the pool link to its table."""
    return [
        Chart(scope.id("pool", run), "pool", "Pool table", "", "", run=run)
        for run, history in enumerate(scope.histories)
        if history.pool_size > 1
    ]


def _pools(scope: Scope, items: Sequence[Numbered]) -> Iterator[Markup]:
    for chart in _pool_charts(scope):
        assert chart.run is not None
        history = scope.histories[chart.run]
        heading = f"The pool of {history.name}" if scope.many else "The pool"
        section = pool_section(history, chart.id, chart.run, heading, back_links(items, chart))
        if section is not None:
            yield section


def _readings(scope: Scope, diagnoses: Sequence[Diagnosis]) -> Iterator[Markup]:
    for run, (history, diagnosis) in enumerate(zip(scope.histories, diagnoses, strict=True)):
        if history.pool_size > 1:
            yield from readings(diagnosis, scope.id("criteria", run), run, history.name if scope.many else "")


def _pictures(scope: Scope) -> Markup:
    found = []
    for run, history in enumerate(scope.histories):
        heading = f"Flow of {history.name}" if scope.many else "Flow"
        if history.source.is_dir():
            found.append(pictures_section(history.source, scope.id("pictures", run), heading))
    shown = [section for section in found if section is not None]
    return tag("section", tag("h2", "Pictures"), join(shown), id="pictures") if shown else Markup("")


def _anchor(title: str) -> str:
    return title.lower().replace(" ", "-")


def _document(title: str, status: str, body: Sequence[Markup], written: str, data: Mapping[str, object]) -> str:
    return whole_page(
        title,
        status,
        body,
        data,
        brand="EdgeFlowNAS report",
        note="Charts need JavaScript; every figure is also in a table below.",
        foot=f"Written {written} by edgeflownas report. " if written else "",
        files=["html/page.js"],
    )
