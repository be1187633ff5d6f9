"""Names of the TF1 tool's history and console lines, and what they are called here.

The TF1 tool wrote one row an evaluated epoch to its own ``eval_epe_history.csv`` and the same figures to the console
as ``epoch=12 lr=9.9e-05 loss=8.1 mean_epe_12=9.72 ... arch_rank_12=1:3:9.72|2:0:9.75``.
"""

from __future__ import annotations

import re

#: Name there -> name here.  What is not listed has the same name in both (epoch, lr, mean_epe_12, std_epe_12,
#: fairness_gap, bn_recal_batches, eval_batches_per_arch, arch_rank_12).
NAMES = {
    "train_loss_epoch_avg": "train_loss",
    "loss": "train_loss",
    "train_grad_norm_epoch_avg": "grad_norm_mean",
    "grad_norm": "grad_norm_mean",
    "train_grad_norm_p50": "grad_norm_p50",
    "train_grad_norm_p90": "grad_norm_p90",
    "train_grad_norm_p99": "grad_norm_p99",
    "clip_trigger_count": "clip_count",
    "clip_trigger_rate": "clip_rate",
}

_PAIR = re.compile(r"([A-Za-z][A-Za-z0-9_]*)=(\S*)")


def console_cells(line: str) -> dict[str, str] | None:
    """Name -> text of a console line that reports an evaluation; None for any other line (progress, warnings).

    A line counts as an evaluation where it names both ``epoch`` and a mean EPE; whatever stands around the pairs
    (time stamps, log levels) is left out.
    """
    cells = {name: text.rstrip(",;") for name, text in _PAIR.findall(line)}
    return cells if "epoch" in cells and any(name.startswith("mean_epe_") for name in cells) else None
