"""How a run trains, in words: one line a key, comparable between runs of any version.

Read from config.yaml and run_manifest.json as plain mappings, so that runs of older (and newer) versions work; what a
run's version did not know is ``-``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

UNKNOWN = "-"


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
    keys = _Keys(config)
    plan = manifest.get("plan") or {}
    data = manifest.get("data") or {}
    count = (data.get("train") or {}).get("count")
    code = manifest.get("code") or {}
    return {
        "task": keys.text("train.task"),
        "network": _network(keys, manifest),
        "input normalisation": keys.text("train.input_normalisation"),
        "channel order": keys.text("data.channel_order"),
        "batch norm": keys.text("train.batch_norm"),
        "crop": keys.size("data.crop_size"),
        "flow clip": _or_off(keys, "data.flow_clip", "+-{} px"),
        "flow divisor": keys.text("data.flow_divisor"),
        "augmentation": _augmentation(keys),
        "epoch": _epoch(keys, plan, count, progress.coverage_share),
        "epoch divisor": keys.text("train.epoch_divisor"),
        "sampling": keys.text("train.train_sampling_mode"),
        "batch": _batch(keys),
        "learning rate": _rate(keys),
        "weight decay": keys.text("train.weight_decay"),
        "gradient clip": _clip(keys),
        "Adam": ", ".join(f"{name} {keys.text(f'train.adam_{name}')}" for name in ("beta1", "beta2", "epsilon")),
        "moving average": _or_off(keys, "train.ema_decay", "decay {}"),
        "teacher": _teacher(keys, manifest),
        "arithmetic": keys.text("train.precision"),
        "seed": keys.text("runtime.seed"),
        "initial weights": _initial(keys, manifest),
        "updates": _of(progress.updates, plan.get("total_steps")),
        "samples seen": _of(progress.seen, plan.get("planned_samples")),
        "passes over the data": _passes(progress.seen, plan.get("planned_samples"), count),
        "training data": str((data.get("train") or {}).get("label", UNKNOWN)),
        "evaluation data": str((data.get("val") or {}).get("label", UNKNOWN)),
        "evaluation coverage": _coverage(keys, progress, (data.get("val") or {}).get("count")),
        "calibration": _calibration(keys),
        "code": f"{code.get('version', UNKNOWN)} {str(code.get('commit') or '')[:10]}".strip(),
    }


class _Keys:
    """Dotted keys of a configuration that may lack any of them."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config = config

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

    def size(self, key: str) -> str:
        value = self.get(key)
        return "x".join(map(str, value)) if isinstance(value, list | tuple) else self.text(key)


def _network(keys: _Keys, manifest: Mapping[str, Any]) -> str:
    """``space v1 of 19,683 archs, width 32``; the manifest knows the space of a task that has no choices."""
    space = manifest.get("space") or {}
    size = f" of {space['size']:,} archs" if space.get("size", 1) > 1 else ""
    return f"space {space.get('name') or keys.text('train.space')}{size}, width {keys.text('train.width')}"


def _teacher(keys: _Keys, manifest: Mapping[str, Any]) -> str:
    """``0,0,... of runs/a step-00000100 (3f9a...), lambda 1, scales 1, 1, 1``."""
    facts = manifest.get("teacher")
    if not facts:
        return "none"
    scales = ", ".join(_figure(value) for value in keys.get("train.distil_weights") or ())
    origin = f"{keys.text('train.teacher')} {facts['checkpoint']} ({facts['hash'][:8]})"
    return f"{facts['code']} of {origin}, lambda {keys.text('train.distil_lambda')}, scales {scales}"


def _figure(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else f"{value}"


def _or_off(keys: _Keys, key: str, form: str) -> str:
    text = keys.text(key)
    return {"none": "off", UNKNOWN: UNKNOWN}.get(text, form.format(text))


def _augmentation(keys: _Keys) -> str:
    names = ("horizontal_flip", "vertical_flip", "brightness", "contrast", "noise_std")
    given = [f"{name} {keys.text(f'data.{name}')}" for name in names if keys.get(f"data.{name}")]
    known = any(keys.has(f"data.{name}") for name in names)
    return "random crop" + "".join(f", {text}" for text in given) if known else UNKNOWN


def _epoch(keys: _Keys, plan: Mapping[str, Any], count: int | None, share: float | None) -> str:
    """``full_pass: 556 steps, 17,792 draws, 100 % of 17,785 samples``."""
    steps, draws = plan.get("steps_per_epoch"), plan.get("draws_per_epoch")
    words = [keys.text("train.epoch_mode")]
    if not steps or not draws:
        return words[0]
    words.append(f"{steps:,} step{'' if steps == 1 else 's'} of {keys.text('train.batch_size')}, {draws:,} draws")
    if count:
        measured = share is not None
        if share is None:
            replaced = keys.get("train.train_sampling_mode") == "random_with_replacement" and count > 1
            share = -math.expm1(draws * math.log1p(-1.0 / count)) if replaced else min(1.0, draws / count)
        words.append(f"{'' if measured else 'expected '}{100 * share:.3g} % of {count:,} samples")
    return f"{words[0]}: {', '.join(words[1:])}"


def _batch(keys: _Keys) -> str:
    micro, paths = keys.get("train.micro_batch_size"), keys.get("train.path_batches")
    text = keys.text("train.batch_size") + (f" in micro-batches of {micro}" if micro else "")
    return text + (f", {paths} for all paths" if paths == "same" else f", {paths} between paths" if paths else "")


def _rate(keys: _Keys) -> str:
    """``cosine from 0.0001 to 0``, with whatever else decides this schedule."""
    kind, rate = keys.text("train.lr_schedule"), keys.get("train.lr")
    if rate is None:
        return kind
    parts = [f"{kind} {_figure(rate)}"]
    ratio = keys.get("train.lr_final_ratio")
    if kind in ("cosine", "one_cycle", "fast_anneal") and ratio is not None:
        parts[0] += f" to {_figure(rate * ratio)}"
    own = {
        "step_decay": ("lr_milestones", "lr_decay"),
        "one_cycle": ("lr_peak_share",),
        "fast_anneal": ("lr_anneal_share",),
    }
    parts += [f"{name} {keys.text(f'train.{name}')}" for name in own.get(kind, ()) if keys.has(f"train.{name}")]
    warm_up = keys.get("train.lr_warmup_share")
    return ", ".join(parts + ([f"warm-up {100 * warm_up:g} %"] if warm_up else []))


def _clip(keys: _Keys) -> str:
    text = _or_off(keys, "train.grad_clip_global_norm", "norm {}")
    place = {"step": "once a step", "micro_step": "each path and micro-batch"}
    where = keys.get("train.grad_clip_position")
    return text if text in ("off", UNKNOWN) or where is None else f"{text}, {place.get(where, where)}"


def _initial(keys: _Keys, manifest: Mapping[str, Any]) -> str:
    if manifest.get("imported_from"):
        return f"imported from {manifest['imported_from'].get('file', '?')}"
    for name in ("forked_from", "initialised_from"):
        origin = manifest.get(name)
        if isinstance(origin, Mapping):
            return f"{origin.get('run', '?')} {origin.get('checkpoint', '')}".strip()
    origin = keys.get("train.init_from")
    return str(origin) if origin else "random"


def _of(done: int | None, planned: int | None) -> str:
    if done is None:
        return UNKNOWN
    return f"{done:,}" + (f" of {planned:,} planned" if planned else "")


def _passes(seen: int | None, planned: int | None, count: int | None) -> str:
    if seen is None or not count:
        return UNKNOWN
    return f"{seen / count:.2f}" + (f" of {planned / count:.2f} planned" if planned else "")


def _coverage(keys: _Keys, progress: Progress, available: int | None) -> str:
    if not progress.eval_samples:
        return UNKNOWN
    share = f" of {available:,}" if available else ""
    archs = f", {progress.pool_size} archs" if progress.pool_size and progress.pool_size > 1 else ""
    every = keys.text("eval.eval_every_epoch")
    pace = "every epoch" if every == "1" else f"every {every} epochs"
    return f"{progress.eval_samples:,}{share} samples per arch{archs}, {pace}"


def _calibration(keys: _Keys) -> str:
    if not keys.has("eval.bn_recal_batches"):
        return UNKNOWN
    if keys.get("train.batch_norm") == "frozen":
        return "none: frozen batch norm"
    count = keys.text("eval.bn_recal_batches")
    return f"{count} batch{'' if count == '1' else 'es'} of {keys.text('eval.batch_size')}"
