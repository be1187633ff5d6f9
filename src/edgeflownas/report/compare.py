"""How runs train, in words, and their results, each under the label it belongs to: alone and beside each other.

A ranked column holds results of ONE label (protocol, split, samples) and of one kind (a model, or the mean of one
pool).  Whoever asks for a single column of several labels is refused; side by side they get a column each.
"""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from edgeflownas.errors import ConfigError
from edgeflownas.evaluate.results import Label, Result
from edgeflownas.report.table import GAP, Column, Heading, Table, counted, size_text, told
from edgeflownas.report.views import Blocks, figure_columns

if TYPE_CHECKING:
    from edgeflownas.report.run_facts import RunFacts

FC2_OFFICIAL = {640}  # the official validation folder of FlyingChairs2
FC2_HOLD_OUT = {4446, 4447}  # what the 17,785 training samples of the index lists leave over
NARROWEST = 22  # characters of a run's column; more runs than fit are put below each other
UNKNOWN = "-"


# ---- how a run trains ----
# Read from config.yaml and run_manifest.json as plain mappings, so that runs of older (and newer) versions work; what a
# run's version did not know is ``-``.


@dataclass(frozen=True)
class Progress:
    """How far a run is; None where it cannot be told."""

    updates: int | None
    seen: int | None
    coverage_share: float | None  # of the last finished epoch, measured
    eval_samples: int | None  # of the last evaluation, for each arch
    pool_size: int | None


def training_details(config: Mapping[str, Any], manifest: Mapping[str, Any], progress: Progress) -> dict[str, str]:
    """Key -> value in words, the same keys in the same order for every run."""
    run = _Settings(config, manifest, progress)
    return {name: what(run) if callable(what) else run.text(what) for name, what in DETAILS.items()}


@dataclass(frozen=True)
class _Settings:
    """Dotted keys of a configuration that may lack any of them, and what else is known of the run."""

    config: Mapping[str, Any]
    manifest: Mapping[str, Any]
    progress: Progress

    def has(self, key: str) -> bool:
        group, _, name = key.partition(".")
        return isinstance(self.config.get(group), Mapping) and name in self.config[group]

    def get(self, key: str) -> Any:
        group, _, name = key.partition(".")
        return self.config[group][name] if self.has(key) else None

    def text(self, key: str) -> str:
        value = self.get(key)
        if not self.has(key):
            return UNKNOWN
        return "none" if value is None else _figure(value)

    def of(self, *names: str) -> Any:
        """What stands under these names of the manifest, one in the other; None where one is missing."""
        found: Any = self.manifest
        for name in names:
            found = (found or {}).get(name)
        return found


Words = Callable[[_Settings], str]


def _figure(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else f"{value}"


def _size(run: _Settings) -> str:
    value = run.get("data.crop_size")
    return size_text(value) if isinstance(value, list | tuple) else run.text("data.crop_size")


def _or_off(key: str, form: str) -> Words:
    def words(run: _Settings) -> str:
        text = run.text(key)
        return {"none": "off", UNKNOWN: UNKNOWN}.get(text, form.format(text))

    return words


def _network(run: _Settings) -> str:
    """``space v1 of 19,683 archs, width 32``; the manifest knows the space of a task that has no choices."""
    size = run.of("space", "size") or 1
    many = f" of {size:,} archs" if size > 1 else ""
    return f"space {run.of('space', 'name') or run.text('train.space')}{many}, width {run.text('train.width')}"


def _augmentation(run: _Settings) -> str:
    names = ("horizontal_flip", "vertical_flip", "brightness", "contrast", "noise_std")
    given = [f", {name} {run.text(f'data.{name}')}" for name in names if run.get(f"data.{name}")]
    return "random crop" + "".join(given) if any(run.has(f"data.{name}") for name in names) else UNKNOWN


def _epoch(run: _Settings) -> str:
    """``full_pass: 556 steps of 32, 17,792 draws, 100 % of 17,785 samples``."""
    steps, draws = run.of("plan", "steps_per_epoch"), run.of("plan", "draws_per_epoch")
    count, share = run.of("data", "train", "count"), run.progress.coverage_share
    if not steps or not draws:
        return run.text("train.epoch_mode")
    text = (
        f"{run.text('train.epoch_mode')}: {counted(steps, 'step')} of {run.text('train.batch_size')}, {draws:,} draws"
    )
    if not count:
        return text
    expected = "expected " if share is None else ""
    if share is None:
        replaced = run.get("train.train_sampling_mode") == "random_with_replacement" and count > 1
        share = -math.expm1(draws * math.log1p(-1.0 / count)) if replaced else min(1.0, draws / count)
    return f"{text}, {expected}{100 * share:.3g} % of {count:,} samples"


def _batch(run: _Settings) -> str:
    micro, paths = run.get("train.micro_batch_size"), run.get("train.path_batches")
    text = run.text("train.batch_size") + (f" in micro-batches of {micro}" if micro else "")
    return text + (f", {paths} for all paths" if paths == "same" else f", {paths} between paths" if paths else "")


def _rate(run: _Settings) -> str:
    """``cosine 0.0001 to 0``, with whatever else decides this schedule."""
    kind, rate, ratio = run.text("train.lr_schedule"), run.get("train.lr"), run.get("train.lr_final_ratio")
    if rate is None:
        return kind
    falls = kind in ("cosine", "one_cycle", "fast_anneal") and ratio is not None
    text = f"{kind} {_figure(rate)}" + (f" to {_figure(rate * ratio)}" if falls else "")
    own = {
        "step_decay": ("lr_milestones", "lr_decay"),
        "one_cycle": ("lr_peak_share",),
        "fast_anneal": ("lr_anneal_share",),
    }
    known = [name for name in own.get(kind, ()) if run.has(f"train.{name}")]
    text += "".join(f", {name} {run.text(f'train.{name}')}" for name in known)
    warm_up = run.get("train.lr_warmup_share")
    return text + (f", warm-up {100 * warm_up:g} %" if warm_up else "")


def _clip(run: _Settings) -> str:
    text, where = _or_off("train.grad_clip_global_norm", "norm {}")(run), run.get("train.grad_clip_position")
    place = {"step": "once a step", "micro_step": "each path and micro-batch"}
    return text if text in ("off", UNKNOWN) or where is None else f"{text}, {place.get(where, where)}"


def _teacher(run: _Settings) -> str:
    """``0,0,... of runs/a step-00000100 (3f9a...), lambda 1, scales 1, 1, 1``."""
    facts = run.of("teacher")
    if not facts:
        return "none"
    scales = ", ".join(_figure(value) for value in run.get("train.distil_weights") or ())
    origin = f"{run.text('train.teacher')} {facts['checkpoint']} ({facts['hash'][:8]})"
    return f"{facts['code']} of {origin}, lambda {run.text('train.distil_lambda')}, scales {scales}"


def _initial(run: _Settings) -> str:
    if run.of("imported_from"):
        return f"imported from {run.of('imported_from').get('file', '?')}"
    for name in ("forked_from", "initialised_from"):
        if isinstance(origin := run.of(name), Mapping):
            return f"{origin.get('run', '?')} {origin.get('checkpoint', '')}".strip()
    return str(run.get("train.init_from") or "random")


def _of(done: str, planned: str) -> Words:
    """``556 of 111,200 planned``."""

    def words(run: _Settings) -> str:
        reached, whole = getattr(run.progress, done), run.of("plan", planned)
        if reached is None:
            return UNKNOWN
        return f"{reached:,}" + (f" of {whole:,} planned" if whole else "")

    return words


def _passes(run: _Settings) -> str:
    seen, planned, count = run.progress.seen, run.of("plan", "planned_samples"), run.of("data", "train", "count")
    if seen is None or not count:
        return UNKNOWN
    return f"{seen / count:.2f}" + (f" of {planned / count:.2f} planned" if planned else "")


def _coverage(run: _Settings) -> str:
    samples, pool, available = run.progress.eval_samples, run.progress.pool_size, run.of("data", "val", "count")
    if not samples:
        return UNKNOWN
    share = f" of {available:,}" if available else ""
    archs = f", {pool} archs" if pool and pool > 1 else ""
    every = run.text("eval.eval_every_epoch")
    return f"{samples:,}{share} samples per arch{archs}, {'every epoch' if every == '1' else f'every {every} epochs'}"


def _calibration(run: _Settings) -> str:
    if not run.has("eval.bn_recal_batches"):
        return UNKNOWN
    if run.get("train.batch_norm") == "frozen":
        return "none: frozen batch norm"
    count = run.text("eval.bn_recal_batches")
    return f"{count} batch{'' if count == '1' else 'es'} of {run.text('eval.batch_size')}"


def _code(run: _Settings) -> str:
    version = (run.of("code") or {}).get("version", UNKNOWN)
    return f"{version} {str(run.of('code', 'commit') or '')[:10]}".strip()


DETAILS: Mapping[str, str | Words] = {  # of a run, in order: a key of its configuration, or what says it
    "task": "train.task",
    "network": _network,
    "input normalisation": "train.input_normalisation",
    "channel order": "data.channel_order",
    "batch norm": "train.batch_norm",
    "crop": _size,
    "flow clip": _or_off("data.flow_clip", "+-{} px"),
    "flow divisor": "data.flow_divisor",
    "augmentation": _augmentation,
    "epoch": _epoch,
    "epoch divisor": "train.epoch_divisor",
    "sampling": "train.train_sampling_mode",
    "batch": _batch,
    "learning rate": _rate,
    "weight decay": "train.weight_decay",
    "gradient clip": _clip,
    "Adam": lambda run: ", ".join(f"{name} {run.text(f'train.adam_{name}')}" for name in ("beta1", "beta2", "epsilon")),
    "moving average": _or_off("train.ema_decay", "decay {}"),
    "teacher": _teacher,
    "arithmetic": "train.precision",
    "seed": "runtime.seed",
    "initial weights": _initial,
    "updates": _of("updates", "total_steps"),
    "samples seen": _of("seen", "planned_samples"),
    "passes over the data": _passes,
    "training data": lambda run: str((run.of("data", "train") or {}).get("label", UNKNOWN)),
    "evaluation data": lambda run: str((run.of("data", "val") or {}).get("label", UNKNOWN)),
    "evaluation coverage": _coverage,
    "calibration": _calibration,
    "code": _code,
}


# ---- results under their labels ----


class Ranked(NamedTuple):
    """A result with its place among those of its label and kind, from 1."""

    rank: int
    result: Result


@dataclass(frozen=True)
class LabelColumn:
    """All results of one label; ranks start anew with every kind."""

    label: Label
    rows: tuple[Ranked, ...]


def label_columns(results: Sequence[Result]) -> list[LabelColumn]:
    """One column a label, in order of first appearance; every result stands in exactly one."""
    groups: dict[Label, list[Result]] = {}
    for result in results:
        group = groups.setdefault(result.label, [])
        if result.run or not any(_same_reference(result, other) for other in group):
            group.append(result)
    return [LabelColumn(label, _ranked(group)) for label, group in groups.items()]


def _same_reference(one: Result, other: Result) -> bool:
    """Zero flow and the like on the same pixels are one row, whichever run's evaluation wrote it."""
    return not other.run and one.model == other.model and math.isclose(one.epe, other.epe, rel_tol=1e-6)


def _ranked(group: list[Result]) -> tuple[Ranked, ...]:
    kinds: dict[str, list[Result]] = {}
    for result in group:
        kinds.setdefault(result.kind, []).append(result)
    rows: list[Ranked] = []
    for kind in sorted(kinds, key=lambda kind: kind == "model"):  # means first: they describe the runs
        members = sorted(kinds[kind], key=lambda r: (math.isnan(r.epe), r.epe))
        rows += [Ranked(place, result) for place, result in enumerate(members, start=1)]
    return tuple(rows)


def select(results: Sequence[Result], protocol: str | None, split: str | None) -> list[Result]:
    """Results of one protocol (name, or name with parameters) and one split label, where given.

    Raises:
        ConfigError: nothing is left; names what there is.
    """
    kept = [
        result
        for result in results
        if protocol in (None, result.label.protocol, result.label.protocol.partition(":")[0])
        and split in (None, result.label.split)
    ]
    if results and not kept:
        there = "".join(f"\n  {label}" for label in dict.fromkeys(str(result.label) for result in results))
        asked = " and ".join(f"--{n} {v}" for n, v in (("protocol", protocol), ("split", split)) if v is not None)
        raise ConfigError(f"{asked}: no result under that label; there are:{there}")
    return kept


def require_one_label(columns: Sequence[LabelColumn]) -> None:
    """Raises ConfigError with every label and who has it where there is more than one."""
    if len(columns) < 2:
        return
    lines = []
    for column in columns:
        owners = dict.fromkeys(row.result.run for row in column.rows if row.result.run)
        lines.append(f"\n  {column.label}: {', '.join(owners) or 'references only'}")
    alike = len({(column.label.protocol, column.label.split) for column in columns}) == 1
    keep = "" if alike else ", or keep one label with --protocol NAME and --split LABEL"
    raise ConfigError(
        f"these results have {len(columns)} different labels and cannot be ranked in one column:{''.join(lines)}\n"
        f"add --side-by-side for a column each{keep}; to compare the runs themselves, evaluate them alike: edgeflownas "
        "evaluate"
    )


def differing(details: Mapping[str, Mapping[str, str]]) -> tuple[list[str], list[str]]:
    """Keys of run -> key -> value that differ between the runs, and those that do not, in their order."""
    keys = list(dict.fromkeys(key for values in details.values() for key in values))
    differ = [key for key in keys if len({values.get(key, "-") for values in details.values()}) > 1]
    return differ, [key for key in keys if key not in differ]


def split_warnings(labels: Sequence[str]) -> list[str]:
    """The two sets that are both called the validation set of FlyingChairs2, where both are in the comparison."""
    official = {label for label in labels if _fc2_count(label) in FC2_OFFICIAL}
    hold_out = {label for label in labels if _fc2_count(label) in FC2_HOLD_OUT}
    if not official or not hold_out:
        return []
    return [
        f"{', '.join(sorted(official))} looks like the official 640 validation pairs of FlyingChairs2, "
        f"{', '.join(sorted(hold_out))} like what the 17,785 training pairs leave of the official training folder "
        "(4,446 or 4,447): they are different sets, and a figure of one says nothing about the other"
    ]


def _fc2_count(label: str) -> int | None:
    """Samples in a split label such as ``fc2/folder:val/640/9f3a``; None for other data sets."""
    match = re.fullmatch(r"(?:fc2|flying_?chairs_?2)(?:[:/].*)?/(\d{1,9})/[^/]*", label.lower())
    return int(match[1]) if match else None


def document(facts: Sequence[RunFacts], columns: Sequence[LabelColumn], warnings: Sequence[str]) -> dict[str, Any]:
    """Everything as a JSON document."""
    differ, _ = differing({run.name: run.details for run in facts})
    return {
        "runs": [{"run": run.name, "path": run.path, "details": dict(run.details)} for run in facts],
        "differing": differ,
        "labels": [
            {
                "protocol": column.label.protocol,
                "split_label": column.label.split,
                "samples": column.label.samples,
                "rows": [
                    {
                        "rank": rank,
                        "ranked_among": result.kind,
                        "run": result.run or None,
                        "model": result.model,
                        "code": result.code,
                        "when": result.when,
                        "precision": result.precision,
                        "batch_shape": result.batch_shape,
                        **result.extra,
                        **{
                            name: value if math.isfinite(value) else str(value)
                            for name, value in result.figures.items()
                        },
                    }
                    for rank, result in column.rows
                ],
            }
            for column in columns
        ],
        "warnings": list(warnings),
    }


def results_table(details: Mapping[str, Mapping[str, str]], columns: Sequence[LabelColumn]) -> Table:
    """One row a result: rank and figures in columns of the result's own label, then the run's details."""
    keys = sum(differing(details), [])
    names = [list(dict.fromkeys(name for row in column.rows for name in row.result.figures)) for column in columns]
    heading: Heading = ["run", "model", "code", "when", "ranked_among", "precision", "batch_shape"]
    for column, own in zip(columns, names, strict=True):
        heading += [f"{name} [{column.label}]" for name in ("rank", *own)]
    rows = []
    for column in columns:
        for rank, result in column.rows:
            row: list[Any] = [result.run, result.model, result.code, result.when, result.kind]
            row += [result.precision, result.batch_shape]
            for other, own in zip(columns, names, strict=True):
                figures = [rank, *(told(result.figures.get(name), "{:.4f}", "") for name in own)]
                row += figures if other is column else [None] * len(figures)
            rows.append(row + [details.get(result.run, {}).get(key, "") for key in keys])
    return Table([*heading, *keys], rows, printed=False)


def comparison_view(facts: Sequence[RunFacts], columns: Sequence[LabelColumn], apart: bool, width: int) -> Blocks:
    """How the runs train, then their results."""
    details = {run.name: run.details for run in facts}
    return [results_table(details, columns), *details_view(details, width), "", *results_view(columns, apart)]


def details_view(details: Mapping[str, Mapping[str, str]], width: int) -> Blocks:
    """What differs, as a table (below each other where that is too wide); what does not, as lines below it."""
    differ, same = differing(details)
    runs = list(details)
    lines: Blocks = []
    if differ:
        first = max(map(len, differ))
        cell = (width - first) // len(runs) - len(GAP)
        cells = [[key, *(details[run].get(key, UNKNOWN) for run in runs)] for key in differ]
        if cell >= NARROWEST:
            lines += _wrapped(["", *runs], cells, [first, *[cell] * len(runs)])
        else:
            for key, *values in cells:
                lines += [key, *(f"{GAP}{run}: {value}" for run, value in zip(runs, values, strict=True))]
    if same:
        lines += ["", "the same in all runs:"] if differ else ["training details:"]
        lines += [f"{GAP}{key}: {details[runs[0]].get(key, UNKNOWN)}" for key in same]
    return lines


def _wrapped(heading: list[str], rows: list[list[str]], widths: list[int]) -> list[str]:
    """Cells wrapped to the width of their column."""
    lines = []
    for cells in [heading, ["-" * width for width in widths], *rows]:
        wrapped = [textwrap.wrap(cell, width) or [""] for cell, width in zip(cells, widths, strict=True)]
        for place in range(max(map(len, wrapped))):
            parts = [cell[place] if place < len(cell) else "" for cell in wrapped]
            lines.append(GAP.join(part.ljust(width) for part, width in zip(parts, widths, strict=True)).rstrip())
    return lines


def results_view(columns: Sequence[LabelColumn], apart: bool) -> Blocks:
    """Results of one label with all their figures, or of several with rank and EPE in a column each (``apart``)."""
    if not columns:
        return ["no evaluation yet"]
    if apart and len(columns) > 1:
        return _several(columns)
    blocks: Blocks = []
    for column in columns:
        blocks += [""] * bool(blocks) + [str(column.label)]
        known = {name for row in column.rows for name in row.result.figures}
        shown = [figure for figure in figure_columns(3) if figure.name in known]
        for kind in dict.fromkeys(row.result.kind for row in column.rows):
            rows = []
            for rank, result in column.rows:
                if result.kind == kind:
                    figures = [result.figures.get(figure.name, UNKNOWN) for figure in shown]
                    rows.append([rank, *_names(result), *figures, result.precision, result.when])
            blocks += ["", Table(["rank", *NAMES, *shown, *ORIGIN], rows).lean()]
    return blocks


NAMES = ["run", "model", "code"]
ORIGIN = ["precision", "evaluation"]


def _names(result: Result) -> list[str]:
    return [result.run or "(reference)", result.model, (result.code or "").replace(",", "")]


def _several(columns: Sequence[LabelColumn]) -> Blocks:
    """A line a result, ranked within its own column only; nothing orders the lines across columns."""
    letters = [chr(ord("A") + index) if index < 26 else f"L{index}" for index in range(len(columns))]
    cells: dict[tuple[str, ...], list[str]] = {}
    for index, column in enumerate(columns):
        for rank, result in column.rows:
            line = cells.setdefault((*_names(result), result.precision, result.when), [""] * len(columns))
            line[index] = f"{rank}. {result.epe:.4f}" + ("" if result.kind == "model" else " (mean)")
    rows = [[*key[:3], *values, *key[3:]] for key, values in sorted(cells.items(), key=lambda entry: entry[0][0])]
    epes = [Column(f"{letter}: EPE px", left=False) for letter in letters]
    return [
        *(f"{letter}: {column.label}" for letter, column in zip(letters, columns, strict=True)),
        "(number. EPE: the rank among models, or among means, of the same column)",
        "",
        Table([*NAMES, *epes, *ORIGIN], rows).lean(),
    ]
