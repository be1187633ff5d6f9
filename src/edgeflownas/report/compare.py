"""How runs train, in words, and their results, each under the label it belongs to: alone and beside each other.

A ranked column holds results of ONE label (protocol, split, samples) and of one kind (a model, or the mean of one
pool).  Whoever asks for a single column of several labels is refused; side by side they get a column each.
"""

from __future__ import annotations

import math
import re
import statistics
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import starmap, zip_longest
from typing import TYPE_CHECKING, Any, NamedTuple

from edgeflownas.errors import ConfigError
from edgeflownas.evaluate.results import Label, Result
from edgeflownas.report.table import GAP, Column, Heading, Table, counted, size_text, told
from edgeflownas.report.views import Blocks, figure_columns

if TYPE_CHECKING:
    from edgeflownas.report.run_facts import RunFacts
    from edgeflownas.run.history import Evaluation

FC2_OFFICIAL = {640}  # the official validation folder of FlyingChairs2
FC2_HOLD_OUT = {4446, 4447}  # what the 17,785 training samples of the index lists leave over
NARROWEST = 22  # characters of a run's column; more runs than fit are put below each other
UNKNOWN = "-"
ZERO = ("zero flow", "zero")  # the model that predicts no motion, by the training's and by evaluate's name
NAMES = ["run", "model", "code"]  # columns before the figures of a result,
ORIGIN = ["precision", "evaluation"]  # and after them


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


class _Settings:
    """Dotted keys of a configuration that may lack any of them, and what else is known of the run."""

    def __init__(self, config: Mapping[str, Any], manifest: Mapping[str, Any], progress: Progress) -> None:
        groups = {group: values for group, values in config.items() if isinstance(values, Mapping)}
        self.known = {f"{group}.{name}": value for group, values in groups.items() for name, value in values.items()}
        self.get = self.known.get
        self.manifest, self.progress = manifest, progress

    def text(self, key: str, form: str = "{}", none: str = "none") -> str:
        """The value of a key in the words of ``form``, ``none`` where it is null."""
        value = self.get(key)
        if key not in self.known:
            return UNKNOWN
        return none if value is None else form.format(_figure(value))

    def of(self, *names: str) -> Any:
        """What stands under these names of the manifest, one in the other; None where one is missing."""
        found: Any = self.manifest
        for name in names:
            found = (found or {}).get(name)
        return found

    def size(self) -> str:
        value = self.get("data.crop_size")
        return size_text(value) if isinstance(value, list | tuple) else self.text("data.crop_size")

    def network(self) -> str:
        """``space v1 of 19,683 archs, width 32``; the manifest knows the space of a task that has no choices."""
        size = self.of("space", "size") or 1
        many = f" of {size:,} archs" if size > 1 else ""
        return f"space {self.of('space', 'name') or self.text('train.space')}{many}, width {self.text('train.width')}"

    def augmentation(self) -> str:
        names = ["horizontal_flip", "vertical_flip", "brightness", "contrast", "noise_std", "scale_probability"]
        names += ["saturation", "asymmetric_colour", "eraser"]
        given = [f", {name} {self.text(f'data.{name}')}" for name in names if self.get(f"data.{name}")]
        return "random crop" + "".join(given) if any(f"data.{name}" in self.known for name in names) else UNKNOWN

    def epoch(self) -> str:
        """``full_pass: 556 steps of 32, 17,792 draws, 100 % of 17,785 samples``."""
        steps, draws = self.of("plan", "steps_per_epoch"), self.of("plan", "draws_per_epoch")
        count, share = self.of("data", "train", "count"), self.progress.coverage_share
        if not steps or not draws:
            return self.text("train.epoch_mode")
        each = f"{counted(steps, 'step')} of {self.text('train.batch_size')}"
        text = f"{self.text('train.epoch_mode')}: {each}, {draws:,} draws"
        if not count:
            return text
        expected = "expected " if share is None else ""
        if share is None:
            replaced = self.get("train.train_sampling_mode") == "random_with_replacement" and count > 1
            share = -math.expm1(draws * math.log1p(-1.0 / count)) if replaced else min(1.0, draws / count)
        return f"{text}, {expected}{100 * share:.3g} % of {count:,} samples"

    def batch(self) -> str:
        micro, paths = self.get("train.micro_batch_size"), self.get("train.path_batches")
        text = self.text("train.batch_size") + (f" in micro-batches of {micro}" if micro else "")
        return text + (f", {paths} for all paths" if paths == "same" else f", {paths} between paths" if paths else "")

    def rate(self) -> str:
        """``cosine 0.0001 to 0``, with whatever else decides this schedule."""
        kind, rate, ratio = self.text("train.lr_schedule"), self.get("train.lr"), self.get("train.lr_final_ratio")
        if rate is None:
            return kind
        falls = kind in ("cosine", "one_cycle", "fast_anneal") and ratio is not None
        text = f"{kind} {_figure(rate)}" + (f" to {_figure(rate * ratio)}" if falls else "")
        own = {"step_decay": "lr_milestones lr_decay", "one_cycle": "lr_peak_share", "fast_anneal": "lr_anneal_share"}
        for name in own.get(kind, "").split():
            text += f", {name} {self.text(f'train.{name}')}" if f"train.{name}" in self.known else ""
        warm_up = self.get("train.lr_warmup_share")
        return text + (f", warm-up {100 * warm_up:g} %" if warm_up else "")

    def clip(self) -> str:
        text, where = self.text("train.grad_clip_global_norm", "norm {}", "off"), self.get("train.grad_clip_position")
        place = {"step": "once a step", "micro_step": "each path and micro-batch"}
        return text if text in ("off", UNKNOWN) or where is None else f"{text}, {place.get(where, where)}"

    def teacher(self) -> str:
        """``0,0,... of runs/a step-00000100 (3f9a...), lambda 1, scales 1, 1, 1``."""
        facts = self.of("teacher")
        if not facts:
            return "none"
        scales = ", ".join(_figure(value) for value in self.get("train.distil_weights") or ())
        origin = f"{self.text('train.teacher')} {facts['checkpoint']} ({facts['hash'][:8]})"
        return f"{facts['code']} of {origin}, lambda {self.text('train.distil_lambda')}, scales {scales}"

    def initial(self) -> str:
        if self.of("imported_from"):
            return f"imported from {self.of('imported_from').get('file', '?')}"
        for name in ("forked_from", "initialised_from"):
            if isinstance(origin := self.of(name), Mapping):
                return f"{origin.get('run', '?')} {origin.get('checkpoint', '')}".strip()
        return str(self.get("train.init_from") or "random")

    def passes(self) -> str:
        seen, planned, count = self.progress.seen, self.of("plan", "planned_samples"), self.of("data", "train", "count")
        if seen is None or not count:
            return UNKNOWN
        return f"{seen / count:.2f}" + (f" of {planned / count:.2f} planned" if planned else "")

    def coverage(self) -> str:
        samples, pool, available = self.progress.eval_samples, self.progress.pool_size, self.of("data", "val", "count")
        if not samples:
            return UNKNOWN
        share = f" of {available:,}" if available else ""
        archs = f", {pool} archs" if pool and pool > 1 else ""
        every = self.text("eval.eval_every_epoch")
        return f"{samples:,}{share} samples per arch{archs}, every {'epoch' if every == '1' else f'{every} epochs'}"

    def calibration(self) -> str:
        count = self.text("eval.bn_recal_batches")
        if count != UNKNOWN and self.get("train.batch_norm") == "frozen":
            return "none: frozen batch norm"
        size = self.text("train.batch_size" if self.get("eval.batch_size") is None else "eval.batch_size")
        return count if count == UNKNOWN else f"{count} batch{'es' * (count != '1')} of {size}"

    def best_by(self) -> str:
        by = self.text("eval.best_by").replace("_", " ")
        return f"{by} ({', '.join(map(_figure, self.get('eval.best_mix') or ()))})" if by == "mix" else by

    def prefetch(self) -> str:
        batches = self.get("data.prefetch_batches") or (8 if self.get("train.fast_mode") else 4)
        return f"{batches} batches" if "data.prefetch_batches" in self.known else UNKNOWN

    def commits(self) -> str:
        every = self.get("checkpoint.every_steps")
        each = "each epoch" + (f" and every {every} steps" if every else "")
        return f"{each}, {self.text('checkpoint.keep')} kept" if "checkpoint.keep" in self.known else UNKNOWN

    def code(self) -> str:
        version = (self.of("code") or {}).get("version", UNKNOWN)
        return f"{version} {str(self.of('code', 'commit') or '')[:10]}".strip()


UNSTATED = "not stated"
"""Split label of a history that does not say which samples were evaluated."""
Words = Callable[[_Settings], str]


def _figure(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else f"{value}"


def _of(done: str, planned: str) -> Words:
    """``556 of 111,200 planned``."""

    def words(run: _Settings) -> str:
        whole = told(run.of("plan", planned) or None, " of {:,} planned", "")
        return told(getattr(run.progress, done), "{:,}" + whole, UNKNOWN)

    return words


DETAILS: Mapping[str, str | Words] = {  # of a run, in order: a key of its configuration, or what says it
    "task": "train.task",
    "network": _Settings.network,
    "input normalisation": "train.input_normalisation",
    "channel order": "data.channel_order",
    "batch norm": "train.batch_norm",
    "crop": _Settings.size,
    "flow clip": lambda run: run.text("data.flow_clip", "+-{} px", "off"),
    "flow divisor": "data.flow_divisor",
    "augmentation": _Settings.augmentation,
    "epoch": _Settings.epoch,
    "epoch divisor": "train.epoch_divisor",
    "sampling": "train.train_sampling_mode",
    "batch": _Settings.batch,
    "learning rate": _Settings.rate,
    "weight decay": "train.weight_decay",
    "gradient clip": _Settings.clip,
    "Adam": lambda run: ", ".join(f"{name} {run.text(f'train.adam_{name}')}" for name in ("beta1", "beta2", "epsilon")),
    "moving average": lambda run: run.text("train.ema_decay", "decay {}", "off"),
    "teacher": _Settings.teacher,
    "arithmetic": "train.precision",
    "seed": "runtime.seed",
    "initial weights": _Settings.initial,
    "updates": _of("updates", "total_steps"),
    "samples seen": _of("seen", "planned_samples"),
    "passes over the data": _Settings.passes,
    "training data": lambda run: str((run.of("data", "train") or {}).get("label", UNKNOWN)),
    "evaluation data": lambda run: str((run.of("data", "val") or {}).get("label", UNKNOWN)),
    "evaluation coverage": _Settings.coverage,
    "best by": _Settings.best_by,
    "calibration": _Settings.calibration,
    "prefetch": _Settings.prefetch,
    "log interval": lambda run: run.text("runtime.summary_every", "every {} steps").replace(
        "every 1 steps", "every step"
    ),
    "checkpoint interval": _Settings.commits,
    "code": _Settings.code,
}


# ---- how steadily they improve ----

LEAST_STEADY = 5  # evaluations, before a second difference is worth a word
STEADY = {  # key: heading
    "samples_seen": "samples seen",
    "evaluations": "evaluations",
    "roughness_px": "roughness px",
    "noise_px": "sample noise px",
    "smoothness": "mean EPE falls",
    "std_px": "std px",
    "spread": "std is",
    "fairness_gap": "fairness gap",
    "improved_px": "subnets improved by px",
}


def steadiness(facts: Sequence[RunFacts]) -> list[dict[str, Any]]:
    """How smoothly the mean EPE of each run fell and how far its subnets lie apart, at equal samples seen.

    Runs under one label are held against the first of them: ``smoothness`` is smoother, not worse or worse, ``spread``
    lower, not worse or worse, None for the first.  ``roughness_px`` is the median absolute second difference of the
    mean EPE over the evaluations nearest to those of the run that evaluates least often, up to the samples that all
    have seen; ``noise_px`` the standard error of one mean.  A difference counts beyond two standard errors: of the
    median, about 1.2 / sqrt(n) of it, and of the spread of subnets that each have an error of their own.
    ``improved_px``: least and most that a subnet gained since the first evaluation.
    """
    found: list[dict[str, Any]] = []
    for label in dict.fromkeys(label for run in facts for label, _ in run.evaluations):
        own = {run.name: [row for one, row in run.evaluations if one == label] for run in facts}
        own = {name: rows for name, rows in own.items() if len(rows) >= LEAST_STEADY and len({*map(_pool, rows)}) == 1}
        if not own:
            continue
        seen = min(rows[-1].seen for rows in own.values())
        rarest = min(own.values(), key=lambda rows: sum(row.seen <= seen for row in rows))
        grid = [row.seen for row in rarest if row.seen <= seen]
        first: dict[str, Any] | None = None
        for name, rows in own.items():
            taken = list({row.seen: row for row in (min(rows, key=lambda r: abs(r.seen - at)) for at in grid)}.values())
            if len(taken) < LEAST_STEADY:
                continue
            steady = {"run": name, "label": str(label), **_steady(taken)}
            first = first or steady
            if steady is not first:
                error = 2.4 * math.hypot(
                    *(one["roughness_px"] / math.sqrt(one["evaluations"]) for one in (steady, first))
                )
                steady["smoothness"] = _verdict(steady["roughness_px"] - first["roughness_px"], error, "smoother")
                if steady["std_px"] is not None and first["std_px"] is not None:
                    error = 2.0 * math.hypot(steady["std_error_px"], first["std_error_px"])
                    steady["spread"] = _verdict(steady["std_px"] - first["std_px"], error, "lower")
            found.append(steady)
    return found


def _pool(row: Evaluation) -> tuple[str, ...] | int:
    return row.codes if all(row.codes) else row.pool_size


def _steady(rows: Sequence[Evaluation]) -> dict[str, Any]:
    """Figures of one run; those of a spread are None for a single model, those of noise where it was not measured."""
    size, last = rows[-1].pool_size, rows[-1]
    means = [row.mean for row in rows]
    bends = sorted(abs(a - 2.0 * b + c) for a, b, c in zip(means, means[1:], means[2:], strict=False))
    noise, error = (last.figure(f"{name}_{size}") for name in ("mean_epe_standard_error", "epe_standard_error"))
    gained = [before - after for before, after in zip(rows[0].epes, last.epes, strict=True)]
    several = size > 1 and all(map(math.isfinite, gained))
    return {
        "samples_seen": last.seen,
        "evaluations": len(rows),
        "roughness_px": statistics.median(bends),
        "noise_px": noise if math.isfinite(noise) else None,
        "smoothness": None,
        "std_px": last.figure(f"std_epe_{size}") if size > 1 else None,
        "std_error_px": error / math.sqrt(2.0 * (size - 1)) if size > 1 and math.isfinite(error) else 0.0,
        "spread": None,
        "fairness_gap": last.figures.get("fairness_gap"),
        "improved_px": [min(gained), max(gained)] if several else None,
    }


def _verdict(difference: float, error: float, better: str) -> str:
    return better if difference < -error else "worse" if difference > max(error, 5e-5) else "not worse"


def steadiness_view(rows: Sequence[Mapping[str, Any]]) -> Blocks:
    """A table for each label, with what is compared below it."""
    blocks: Blocks = []
    for label in dict.fromkeys(row["label"] for row in rows):
        shown = [dict(row) for row in rows if row["label"] == label]
        for row in shown:
            gained = row["improved_px"]
            row["improved_px"] = None if gained is None else f"{gained[0]:.3f} to {gained[1]:.3f}"
        form = {"samples_seen": "{:,}", "roughness_px": "{:.4f}", "noise_px": "{:.4f}", "std_px": "{:.4f}"}
        heading: Heading = ["run", *(Column(name, form.get(key, "{}").format, key) for key, name in STEADY.items())]
        blocks += ["", f"how steadily, at equal samples seen: {label}", Table.of(heading, shown, missing=UNKNOWN)]
        if len(shown) > 1:
            blocks.append(f"against {shown[0]['run']}; roughness: median absolute second difference of the mean EPE")
    return blocks


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

    @property
    def zero_flow_epe(self) -> float | None:
        """EPE of predicting no motion on the same pixels, px; None where nobody measured it."""
        return next((row.result.epe for row in self.rows if not row.result.run and row.result.model in ZERO), None)

    def __str__(self) -> str:
        return str(self.label) + told(self.zero_flow_epe, ", zero flow {:.4f} px", "")


def label_columns(results: Sequence[Result]) -> list[LabelColumn]:
    """One column a label, in order of first appearance; every result stands in exactly one."""
    groups: dict[Label, list[Result]] = {}
    for result in results:
        group = groups.setdefault(result.label, [])
        same = (other for other in group if not other.run and other.model == result.model)
        # zero flow and the like on the same pixels are one row, whichever run's evaluation wrote it
        if result.run or not any(math.isclose(result.epe, other.epe, rel_tol=1e-6) for other in same):
            group.append(result)
    columns = []
    for label, group in groups.items():
        rows: list[Ranked] = []
        # means first: they describe the runs
        for kind in sorted(dict.fromkeys(result.kind for result in group), key=lambda kind: kind == "model"):
            members = sorted((r for r in group if r.kind == kind), key=lambda r: (math.isnan(r.epe), r.epe))
            rows += map(Ranked, range(1, len(members) + 1), members)
        columns.append(LabelColumn(label, tuple(rows)))
    return columns


def select(results: Sequence[Result], protocol: str | None, split: str | None) -> list[Result]:
    """Results of one protocol (name, or name with parameters) and one split label, where given.

    Raises:
        ConfigError: nothing is left; names what there is.
    """

    def wanted(label: Label) -> bool:
        return protocol in (None, label.protocol, label.protocol.partition(":")[0]) and split in (None, label.split)

    kept = [result for result in results if wanted(result.label)]
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
    pattern = re.compile(r"(?:fc2|flying_?chairs_?2)(?:[:/].*)?/(\d{1,9})/[^/]*")
    unstated = [
        f"results under {UNSTATED!r} do not say which samples they were measured on: they are ranked together as if "
        "those were the same"
    ] * (UNSTATED in labels)
    counts = {label: int(match[1]) for label in labels if (match := pattern.fullmatch(label.lower()))}
    official, hold_out = (sorted(n for n in counts if counts[n] in own) for own in (FC2_OFFICIAL, FC2_HOLD_OUT))
    if not official or not hold_out:
        return unstated
    return [
        *unstated,
        f"{', '.join(official)} looks like the official 640 validation pairs of FlyingChairs2, {', '.join(hold_out)} "
        "like what the 17,785 training pairs leave of the official training folder (4,446 or 4,447): they are "
        "different sets, and a figure of one says nothing about the other",
    ]


def document(facts: Sequence[RunFacts], columns: Sequence[LabelColumn], warnings: Sequence[str]) -> dict[str, Any]:
    """Everything as a JSON document."""

    def row(rank: int, result: Result) -> dict[str, Any]:
        words = ("model", "code", "when", "precision", "batch_shape")
        figures = {name: value if math.isfinite(value) else str(value) for name, value in result.figures.items()}
        own = {name: getattr(result, name) for name in words} | dict(result.extra)
        return {"rank": rank, "ranked_among": result.kind, "run": result.run or None} | own | figures

    return {
        "runs": [{"run": run.name, "path": run.path, "details": dict(run.details)} for run in facts],
        "differing": differing({run.name: run.details for run in facts})[0],
        "labels": [
            {"protocol": protocol, "split_label": split, "samples": samples, "zero_flow_epe": column.zero_flow_epe}
            | {"rows": list(starmap(row, column.rows))}
            for column in columns
            for protocol, split, samples in [column.label]
        ],
        "steadiness": steadiness(facts),
        "warnings": list(warnings),
    }


def results_table(details: Mapping[str, Mapping[str, str]], columns: Sequence[LabelColumn]) -> Table:
    """One row a result: rank and figures in columns of the result's own label, then the run's details."""
    keys = sum(differing(details), [])
    names = [list(dict.fromkeys(name for row in column.rows for name in row.result.figures)) for column in columns]
    words = ["run", "model", "code", "when", "kind", "precision", "batch_shape"]
    heading: Heading = ["ranked_among" if word == "kind" else word for word in words]
    for column, own in zip(columns, names, strict=True):
        heading += [f"{name} [{column.label}]" for name in ("rank", *own)]
    rows = []
    for column in columns:
        for rank, result in column.rows:
            row: list[Any] = [getattr(result, word) for word in words]
            for other, own in zip(columns, names, strict=True):
                figures = [rank, *(told(result.figures.get(name), "{:.4f}", "") for name in own)]
                row += figures if other is column else [None] * len(figures)
            rows.append(row + [details.get(result.run, {}).get(key, "") for key in keys])
    return Table([*heading, *keys], rows, printed=False)


def comparison_view(facts: Sequence[RunFacts], columns: Sequence[LabelColumn], apart: bool, width: int) -> Blocks:
    """How the runs train, their results, and how steadily they improved."""
    details, steady = {run.name: run.details for run in facts}, steadiness_view(steadiness(facts))
    return [results_table(details, columns), *details_view(details, width), "", *results_view(columns, apart), *steady]


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
            widths = [first, *[cell] * len(runs)]
            for texts in [["", *runs], ["-" * width for width in widths], *cells]:  # wrapped to their column's width
                wrapped = [textwrap.wrap(text, width) or [""] for text, width in zip(texts, widths, strict=True)]
                for parts in zip_longest(*wrapped, fillvalue=""):
                    lines.append(GAP.join(map(str.ljust, parts, widths)).rstrip())
        else:
            for key, *values in cells:
                lines += [key, *(f"{GAP}{run}: {value}" for run, value in zip(runs, values, strict=True))]
    if same:
        lines += ["", "the same in all runs:"] if differ else ["training details:"]
        lines += [f"{GAP}{key}: {details[runs[0]].get(key, UNKNOWN)}" for key in same]
    return lines


def results_view(columns: Sequence[LabelColumn], apart: bool) -> Blocks:
    """Results of one label with all their figures, or of several with rank and EPE in a column each (``apart``)."""
    if not columns:
        return ["no evaluation yet"]
    if apart and len(columns) > 1:  # a line a result; nothing orders the lines across columns
        letters = [chr(ord("A") + index) if index < 26 else f"L{index}" for index in range(len(columns))]
        cells: dict[tuple[str, ...], list[str]] = {}
        for index, column in enumerate(columns):
            for rank, result in column.rows:
                line = cells.setdefault((*_names(result), result.precision, result.when), [""] * len(columns))
                line[index] = f"{rank}. {result.epe:.4f}" + ("" if result.kind == "model" else " (mean)")
        rows = [[*key[:3], *values, *key[3:]] for key, values in sorted(cells.items(), key=lambda entry: entry[0][0])]
        epes = [Column(f"{letter}: EPE px", left=False) for letter in letters]
        return [
            *(f"{letter}: {column}" for letter, column in zip(letters, columns, strict=True)),
            "(number. EPE: the rank among models, or among means, of the same column)",
            "",
            Table([*NAMES, *epes, *ORIGIN], rows).lean(),
        ]
    blocks: Blocks = []
    for column in columns:
        blocks += [""] * bool(blocks) + [str(column)]
        known = {name for row in column.rows for name in row.result.figures}
        shown = [figure for figure in figure_columns(3) if figure.name in known]
        for kind in dict.fromkeys(row.result.kind for row in column.rows):
            ranked: list[list[Any]] = []
            for rank, result in column.rows:
                if result.kind == kind:
                    figures = [result.figures.get(figure.name, UNKNOWN) for figure in shown]
                    ranked.append([rank, *_names(result), *figures, result.precision, result.when])
            blocks += ["", Table(["rank", *NAMES, *shown, *ORIGIN], ranked).lean()]
    return blocks


def _names(result: Result) -> list[str]:
    return [result.run or "(reference)", result.model, (result.code or "").replace(",", "")]
