"""The learning rate as a pure function of seen over planned samples: nothing to save, nothing to drift."""

from __future__ import annotations

import math

from edgeflownas.config import TrainConfig

ONE_CYCLE_START = 1 / 25  # share of the peak rate a one-cycle plan starts from (Smith & Topin, arXiv 1708.07120)


def learning_rate(config: TrainConfig, seen: int, planned: int) -> float:
    """Rate of the step that starts after ``seen`` draws of a plan of ``planned`` draws.

    Paths are not multiplied in; draws of dropped steps count.  Past the plan the rate stays at its end value.
    """
    progress = min(1.0, seen / planned)
    warm_up = min(1.0, progress / config.lr_warmup_share) if config.lr_warmup_share > 0 else 1.0
    return config.lr * warm_up * _shape(config, progress)


def _shape(config: TrainConfig, progress: float) -> float:
    floor = config.lr_final_ratio
    if config.lr_schedule == "constant":
        return 1.0
    if config.lr_schedule == "step_decay":
        passed = sum(progress >= milestone for milestone in config.lr_milestones)
        return config.lr_decay**passed
    if config.lr_schedule == "one_cycle":
        peak = config.lr_peak_share
        if progress < peak:
            return _cosine(ONE_CYCLE_START, 1.0, progress / peak)
        return _cosine(1.0, floor, (progress - peak) / (1.0 - peak))
    if config.lr_schedule == "fast_anneal":
        return _cosine(1.0, floor, min(1.0, progress / config.lr_anneal_share))
    return _cosine(1.0, floor, progress)


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * 0.5 * (1.0 + math.cos(math.pi * share))
