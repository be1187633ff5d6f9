"""Ids of all findings in order of consequence, with why each matters, what to try, and the charts it belongs to.

Order: first what makes every figure worthless (numbers that are none, a network that predicts nothing, figures of
different samples in one column), then what makes training useless, then what makes rankings unreadable, then what
costs time, last what is in order.
"""

from __future__ import annotations

from typing import NamedTuple


class Entry(NamedTuple):
    """Texts of one finding."""

    why: str
    advice: str
    charts: tuple[str, ...]


CATALOGUE: dict[str, Entry] = {
    "non_finite_epe": Entry(
        "An EPE that is not a number says that weights or statistics are broken; later figures build on them.",
        "Go back to the last checkpoint before it; lower train.lr or set train.grad_clip_global_norm.",
        ("epe",),
    ),
    "impossible_values": Entry(
        "An EPE is a mean distance: it is never negative, and exactly zero only for the truth itself. What wrote these "
        "figures measured something else, so no other finding about the EPE can be trusted.",
        "Look at what wrote the file: the mask of valid pixels, the truth, and whether the columns are the right ones.",
        ("epe", "archs"),
    ),
    "near_zero_flow": Entry(
        "Predicting no motion at all is as good. Either the scored prediction is not the accumulated flow, or the "
        "network predicts (almost) nothing.",
        "Look at pictures of prediction and truth. Check that the accumulated flow is scored (not the last residual), "
        "the sign, order and scale of the flow, and the input normalisation; then overfit a few pairs.",
        ("epe", "archs"),
    ),
    "label_changed": Entry(
        "Figures before and after belong to different samples or rules: their difference is no progress.",
        "Read the parts apart; keep the evaluation set for the whole run (edgeflownas evaluate measures others).",
        ("epe", "pool"),
    ),
    "epe_rising": Entry(
        "The evaluation gets worse although training goes on.",
        "Take the best checkpoint; lower train.lr, clip lower, or look for overfitting (train_epe against EPE).",
        ("epe", "loss"),
    ),
    "loss_epe_divergence": Entry(
        "What is minimised and what is wanted part ways: more training of this kind will hardly lower the EPE.",
        "Look at the loss terms apart (optical against uncertainty), at train_epe on the same protocol, and at the "
        "scored prediction; try a lower weight of the uncertainty term or the same crop for training and evaluation.",
        ("loss", "epe"),
    ),
    "objective_mismatch": Entry(
        "On the very same pixels the loss falls far more than the EPE, so neither new data nor other crops explain it.",
        "Compare optical and uncertainty term: where only the uncertainty falls, the network learns to state its "
        "error instead of lowering it. Lower that term's weight or anneal the rate.",
        ("loss", "epe"),
    ),
    "plateau": Entry(
        "Epochs after this point cost time and bring nothing that can be measured.",
        "Lower the learning rate now (train.lr_schedule fast_anneal, or fork from here with half the rate), or stop.",
        ("epe",),
    ),
    "clip_checks_mismatch": Entry(
        "Clipping ran another number of times than the plan says: it sits at the wrong place, or steps are missing, "
        "so the threshold means something else than it seems.",
        "Look at train.grad_clip_position with train.micro_batch_size.",
        ("gradient",),
    ),
    "non_finite_steps": Entry(
        "Dropped steps learn nothing, and they are often the first sign of divergence.",
        "Look at the named samples in events.jsonl; lower train.lr or set train.grad_clip_global_norm.",
        ("loss", "gradient"),
    ),
    "clip_saturated": Entry(
        "Every step is cut to the same length: the threshold, not the gradient, sets the pace, and the rate acts as a "
        "much smaller one.",
        "Raise train.grad_clip_global_norm to about the 90 % quantile of the norms (grad_norm_p90).",
        ("gradient",),
    ),
    "lr_too_low": Entry(
        "Adam moves a weight by about the rate at each step; all steps together cannot have changed the network.",
        "Raise train.lr (1e-4 is the usual start), or check the schedule and the plan.",
        ("lr", "loss"),
    ),
    "input_differs": Entry(
        "Training and evaluation see images of different kinds, so the loss of one says little of the other.",
        "Give both the same crop and normalisation (data.crop_size), or read the EPE on the training crop beside.",
        ("epe",),
    ),
    "train_eval_gap": Entry(
        "The network gets better on the pairs it trains on and not on new ones.",
        "More data or augmentation, a smaller network, weight decay; take the best checkpoint, not the last.",
        ("epe", "loss"),
    ),
    "coverage_low": Entry(
        "An epoch sees a small part of the data, so epoch numbers overstate how far training is.",
        "train.epoch_mode full_pass, or by_samples with train.train_samples_per_epoch 0.5; draw without replacement.",
        ("coverage",),
    ),
    "fairness_gap_open": Entry(
        "Some options were trained more often than others: their ranks measure training, not quality.",
        "Look at the sampler; strict fairness keeps the counts within one of each other.",
        ("ranks",),
    ),
    "ranking_below_noise": Entry(
        "Most differences between archs are smaller than what the evaluation can tell apart: the order is chance.",
        "More samples an arch (eval.eval_batches_per_arch, eval.wide_every_epoch), or read groups instead of ranks.",
        ("ranks", "pool"),
    ),
    "ranking_unstable": Entry(
        "The order of one epoch does not predict that of the next: the winner of the last epoch is drawn by lot.",
        "Freeze the evaluation samples, take more of them (eval.eval_batches_per_arch) and more calibration batches "
        "(eval.bn_recal_batches); train longer before ranking.",
        ("tau", "ranks"),
    ),
    "wide_disagrees": Entry(
        "The small evaluation is not a fair sample of the large one: choices made on it are choices for its samples.",
        "Trust the wide evaluation; raise eval.eval_batches_per_arch.",
        ("epe", "ranks"),
    ),
    "hard_arch": Entry(
        "One subnet stands apart and pulls the mean and the 90 % quantile; curves of the mean show it, not the pool.",
        "Read the median. Evaluate it with more calibration batches (edgeflownas evaluate RUN --calibration-sweep): "
        "where its EPE falls it was under-calibrated, else it is hard.",
        ("archs", "pool"),
    ),
    "outlier_epoch": Entry(
        "One evaluation is unlike its neighbours; a best checkpoint or an early stop must not rest on it.",
        "Evaluate the checkpoints around it again; look at recalibration and at the loss of that epoch.",
        ("epe", "archs"),
    ),
    "best_on_noise": Entry(
        "The best epoch is the luckiest of many equal ones; another evaluation set would choose another.",
        "Take the last checkpoint or an average, or choose among these epochs on a wide evaluation.",
        ("epe",),
    ),
    "lr_barely_moved": Entry(
        "The rate is still about where it began, so its noise still covers the fine part of the weights.",
        "Plan fewer epochs, or train.lr_schedule fast_anneal or step_decay.",
        ("lr",),
    ),
    "clip_idle": Entry(
        "The threshold never acts: clipping is off in all but name and will catch an explosion only.",
        "Nothing has to change; to make it act, set train.grad_clip_global_norm near grad_norm_p99.",
        ("gradient",),
    ),
    "data_wait_high": Entry(
        "The device waits for samples; that time buys nothing.",
        "data.num_workers, data.prefetch_batches, data.cache; python benchmarks/loader.py.",
        ("time",),
    ),
    "resumed_with_changes": Entry(
        "The history is of more than one experiment: before and after differ by more than training time.",
        "Name the change wherever figures of this run are shown.",
        ("epe", "lr"),
    ),
    "fairness_equal": Entry(
        "Equal counts mean that no option was trained more often. They do not mean that options are equally good.",
        "Nothing to do.",
        ("ranks",),
    ),
    "no_divergence": Entry(
        "Neither loss nor EPE rises, and every figure is a number.",
        "Nothing to do.",
        ("loss", "epe"),
    ),
}
