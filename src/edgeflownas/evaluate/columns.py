"""Columns of eval_history.csv and the other CSV files of a run: names, order, number formats.

The leading columns are those the users' own scripts read; new ones only ever join at the end.  ``12`` in a name is
the pool size (:func:`columns` puts in the actual one).  The files are for people and plotting: exact values are in
events.jsonl.
"""

from __future__ import annotations

import contextlib
import csv
import functools
import io
import re
from collections.abc import Iterable, Mapping, Sequence

from edgeflownas.files import csv_cell, encoded

Value = int | float | str | None

#: The historical columns with their formats (see format_value); train_* and grad_norm_* describe the epoch's
#: accepted steps, *epe* the pool on the frozen evaluation pixels.
_HISTORICAL = {
    **dict.fromkeys(("epoch", "global_step", "seen_samples"), "d"),
    "lr": ".6e",
    **dict.fromkeys(("train_loss", "train_loss_optical", "train_loss_uncertainty"), ".4f"),
    **dict.fromkeys(("grad_norm_mean", "grad_norm_p50", "grad_norm_p90", "grad_norm_p99"), ".3f"),
    **{"clip_threshold": "number", "clip_checks": "d", "expected_clip_checks": "d", "clip_rate": ".4f"},
    **dict.fromkeys(("unique_samples", "train_samples"), "d"),
    **dict.fromkeys(("mean_epe_12", "std_epe_12", "median_epe_12", "p90_epe_12"), ".4f"),
    **dict.fromkeys(("per_arch_epe_min", "per_arch_epe_median", "per_arch_epe_max"), ".4f"),
    **{"bilinear_arch_epe": ".4f", "zero_flow_epe": ".4f", "kendall_tau_prev": "tau", "fairness_gap": "d"},
    **{"eval_seconds": ".1f", "bn_recal_seconds": ".1f", "data_wait_share": ".3f"},
    **{"eval_samples_per_arch": "d", "split_label": "text", "arch_rank_12": "text"},
}

_NEW = {
    **{"bn_recal_batches": "d", "eval_batches_per_arch": "d"},
    # Means over the pool, on the evaluation pixels; A0 and A1 against label[::k, ::k], the EPE of A2 is mean_epe_12.
    **dict.fromkeys(("eval_loss_total", "eval_loss_optical", "eval_loss_uncertainty"), ".4f"),
    **{"eval_epe_a0": ".4f", "eval_epe_a1": ".4f"},
    "clip_count": "d",  # checks that clipped: clip_rate x clip_checks
    "dropped_steps": "d",  # non-finite steps of this epoch
    "train_drawn": "d",  # draws of this epoch
    "coverage_share": ".4f",  # unique_samples / train_samples
    "expected_unique_samples": ".1f",  # N (1 - (1 - 1/N)^drawn): what draws with replacement would reach
    "cumulative_passes": ".4f",  # draws of the whole run / N
    "clipped_flow_share": ".6f",  # share of this epoch's training pixels changed by data.flow_clip
    "quarantined_samples": "d",  # so far in this run
    "mean_epe_12_ema": ".4f",  # the pool with averaged weights (train.ema_decay)
    **{"best_epe": ".4f", "best_epoch": "d"},  # lowest eval.best_by criterion so far
    "images_per_second": ".1f",  # training samples (pairs), each seen by every path of its step
    "epoch_seconds": ".1f",
    "eval_set": "text",  # hash of eval_set.json: rows with different hashes must not be compared
    "calibration_set": "text",  # hash of the calibration ids alone
    "epe_protocol": "text",
    # What the evaluation can tell apart (evaluate/noise.py), px: standard errors of one arch's EPE (median over the
    # pool) and of mean_epe_12; the difference between two archs at 95 % (median over the pairs); the pairs that tie.
    **{"epe_standard_error_12": ".4f", "mean_epe_standard_error_12": ".4f"},
    **{"smallest_difference_12": ".4f", "tied_pairs_12": ".4f"},
    # A few fixed training samples (eval.train_batches), scored as the evaluation samples are, and in random windows.
    **{"train_epe_12": ".4f", "train_epe_random_crop_12": ".4f"},
    **dict.fromkeys(("train_eval_loss_total", "train_eval_loss_optical", "train_eval_loss_uncertainty"), ".4f"),
    "train_eval_samples": "d",
    # The wide set (eval.wide_every_epoch), on the same calibration; its tau: frequent against wide ranking.
    **dict.fromkeys(("wide_mean_epe_12", "wide_std_epe_12", "wide_median_epe_12", "wide_p90_epe_12"), ".4f"),
    "wide_zero_flow_epe": ".4f",
    "wide_difference_12": ".4f",  # mean_epe_12 - wide_mean_epe_12
    **{"wide_kendall_tau": "tau", "wide_smallest_difference_12": ".4f", "wide_samples_per_arch": "d"},
    **{"wide_arch_rank_12": "text", "wide_eval_set": "text", "wide_eval_seconds": ".1f"},
    "clip_verdict": "text",  # saturated (90 % of the checks clipped), idle (none), active, off (no threshold)
    # Median of grad_norm_p90 in the last third of the epochs, empty while that moves; it would clip one check in ten.
    "clip_suggested": ".3f",
    # Of the wall clock since the row before was logged; these seven add up to 1.
    **dict.fromkeys(("share_data_wait", "share_step", "share_eval", "share_recal"), ".3f"),
    **dict.fromkeys(("share_checkpoint", "share_monitor", "share_other"), ".3f"),
}

_FORMATS = {
    **_HISTORICAL,
    **_NEW,
    **{"arch_index": "d", "epe": ".4f", "code": "text", "epe_ema": ".4f"},
    **{"block": "text", "option": "d", "meaning": "text", "count": "d", "train_loss_relative": ".6f"},
    **{"step": "d", "path": "d", "grad_norm": ".6g"},
}

EVAL_HISTORY_COLUMNS: tuple[str, ...] = (*_HISTORICAL, *_NEW)
#: ``code`` keeps its commas (and is quoted): without them a spreadsheet would drop its leading zeros.
PER_ARCH_COLUMNS = ("epoch", "arch_index", "epe", "code", "epe_ema")
PER_OPTION_COLUMNS = ("epoch", "block", "option", "meaning", "count", "train_loss", "train_loss_relative")
TRAINING_HISTORY_COLUMNS = (  # of every epoch, evaluated or not
    *("epoch", "global_step", "seen_samples", "lr", "train_loss", "train_loss_optical", "train_loss_uncertainty"),
    *("grad_norm_mean", "grad_norm_p50", "grad_norm_p90", "grad_norm_p99", "clip_threshold", "clip_checks"),
    *("expected_clip_checks", "clip_count", "clip_rate", "clip_verdict", "clip_suggested", "dropped_steps"),
    *("unique_samples", "train_samples", "train_drawn", "coverage_share", "cumulative_passes", "clipped_flow_share"),
    *("quarantined_samples", "fairness_gap", "epoch_seconds", "images_per_second", "data_wait_share"),
)
MONITOR_COLUMNS = ("step", "epoch", "path", "code", "block", "grad_norm")


def columns(pool_size: int) -> tuple[str, ...]:
    """Columns of eval_history.csv for a pool of ``pool_size`` subnets: mean_epe_12 becomes e.g. mean_epe_24."""
    return tuple(name.replace("_12", f"_{pool_size}") for name in EVAL_HISTORY_COLUMNS)


@functools.cache
def _format_of(column: str) -> str:
    """Format of a column under any pool size.  Raises KeyError for a name that is no column."""
    return _FORMATS[column] if column in _FORMATS else _FORMATS[re.sub(r"_\d+(?=_|$)", "_12", column)]


def format_value(column: str, value: Value) -> str:
    """Text of one value: None is empty (not measured), non-finite numbers are ``nan``, ``inf``, ``-inf``."""
    if value is None:
        return ""
    form = _format_of(column)
    if form == "text":
        return str(value)
    assert not isinstance(value, str), f"column {column} holds numbers, got {value!r}"
    if form == "tau":
        return str(round(float(value), 4) + 0.0)  # shortest form: 1.0, -0.1818; + 0.0 turns -0.0 into 0.0
    if form == "number":
        return str(int(value)) if float(value).is_integer() else str(float(value))
    if form == "d":
        assert value == int(value), f"column {column} counts, got {value!r}"
        return str(int(value))
    return format(float(value), form)


def parse_value(column: str, text: str) -> Value:
    """Inverse of :func:`format_value`, up to the digits the format drops.

    Raises ValueError for malformed numbers, KeyError for a name that is no column.
    """
    form = _format_of(column)
    if not text:
        return None
    return text if form == "text" else int(text) if form == "d" else float(text)


def csv_file(rows: Iterable[Sequence[object]]) -> bytes:
    """A whole table, header first: lines that end with a line feed, UTF-8."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([*map(csv_cell, row)] for row in rows)
    return encoded(text.getvalue())


def parse_row(row: Mapping[str, str]) -> dict[str, Value]:
    """Typed values of a row read by csv.DictReader; unknown columns (of a later version) are kept as text."""
    found: dict[str, Value] = dict(row)
    for name, text in row.items():
        with contextlib.suppress(KeyError):
            found[name] = parse_value(name, text)
    return found
