"""All rules, by the id of the finding they give."""

from __future__ import annotations

from edgeflownas.report.diagnosis import rules_epe, rules_pool, rules_record, rules_training, rules_zero
from edgeflownas.report.diagnosis.findings import Rule

RULES: dict[str, Rule] = {
    "non_finite_epe": rules_epe.non_finite_epe,
    "impossible_values": rules_zero.impossible_values,
    "near_zero_flow": rules_zero.near_zero_flow,
    "label_changed": rules_record.label_changed,
    "epe_rising": rules_epe.epe_rising,
    "loss_epe_divergence": rules_epe.loss_epe_divergence,
    "objective_mismatch": rules_record.objective_mismatch,
    "plateau": rules_epe.plateau_of_epe,
    "clip_checks_mismatch": rules_training.clip_checks_mismatch,
    "non_finite_steps": rules_training.non_finite_steps,
    "clip_saturated": rules_training.clip_saturated,
    "lr_too_low": rules_training.lr_too_low,
    "input_differs": rules_record.input_differs,
    "train_eval_gap": rules_record.train_eval_gap,
    "coverage_low": rules_training.coverage_low,
    "fairness_gap_open": rules_training.fairness_gap_open,
    "ranking_below_noise": rules_pool.ranking_below_noise,
    "ranking_unstable": rules_pool.ranking_unstable,
    "wide_disagrees": rules_pool.wide_disagrees,
    "hard_arch": rules_pool.hard_arch,
    "outlier_epoch": rules_epe.outlier_epoch,
    "best_on_noise": rules_epe.best_on_noise,
    "lr_barely_moved": rules_training.lr_barely_moved,
    "clip_idle": rules_training.clip_idle,
    "data_wait_high": rules_training.data_wait_high,
    "resumed_with_changes": rules_record.resumed_with_changes,
    "fairness_equal": rules_training.fairness_equal,
    "no_divergence": rules_epe.no_divergence,
}

OF_THE_WHOLE = frozenset(
    {
        *("non_finite_epe", "label_changed", "clip_checks_mismatch", "non_finite_steps", "clip_saturated", "clip_idle"),
        *("lr_too_low", "input_differs", "coverage_low", "fairness_gap_open", "fairness_equal", "lr_barely_moved"),
        *("data_wait_high", "resumed_with_changes", "impossible_values"),
    }
)
"""Rules that see the whole history; the others see the part since the last change of the evaluation."""
